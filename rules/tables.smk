"""
Write tables: CSV, LaTeX (booktabs) and Markdown of the same rows.

INPUTS
  choices, differences, supervisions, text_effect, baselines, ranking   results/analysis/*.csv
  with `analyses`        correlation, dimensions, transfer, fairness, prompts: results/analysis/*.csv
  with `interventions`   results/analysis/finetuning.csv, results/steering/
OUTPUTS
  results/tables/{table}.{csv,tex,md}, table one of TABLES, ANALYSIS_TABLES and INTERVENTION_TABLES (rules/common.smk)
"""


localrules:
    tables,


rule write_tables:
    """Write headline scores, differences, clusters, layers, kinds of models, effect of text and baselines as tables."""
    input:
        choices=rules.compare_models.output.choices,
        differences=rules.compare_models.output.differences,
        supervisions=rules.compare_models.output.supervisions,
        text_effect=rules.compare_models.output.text_effect,
        baselines=rules.compare_models.output.baselines,
        ranking=rules.rank_clusters.output.ranking,
    output:
        csv=report(
            expand("results/tables/{table}.csv", table=TABLES),
            caption="../workflow/report/tables.rst",
            category="4 Tables",
        ),
        tex=expand("results/tables/{table}.tex", table=TABLES),
        md=expand("results/tables/{table}.md", table=TABLES),
    log:
        "results/logs/write_tables.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        tables=TABLES,
        protocol=lookup(within=config, dpath="protocol"),
        headline={"prompts": PROMPTS, "target": SHOWN["target"]},
        code=source_digest("write_tables"),
    script:
        "../workflow/scripts/write_tables.py"


rule write_analysis_tables:
    """Write the closer analyses as tables: correlation, dimensions, transfer, fairness, and prompts where there are any."""
    input:
        correlation=rules.join_analyses.output.correlation,
        dimensions=rules.join_analyses.output.dimensions,
        transfer=rules.join_analyses.output.transfer,
        fairness=rules.join_analyses.output.fairness,
        prompts=branch(ASKED, then=rules.compare_prompts.output.effects),
    output:
        csv=report(
            expand("results/tables/{table}.csv", table=ANALYSIS_TABLES),
            caption="../workflow/report/tables.rst",
            category="4 Tables",
        ),
        tex=expand("results/tables/{table}.tex", table=ANALYSIS_TABLES),
        md=expand("results/tables/{table}.md", table=ANALYSIS_TABLES),
    log:
        "results/logs/write_analysis_tables.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        tables=ANALYSIS_TABLES,
        protocol=lookup(within=config, dpath="protocol"),
        code=source_digest("write_analysis_tables"),
    script:
        "../workflow/scripts/write_analysis_tables.py"


rule write_intervention_tables:
    """Write fine-tuning and swaps as tables, of those that are made on models of the run."""
    input:
        finetuning=branch(
            "finetuning" in INTERVENTION_TABLES,
            then=rules.compare_finetuning.output.finetuning,
        ),
        steering=of_interventions(rules.score_steering.output.scores, "steering"),
    output:
        csv=report(
            expand("results/tables/{table}.csv", table=INTERVENTION_TABLES),
            caption="../workflow/report/tables.rst",
            category="4 Tables",
        ),
        tex=expand("results/tables/{table}.tex", table=INTERVENTION_TABLES),
        md=expand("results/tables/{table}.md", table=INTERVENTION_TABLES),
    log:
        "results/logs/write_intervention_tables.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        tables=INTERVENTION_TABLES,
        protocol=lookup(within=config, dpath="protocol"),
        steered=[
            (
                STEERING["dataset"],
                STEERING["prompt"],
                *(MODELS[model][key] for key in ("family", "label")),
            )
            for model in intervened("steering")
        ],
        code=source_digest("write_intervention_tables"),
    script:
        "../workflow/scripts/write_intervention_tables.py"


rule tables:
    """Make every table of the probes' comparison."""
    input:
        rules.write_tables.output,

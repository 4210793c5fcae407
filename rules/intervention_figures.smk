"""
Draw the interventions, and name all that they make.

INPUTS
  tables of rules/interventions.smk, rules/finetuning.smk and of compare_prompts
OUTPUTS
  results/figures/{dataset}/{probe}/prompts.{png,pdf,svg}, directions/{model}.*, results/figures/{dataset}/finetuning.*,
  steering/{model}.*
"""


localrules:
    interventions,


rule plot_prompts:
    """Draw R2 by layer and prompt of all multimodal models."""
    input:
        curves=rules.compare_prompts.output.curves,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/prompts.png",
            caption="../workflow/report/prompts.rst",
            category="5 Interventions",
            labels={"figure": "prompts", "data set": "{dataset}", "model": "all"},
        ),
        pdf="results/figures/{dataset}/{probe}/prompts.pdf",
        svg="results/figures/{dataset}/{probe}/prompts.svg",
    log:
        "results/logs/plot_prompts/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline={"target": SHOWN["target"], "cv": SHOWN["cv"]},
        tower="text",
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_prompts"),
    script:
        "../workflow/scripts/plot_prompts.py"


rule plot_push:
    """Draw how far later blocks follow a step along the probes' directions in one model."""
    input:
        pushes=lambda wildcards: expand(
            rules.push_positions.output.pushes,
            prompt=prompts_of(wildcards.model)[0],
            **wildcards,
        )[0],
    output:
        png=report(
            "results/figures/{dataset}/{probe}/directions/{model}.png",
            caption="../workflow/report/directions.rst",
            category="5 Interventions",
            labels={
                "figure": "directions",
                "data set": "{dataset}",
                "model": "{model}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/directions/{model}.pdf",
        svg="results/figures/{dataset}/{probe}/directions/{model}.svg",
    log:
        "results/logs/plot_push/{dataset}/{probe}/{model}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        # for the caption
        label=lambda wildcards: MODELS[wildcards.model]["label"],
        cv=SHOWN["cv"],
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_push"),
    script:
        "../workflow/scripts/plot_push.py"


rule plot_steering:
    """Draw what swapping dimensions of the summary token does to the answers of one model."""
    input:
        scores=lambda wildcards: expand(
            rules.score_steering.output.scores, prompt=STEERING["prompt"], **wildcards
        )[0],
    output:
        png=report(
            "results/figures/{dataset}/steering/{model}.png",
            caption="../workflow/report/steering.rst",
            category="5 Interventions",
            labels={"figure": "steering", "data set": "{dataset}", "model": "{model}"},
        ),
        pdf="results/figures/{dataset}/steering/{model}.pdf",
        svg="results/figures/{dataset}/steering/{model}.svg",
    log:
        "results/logs/plot_steering/{dataset}/{model}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        title=lambda wildcards: MODELS[wildcards.model]["label"],
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_steering"),
    script:
        "../workflow/scripts/plot_steering.py"


rule plot_finetuning:
    """Draw how well fine-tuned models tell countries."""
    input:
        finetuning=rules.compare_finetuning.output.finetuning,
        rates=rules.compare_finetuning.output.rates,
    output:
        png=report(
            "results/figures/{dataset}/finetuning.png",
            caption="../workflow/report/finetuning.rst",
            category="5 Interventions",
            labels={"figure": "fine-tuning", "data set": "{dataset}", "model": "all"},
        ),
        pdf="results/figures/{dataset}/finetuning.pdf",
        svg="results/figures/{dataset}/finetuning.svg",
    log:
        "results/logs/plot_finetuning/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_finetuning"),
    script:
        "../workflow/scripts/plot_finetuning.py"


rule interventions:
    """Make every intervention that the configuration names, on models of the run, its figure and its table."""
    input:
        of_interventions(rules.plot_push.output, "directions"),
        of_interventions(rules.plot_steering.output, "steering"),
        branch(
            bool(intervened("finetuning")),
            then=expand(rules.plot_finetuning.output, dataset=FINETUNING["dataset"]),
        ),
        branch(bool(intervened("finetuning")), then=rules.compare_finetuning.output),
        expand("results/tables/{table}.{form}", table=INTERVENTION_TABLES, form=FORMS),

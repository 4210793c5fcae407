"""
Draw the closer analyses of all models: correlation of coefficients, subsets of dimensions, fairness; name them all.

INPUTS
  correlation, dimensions, fairness   results/analysis/*.csv
OUTPUTS
  results/figures/{dataset}/{probe}/{correlation,dimensions,fairness}.{png,pdf,svg}
"""


localrules:
    analyses,


rule plot_correlation_summary:
    """Draw the mean correlation of coefficients between clusters, of all models."""
    input:
        correlation=rules.join_analyses.output.correlation,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/correlation.png",
            caption="../workflow/report/correlation_summary.rst",
            category="6 Closer analyses",
            labels={
                "figure": "correlation of coefficients",
                "data set": "{dataset}",
                "probe": "{probe}",
                "model": "all",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/correlation.pdf",
        svg="results/figures/{dataset}/{probe}/correlation.svg",
    log:
        "results/logs/plot_correlation_summary/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(20),
    params:
        headline=ANALYSED,
        scaled=ranking_of(config),
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_correlation_summary"),
    script:
        "../workflow/scripts/plot_correlation_summary.py"


rule plot_dimensions:
    """Draw R2 by the share of the dimensions, of all models."""
    input:
        dimensions=rules.join_analyses.output.dimensions,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/dimensions.png",
            caption="../workflow/report/dimensions.rst",
            category="6 Closer analyses",
            labels={
                "figure": "subsets of dimensions",
                "data set": "{dataset}",
                "probe": "{probe}",
                "model": "all",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/dimensions.pdf",
        svg="results/figures/{dataset}/{probe}/dimensions.svg",
    log:
        "results/logs/plot_dimensions/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(20),
    params:
        headline=ANALYSED,
        ranking=ranking_of(config),  # for the caption
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_dimensions"),
    script:
        "../workflow/scripts/plot_dimensions.py"


rule plot_fairness:
    """Draw errors by continent and by how densely the data cover a place, of all models."""
    input:
        fairness=rules.join_analyses.output.fairness,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/fairness.png",
            caption="../workflow/report/fairness.rst",
            category="6 Closer analyses",
            labels={
                "figure": "fairness",
                "data set": "{dataset}",
                "probe": "{probe}",
                "model": "all",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/fairness.pdf",
        svg="results/figures/{dataset}/{probe}/fairness.svg",
    log:
        "results/logs/plot_fairness/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(20),
    params:
        headline=ANALYSED | {"target": SHOWN["target"]},
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_fairness"),
    script:
        "../workflow/scripts/plot_fairness.py"


rule analyses:
    """Make the closer analyses: transfer, correlation of coefficients, subsets of dimensions, fairness; tables and figures."""
    input:
        of_probes(
            [*rules.relate_clusters.output, *rules.ablate_dimensions.output], WEIGHED
        ),
        rules.join_analyses.output,
        expand("results/tables/{table}.{form}", table=ANALYSIS_TABLES, form=FORMS),
        # only these probes have coefficients
        branch(
            lookup(within=config, dpath="figures/each_model"),
            then=expand(
                [*rules.plot_transfer.output, *rules.plot_correlation.output],
                dataset=RUN["datasets"],
                probe=WEIGHED,
                model=MODELS,
            ),
        ),
        expand(
            [
                *rules.plot_transfers.output,
                *rules.plot_correlation_summary.output,
                *rules.plot_dimensions.output,
            ],
            dataset=RUN["datasets"],
            probe=WEIGHED,
        ),
        collect(
            rules.plot_fairness.output,
            dataset=RUN["datasets"],
            probe=RUN["probes"],
        ),

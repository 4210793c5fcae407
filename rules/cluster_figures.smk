"""
Draw what clusters have in common: transfer between them, of all models and of one, correlation of coefficients, of one.

INPUTS
  transfer, correlations, correlation   results/analysis/{dataset}/{model}/{prompt}/{probe}/*.csv
  transfer of all models                results/analysis/transfer.csv
  ranking                               results/analysis/localizability.csv
OUTPUTS
  results/figures/{dataset}/{probe}/transfer.{png,pdf}, transfer/{model}.{png,pdf}, correlation/{model}.{png,pdf}
"""

# rows of the closer analyses of all models that are shown
ANALYSED = {
    "prompts": PROMPTS,
    "poolings": config["analysis"]["poolings"],
    "cv": SHOWN["cv"],
}


rule plot_transfers:
    """Draw R2 of every cluster's probe in every cluster, of all models side by side."""
    input:
        transfer=rules.join_analyses.output.transfer,
        ranking=rules.rank_clusters.output.ranking,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/transfer.png",
            caption="../workflow/report/transfers.rst",
            category="6 Closer analyses",
            labels={
                "figure": "transfer",
                "data set": "{dataset}",
                "probe": "{probe}",
                "model": "all",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/transfer.pdf",
    log:
        "results/logs/plot_transfers/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(20),
    params:
        headline=ANALYSED | {"target": SHOWN["target"]},
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_transfers"),
    script:
        "../workflow/scripts/plot_transfers.py"


rule plot_transfer:
    """Draw R2 of every cluster's probe in every cluster, of one model."""
    input:
        transfer=analysed(rules.relate_clusters.output.transfer),
        ranking=rules.rank_clusters.output.ranking,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/transfer/{model}.png",
            caption="../workflow/report/transfer.rst",
            category="6 Closer analyses",
            labels={
                "figure": "transfer",
                "data set": "{dataset}",
                "probe": "{probe}",
                "model": "{model}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/transfer/{model}.pdf",
    log:
        "results/logs/plot_transfer/{dataset}/{probe}/{model}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(20),
    params:
        label=lambda wildcards: MODELS[wildcards.model]["label"],
        cv=SHOWN["cv"],  # for the caption
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_transfer"),
    script:
        "../workflow/scripts/plot_transfer.py"


rule plot_correlation:
    """Draw how the coefficients of clusters correlate, of one model."""
    input:
        correlations=analysed(rules.relate_clusters.output.correlations),
        summary=analysed(rules.relate_clusters.output.summary),
        ranking=rules.rank_clusters.output.ranking,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/correlation/{model}.png",
            caption="../workflow/report/correlation.rst",
            category="6 Closer analyses",
            labels={
                "figure": "correlation of coefficients",
                "data set": "{dataset}",
                "probe": "{probe}",
                "model": "{model}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/correlation/{model}.pdf",
    log:
        "results/logs/plot_correlation/{dataset}/{probe}/{model}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(20),
    params:
        label=lambda wildcards: MODELS[wildcards.model]["label"],
        cv=SHOWN["cv"],  # for the caption
        shown={
            "share": max(config["analysis"]["correlation"]["shares"]),
            "scaled": ranking_of(config),
        },
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_correlation"),
    script:
        "../workflow/scripts/plot_correlation.py"

"""
Draw figures that show images or where they lie: the balance, the clusters.

INPUTS
  store, rejects, balance   results/images/{dataset}.*
  clusters, elbow           results/clusters/{dataset}.*
  ranking                   results/analysis/localizability.csv
OUTPUTS
  results/figures/{dataset}/{balance,contact_sheet,elbow}.{png,pdf}
  results/figures/{dataset}/{probe}/localizability.{png,pdf}
"""


rule plot_balance:
    """Show where images were listed and kept, and what became of the rest."""
    input:
        store=rules.build_images.output.store,
        rejects=rules.build_images.output.rejects,
        balance=rules.build_images.output.balance,
    output:
        png=report(
            "results/figures/{dataset}/balance.png",
            caption="../workflow/report/balance.rst",
            category="0 Images",
            labels={"figure": "balance", "data set": "{dataset}"},
        ),
        pdf="results/figures/{dataset}/balance.pdf",
    log:
        "results/logs/plot_balance/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_balance"),
    script:
        "../workflow/scripts/plot_balance.py"


rule plot_contact_sheet:
    """Show the most typical images of every cluster."""
    input:
        clusters=rules.assign_clusters.output.clusters,
        store=rules.build_images.output.store,
    output:
        png=report(
            "results/figures/{dataset}/contact_sheet.png",
            caption="../workflow/report/contact_sheet.rst",
            category="2 Clusters",
            labels={"figure": "contact sheet", "data set": "{dataset}"},
        ),
        pdf="results/figures/{dataset}/contact_sheet.pdf",
    log:
        "results/logs/plot_contact_sheet/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_contact_sheet"),
    script:
        "../workflow/scripts/plot_contact_sheet.py"


rule plot_elbow:
    """Draw how the number of clusters was chosen."""
    input:
        elbow="results/clusters/{dataset}.elbow.csv",
    output:
        png=report(
            "results/figures/{dataset}/elbow.png",
            caption="../workflow/report/elbow.rst",
            category="2 Clusters",
            labels={"figure": "elbow", "data set": "{dataset}"},
        ),
        pdf="results/figures/{dataset}/elbow.pdf",
    log:
        "results/logs/plot_elbow/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_elbow"),
    script:
        "../workflow/scripts/plot_elbow.py"


rule plot_localizability:
    """Draw the localizability axis with sample images."""
    input:
        ranking=rules.rank_clusters.output.ranking,
        clusters=rules.assign_clusters.output.clusters,
        store=rules.build_images.output.store,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/localizability.png",
            caption="../workflow/report/localizability.rst",
            category="2 Clusters",
            labels={
                "figure": "localizability",
                "data set": "{dataset}",
                "probe": "{probe}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/localizability.pdf",
    log:
        "results/logs/plot_localizability/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline={"cv": SHOWN["cv"], "choice": SHOWN["choice"]},  # for the caption
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_localizability"),
    script:
        "../workflow/scripts/plot_localizability.py"

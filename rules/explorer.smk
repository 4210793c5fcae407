"""
Write the explorer: one HTML file in which scores, layer curves and predictions are looked through.

INPUTS
  choices, families     results/analysis/*.csv
  fits, chosen          results/probes/{dataset}/{model}/{prompt}/{probe}.h5, results/analysis/.../choices.parquet
  stores, folds         results/images/{dataset}.h5, results/folds/{dataset}.parquet
  clusters              results/clusters/{dataset}.csv
OUTPUTS
  page                  results/explorer.html
"""

from geoprobe.explorer.page import assets_digest


localrules:
    explorer,


rule write_explorer:
    """Embed scores, layer curves, predictions and thumbnails in one HTML file that asks for nothing."""
    input:
        choices=rules.compare_models.output.choices,
        families=rules.compare_models.output.families,
        fits=of_probes(rules.fit_probes.output.fits),
        chosen=of_probes(rules.score_probe.output.choices),
        stores=expand(rules.build_images.output.store, dataset=RUN["datasets"]),
        folds=expand(rules.assign_folds.output.folds, dataset=RUN["datasets"]),
        clusters=expand(rules.assign_clusters.output.summary, dataset=RUN["datasets"]),
    output:
        page="results/explorer.html",
    log:
        "results/logs/write_explorer.log",
    benchmark:
        "results/benchmarks/write_explorer.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(60),
    params:
        datasets=RUN["datasets"],
        jobs=of_probes("{dataset}/{model}/{prompt}/{probe}"),
        models={name: row["family"] for name, row in MODELS.items()},
        shown={
            "prompts": RUN["prompts"],
            "poolings": config["analysis"]["poolings"],
            "target": SHOWN["target"],
            "choice": SHOWN["choice"],
            "cv": SHOWN["cv"],
        },
        options=lookup(within=config, dpath="explorer"),
        assets=assets_digest(),
        code=source_digest("write_explorer"),
    script:
        "../workflow/scripts/write_explorer.py"


rule explorer:
    """Make the explorer of the run."""
    input:
        rules.write_explorer.output.page,

"""
Summarise probes: scores with intervals, families of encoders, paired differences, localizability.

INPUTS
  scores, fits   results/probes/{dataset}/{model}/{prompt}/{probe}.parquet and .h5, of all models
  stores, folds  results/images/{dataset}.h5, results/folds/{dataset}.parquet
OUTPUTS
  scores         results/analysis/scores.csv, a row a model and condition
  families       results/analysis/families.csv, seeds joined
  differences    results/analysis/differences.csv, pairs of families
  ranking        results/analysis/localizability.csv, clusters ranked and tiered
"""


rule summarise_scores:
    """Pool held-out predictions into R2 with intervals over geographic blocks and seeds."""
    input:
        scores=of_every_probe(rules.fit_probes.output.scores),
        fits=of_every_probe(rules.fit_probes.output.fits),
        stores=expand(rules.build_images.output.store, dataset=RUN["datasets"]),
        folds=expand(rules.assign_folds.output.folds, dataset=RUN["datasets"]),
    output:
        scores="results/analysis/scores.csv",
        families="results/analysis/families.csv",
        differences="results/analysis/differences.csv",
    log:
        "results/logs/summarise_scores.log",
    benchmark:
        "results/benchmarks/summarise_scores.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        datasets=RUN["datasets"],
        models=MODELS,
        seeds={name: config["probes"][name]["seed"] for name in RUN["probes"]},
        bootstrap=lookup(within=config, dpath="analysis/bootstrap"),
        seed=lookup(within=config, dpath="analysis/seed"),
        shown={name: HEADLINE[name] for name in ("prompts", "poolings")},
        code=source_digest("summarise_scores"),
    script:
        "../workflow/scripts/summarise_scores.py"


rule rank_clusters:
    """Rank clusters by how well position can be read from their images, and sort them into tiers."""
    input:
        families=rules.summarise_scores.output.families,
        clusters=expand(rules.assign_clusters.output.summary, dataset=RUN["datasets"]),
    output:
        ranking="results/analysis/localizability.csv",
    log:
        "results/logs/rank_clusters.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        datasets=RUN["datasets"],
        headline=HEADLINE | {"cv": config["analysis"]["cv"]},
        options=lookup(within=config, dpath="localizability"),
        code=source_digest("rank_clusters"),
    script:
        "../workflow/scripts/rank_clusters.py"

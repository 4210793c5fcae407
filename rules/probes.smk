"""
Fit probes: from layer-wise features to latitude and longitude.

INPUTS
  store      results/images/{dataset}.h5
  features   results/features/{dataset}/{model}/{prompt}.h5
  clusters   results/clusters/{dataset}.parquet
  folds      results/folds/{dataset}.parquet
OUTPUTS
  baselines  results/baselines/{dataset}.parquet, what is scored without features
  scores     results/probes/{dataset}/{model}/{prompt}/{probe}.parquet, the probe table
  fits       results/probes/{dataset}/{model}/{prompt}/{probe}.h5, coefficients and held-out predictions
"""


rule score_baselines:
    """Score what needs no features: the mean training position, and the place with most training images."""
    input:
        store=rules.build_images.output.store,
        clusters=rules.assign_clusters.output.clusters,
        folds=rules.assign_folds.output.folds,
    output:
        baselines="results/baselines/{dataset}.parquet",
    log:
        "results/logs/score_baselines/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        cvs=list(
            dict.fromkeys(cv for options in PROBES.values() for cv in options["cv"])
        ),
        code=source_digest("score_baselines"),
    script:
        "../workflow/scripts/score_baselines.py"


rule fit_probes:
    """Regress position on every layer of one model, in every cluster and fold."""
    input:
        store=rules.build_images.output.store,
        features=rules.join_features.output.features,
        clusters=rules.assign_clusters.output.clusters,
        folds=rules.assign_folds.output.folds,
    output:
        scores="results/probes/{dataset}/{model}/{prompt}/{probe}.parquet",
        fits="results/probes/{dataset}/{model}/{prompt}/{probe}.h5",
    log:
        "results/logs/fit_probes/{dataset}/{model}/{prompt}/{probe}.log",
    benchmark:
        "results/benchmarks/fit_probes/{dataset}/{model}/{prompt}/{probe}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: probe_resource("threads")
    resources:
        mem_mb=model_memory,
        runtime=model_minutes(120),
        gpu=probe_resource("gpu"),
    params:
        probe=lambda wildcards: {
            name: value
            for name, value in PROBES[wildcards.probe].items()
            if name != "threads"
        },
        code=source_digest("fit_probes"),
    script:
        "../workflow/scripts/fit_probes.py"

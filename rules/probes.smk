"""
Fit probes: from layer-wise features to latitude and longitude.

INPUTS
  store      results/images/{dataset}.h5
  features   results/features/{dataset}/{model}/{prompt}.h5
  clusters   results/clusters/{dataset}.parquet
  folds      results/folds/{dataset}.parquet
OUTPUTS
  scores     results/probes/{dataset}/{model}/{prompt}/{probe}.parquet, the probe table
  fits       results/probes/{dataset}/{model}/{prompt}/{probe}.h5, coefficients and held-out predictions
"""


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
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        probe=lookup(within=config, dpath="probes/{probe}"),
        code=source_digest("fit_probes"),
    script:
        "../workflow/scripts/fit_probes.py"

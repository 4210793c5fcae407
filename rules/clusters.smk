"""
Assign localizability clusters and cross-validation folds, once a data set; every model shares them.

INPUTS
  store      results/images/{dataset}.h5
OUTPUTS
  clusters   results/clusters/{dataset}.parquet, one row an image
  summary    results/clusters/{dataset}.csv, one row a cluster
  folds      results/folds/{dataset}.parquet, one row an image
"""


rule assign_clusters:
    """Cluster the images of one data set by colour and texture, and name the clusters."""
    input:
        store=rules.build_images.output.store,
    output:
        clusters="results/clusters/{dataset}.parquet",
        summary="results/clusters/{dataset}.csv",
    log:
        "results/logs/assign_clusters/{dataset}.log",
    benchmark:
        "results/benchmarks/assign_clusters/{dataset}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=lookup(within=config, dpath="clusters"),
        code=source_digest("assign_clusters"),
    script:
        "../workflow/scripts/assign_clusters.py"


rule assign_folds:
    """Assign each image of one data set to random and to geographically blocked folds."""
    input:
        store=rules.build_images.output.store,
    output:
        folds="results/folds/{dataset}.parquet",
    log:
        "results/logs/assign_folds/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        options=lookup(within=config, dpath="folds"),
        code=source_digest("assign_folds"),
    script:
        "../workflow/scripts/assign_folds.py"

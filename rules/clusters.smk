"""
Assign localizability clusters and cross-validation folds, once a data set; every model shares them.

INPUTS
  store      results/images/{dataset}.h5
  features   results/features/{dataset}/{model}/none.h5, where a model's features are clustered
  fitted     results/clusters/{dataset}.h5 of another data set, where its clusters are used
  labeller   the files of the model that names clusters by text, where it lies on this machine
  weights    results/weights/{model}.json of that model, where it is a public one
OUTPUTS
  clusters   results/clusters/{dataset}.parquet, one row an image
  summary    results/clusters/{dataset}.csv, one row a cluster
  fitted     results/clusters/{dataset}.h5, centroids and components: what sorts other images into the clusters
  elbow      results/clusters/{dataset}.elbow.csv, one row a number of clusters, where the number is chosen
  folds      results/folds/{dataset}.parquet, one row an image
  export     results/exports/{dataset}.h5, on demand: what the paper's scripts read, linked to the store
"""


rule assign_clusters:
    """Cluster the images of one data set, or sort them into given clusters, and name the clusters."""
    input:
        store=rules.build_images.output.store,
        features=cluster_features,
        fitted=cluster_origin,
        labeller=labeller_files,
        weights=labeller_weights,
    output:
        **ELBOW,
        clusters="results/clusters/{dataset}.parquet",
        summary="results/clusters/{dataset}.csv",
        fitted="results/clusters/{dataset}.h5",
    log:
        "results/logs/assign_clusters/{dataset}.log",
    benchmark:
        "results/benchmarks/assign_clusters/{dataset}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        # features of 500,000 images, 1,024 wide, and their principal components
        mem_mb=megabytes(8000),
        # decoding takes most: 100,000 photographs in half an hour
        runtime=minutes(240),
        gpu=GPUS * (config["clusters"]["names"]["by"] == "text"),
    params:
        options=cluster_options,
        labeller=lambda wildcards: [
            {name: row[name] for name in ("loader", "id", "revision", "weights")}
            for row in labellers_of(wildcards).values()
        ],
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
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        options=fold_options(config),
        code=source_digest("assign_folds"),
    script:
        "../workflow/scripts/assign_folds.py"


rule export_images:
    """Write a file with the names that the paper's scripts read: images, latitudes, longitudes, clusters."""
    input:
        store=rules.build_images.output.store,
        clusters=rules.assign_clusters.output.clusters,
    output:
        export="results/exports/{dataset}.h5",
    log:
        "results/logs/export_images/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        code=source_digest("export_images"),
    script:
        "../workflow/scripts/export_images.py"

"""
Obtain images: from a source to a balanced image store.

INPUTS
  none here: a source reads its own package, table or file
OUTPUTS
  store      results/images/{dataset}.h5
  rejects    results/images/{dataset}.rejects.parquet, a row for each image left out, and why
"""


rule build_images:
    """List, balance, load and caption the images of one data set."""
    output:
        store="results/images/{dataset}.h5",
        rejects="results/images/{dataset}.rejects.parquet",
    log:
        "results/logs/build_images/{dataset}.log",
    benchmark:
        "results/benchmarks/build_images/{dataset}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        options=lookup(within=config, dpath="datasets/{dataset}"),
        code=source_digest("build_images"),
    script:
        "../workflow/scripts/build_images.py"

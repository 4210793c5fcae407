"""
Obtain images: from a source's list to a balanced image store.

INPUTS
  listed, files   the user's own table, list or archive, and polygons; for the rest a source reads its own package or, in
                  the rules that run on the submit host, the network
OUTPUTS
  metadata    results/downloads/{dataset}/metadata.json, what was fetched of a source's list; the files lie beside it
  boundaries  results/downloads/boundaries/{boundaries}.json, administrative polygons on this machine
  plan        results/images/{dataset}.plan.parquet, the images to obtain
  left_out    results/images/{dataset}.left_out.parquet, listed images that are not in the plan, and why
  status      results/downloads/{dataset}/{shard}.parquet, what became of each download; the images lie beside it
  store       results/images/{dataset}.h5
  rejects     results/images/{dataset}.rejects.parquet, a row for each image left out, and why
  balance     results/images/{dataset}.balance.csv, what was kept and lost, by country
"""


localrules:
    fetch_metadata,
    fetch_boundaries,
    download_images,


rule fetch_metadata:
    """Fetch the list of images of a public collection, resuming what an earlier run has begun."""
    input:
        listed=listed_of(network=True),
    output:
        manifest="results/downloads/{dataset}/metadata.json",
    log:
        "results/logs/fetch_metadata/{dataset}.log",
    benchmark:
        "results/benchmarks/fetch_metadata/{dataset}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(2880),
    params:
        options=options_of_dataset("fetch_metadata"),
        limits={"allow_private": config["download"]["limits"]["allow_private"]},
        code=dataset_digest("fetch_metadata"),
    script:
        "../workflow/scripts/fetch_metadata.py"


rule fetch_boundaries:
    """Fetch administrative polygons, or find the user's own, and check their columns."""
    input:
        files=lambda wildcards: polygon_files(
            config["boundaries"][wildcards.boundaries]
        ),
    output:
        manifest="results/downloads/boundaries/{boundaries}.json",
    log:
        "results/logs/fetch_boundaries/{boundaries}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(600),
    params:
        options=lookup(within=config, dpath="boundaries/{boundaries}"),
        limits={"allow_private": config["download"]["limits"]["allow_private"]},
        code=source_digest("fetch_boundaries"),
    script:
        "../workflow/scripts/fetch_boundaries.py"


rule plan_images:
    """Check the listed images of one data set and choose at most so many of each geocell."""
    input:
        listed=listed_of(network=False),
        metadata=metadata_of,
        boundaries=boundaries_of,
    output:
        plan="results/images/{dataset}.plan.parquet",
        left_out="results/images/{dataset}.left_out.parquet",
    log:
        "results/logs/plan_images/{dataset}.log",
    benchmark:
        "results/benchmarks/plan_images/{dataset}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        # polygons of the whole Earth take about 8 GB
        mem_mb=megabytes(lambda wildcards: 12000 if boundaries_of(wildcards) else 2000),
        runtime=minutes(120),
    params:
        options=options_of_dataset("plan_images"),
        photos=looks_of(folder_look),
        code=dataset_digest("plan_images"),
    script:
        "../workflow/scripts/plan_images.py"


rule download_images:
    """Download the planned images of one shard politely, skipping what has come or cannot come."""
    input:
        plan=rules.plan_images.output.plan,
    output:
        status="results/downloads/{dataset}/{shard}.parquet",
    log:
        "results/logs/download_images/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/download_images/{dataset}/{shard}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(2880),
    params:
        limits=lookup(within=config, dpath="download/limits"),
        code=dataset_digest("download_images"),
    script:
        "../workflow/scripts/download_images.py"


rule build_images:
    """Verify, caption and store the planned images of one data set, and account for the rest."""
    input:
        plan=rules.plan_images.output.plan,
        left_out=rules.plan_images.output.left_out,
        metadata=metadata_of,
        boundaries=boundaries_of,
        downloads=downloads_of,
    output:
        store="results/images/{dataset}.h5",
        rejects="results/images/{dataset}.rejects.parquet",
        balance="results/images/{dataset}.balance.csv",
    log:
        "results/logs/build_images/{dataset}.log",
    benchmark:
        "results/benchmarks/build_images/{dataset}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(240),
    params:
        options=lookup(within=config, dpath="datasets/{dataset}"),
        photos=looks_of(table_look),
        max_pixels=lookup(within=config, dpath="download/limits/max_pixels"),
        code=dataset_digest("build_images"),
    script:
        "../workflow/scripts/build_images.py"

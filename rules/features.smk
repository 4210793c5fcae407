"""
Extract features: the residual stream after every block of a model, pooled over tokens.

INPUTS
  store      results/images/{dataset}.h5
  model      the files of a model that lies on this machine
OUTPUTS
  manifest   results/weights/{model}.json, which files of a public model were fetched, and where they lie
  shard      results/features/{dataset}/{model}/{prompt}/{shard}.h5, the features of some of the images
  features   results/features/{dataset}/{model}/{prompt}.h5, which refers to the shards and copies nothing
"""


localrules:
    fetch_weights,
    join_features,


rule fetch_weights:
    """Fetch the files of a public model at its revision, unless the hub's cache on this machine has them."""
    output:
        manifest="results/weights/{model}.json",
    log:
        "results/logs/fetch_weights/{model}.log",
    wildcard_constraints:
        model="|".join([*MODELS, *LABELLERS]),
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(2880),
    params:
        row=model_row("loader", "id", "revision", "weights"),
        code=source_digest("fetch_weights"),
    script:
        "../workflow/scripts/fetch_weights.py"


rule extract_features:
    """Read every layer of one model on one shard of a data set in a single forward pass an image."""
    input:
        store=rules.build_images.output.store,
        model=model_files,
        weights=weights_of,
    output:
        features="results/features/{dataset}/{model}/{prompt}/{shard}.h5",
    log:
        "results/logs/extract_features/{dataset}/{model}/{prompt}/{shard}.log",
    benchmark:
        "results/benchmarks/extract_features/{dataset}/{model}/{prompt}/{shard}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: config["features"]["threads"]
    resources:
        mem_mb=model_memory,
        runtime=model_minutes(120),
        gpu=GPUS,
    params:
        row=model_row(
            *("loader", "id", "revision", "dtype", "weights", "supervision", "seed")
        ),
        prompt=lambda wildcards: resolve_prompt(config["prompts"], wildcards.prompt),
        protocol=lookup(within=config, dpath="protocol"),
        options={
            name: value
            for name, value in config["features"].items()
            if name != "threads"
        },
        device=lookup(within=config, dpath="device"),
        code=model_digest("extract_features"),
    script:
        "../workflow/scripts/extract_features.py"


rule join_features:
    """Join the shards of one model's features into one file that refers to them."""
    input:
        shards=expand(
            rules.extract_features.output.features,
            shard=range(config["features"]["shards"]),
            allow_missing=True,
        ),
    output:
        features="results/features/{dataset}/{model}/{prompt}.h5",
    log:
        "results/logs/join_features/{dataset}/{model}/{prompt}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        code=source_digest("join_features"),
    script:
        "../workflow/scripts/join_features.py"

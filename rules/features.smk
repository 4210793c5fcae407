"""
Extract features: the residual stream after every block of a model, pooled over tokens.

INPUTS
  store      results/images/{dataset}.h5
  model      the files of an encoder of ours; none for a public model
OUTPUTS
  features   results/features/{dataset}/{model}/{prompt}.h5
"""


rule extract_features:
    """Read every layer of one model on one data set in a single forward pass an image."""
    input:
        store=rules.build_images.output.store,
        model=model_files,
    output:
        features="results/features/{dataset}/{model}/{prompt}.h5",
    log:
        "results/logs/extract_features/{dataset}/{model}/{prompt}.log",
    benchmark:
        "results/benchmarks/extract_features/{dataset}/{model}/{prompt}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=GPUS,
    params:
        row=lambda wildcards: MODELS[wildcards.model],
        options=lookup(within=config, dpath="features"),
        device=lookup(within=config, dpath="device"),
        code=source_digest("extract_features"),
    script:
        "../workflow/scripts/extract_features.py"

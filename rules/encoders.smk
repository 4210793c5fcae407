"""
Train the controlled encoders: one architecture, one set of tiles, one budget; only the objective differs.

INPUTS
  store      results/images/{dataset}.h5, the pretraining part
OUTPUTS
  weights    results/encoders/{family}-seed{seed}/model.safetensors
  config     config.json beside it, all that is needed to load and to repeat
  history    history.csv beside it, the loss by epoch
"""


rule train_encoder:
    """Train one encoder with one objective, resuming after the last whole epoch."""
    input:
        store=expand(
            rules.build_images.output.store, dataset=config["encoders"]["dataset"]
        )[0],
    output:
        weights="results/encoders/{family}-seed{seed}/model.safetensors",
        config="results/encoders/{family}-seed{seed}/config.json",
        history="results/encoders/{family}-seed{seed}/history.csv",
    log:
        "results/logs/train_encoder/{family}-seed{seed}.log",
    benchmark:
        "results/benchmarks/train_encoder/{family}-seed{seed}.tsv"
    # What takes longest begins first, so that no core is left alone with it at the end.
    priority: 10
    conda:
        "../envs/geoprobe.yaml"
    # One core each: encoders train side by side, which uses two cores better than one training on both.
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(120),
        gpu=GPUS,
    params:
        objective=lookup(within=config, dpath="encoders/objectives/{family}"),
        architecture=lookup(within=config, dpath="encoders/architecture"),
        training=lookup(within=config, dpath="encoders/training"),
        device=lookup(within=config, dpath="device"),
        code=source_digest("train_encoder"),
    script:
        "../workflow/scripts/train_encoder.py"

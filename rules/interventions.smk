"""
Intervene: steps along the probes' directions, and swaps of embeddings.

INPUTS
  store, folds, fits   results/images/{dataset}.h5, results/folds/{dataset}.parquet, results/probes/.../{probe}.h5
  model, weights       files of a model, as for extraction
OUTPUTS
  directions   results/directions/{dataset}/{model}/{prompt}/{probe}.csv, what later blocks make of a step
  steering     results/steering/{dataset}/{model}/{prompt}.jsonl, every text; .csv, what it names
"""

DIRECTIONS = config["interventions"]["directions"]
STEERING = config["interventions"]["steering"]
MODEL_ROW = ("loader", "id", "revision", "dtype", "weights", "supervision", "seed")


rule push_positions:
    """Move one model's stream along its probes' directions, and read positions off the later blocks."""
    input:
        store=rules.build_images.output.store,
        folds=rules.assign_folds.output.folds,
        fits=rules.fit_probes.output.fits,
        model=model_files,
        weights=weights_of,
    output:
        pushes="results/directions/{dataset}/{model}/{prompt}/{probe}.csv",
    log:
        "results/logs/push_positions/{dataset}/{model}/{prompt}/{probe}.log",
    benchmark:
        "results/benchmarks/push_positions/{dataset}/{model}/{prompt}/{probe}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: config["features"]["threads"]
    resources:
        mem_mb=model_memory,
        runtime=model_minutes(60),
        gpu=GPUS,
    params:
        row=model_row(*MODEL_ROW),
        prompt=lambda wildcards: resolve_prompt(config["prompts"], wildcards.prompt),
        protocol=lookup(within=config, dpath="protocol"),
        options=without(DIRECTIONS, "models", "probe"),
        cv=SHOWN["cv"],
        poolings=config["analysis"]["poolings"],
        device=lookup(within=config, dpath="device"),
        bootstrap=lookup(within=config, dpath="analysis/bootstrap"),
        seed=lookup(within=config, dpath="analysis/seed"),
        code=model_digest("push_positions"),
    script:
        "../workflow/scripts/push_positions.py"


rule steer_model:
    """Write what one multimodal model says of landmarks, plain and with dimensions swapped for another landmark's."""
    input:
        store=rules.build_images.output.store,
        fits=lambda wildcards: expand(
            rules.fit_probes.output.fits, model=wildcards.model, **STEERING["probed"]
        )[0],
        model=model_files,
        weights=weights_of,
    output:
        generations="results/steering/{dataset}/{model}/{prompt}.jsonl",
    log:
        "results/logs/steer_model/{dataset}/{model}/{prompt}.log",
    benchmark:
        "results/benchmarks/steer_model/{dataset}/{model}/{prompt}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: config["features"]["threads"]
    resources:
        mem_mb=model_memory,
        runtime=model_minutes(120),
        gpu=GPUS,
    params:
        row=model_row(*MODEL_ROW),
        prompt=lambda wildcards: resolve_prompt(config["prompts"], wildcards.prompt),
        protocol=lookup(within=config, dpath="protocol"),
        options=without(STEERING, "models", "dataset", "landmarks", "prompt", "probed"),
        cv=SHOWN["cv"],
        device=lookup(within=config, dpath="device"),
        code=model_digest("steer_model"),
    script:
        "../workflow/scripts/steer_model.py"


rule score_steering:
    """Count which landmarks and places the texts name, beside swaps of random dimensions."""
    input:
        generations=rules.steer_model.output.generations,
        store=rules.build_images.output.store,
        landmarks=shipped(STEERING["landmarks"]),
    output:
        scores="results/steering/{dataset}/{model}/{prompt}.csv",
    log:
        "results/logs/score_steering/{dataset}/{model}/{prompt}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(60),
    params:
        bootstrap=lookup(within=config, dpath="analysis/bootstrap"),
        seed=lookup(within=config, dpath="analysis/seed"),
        code=source_digest("score_steering"),
    script:
        "../workflow/scripts/score_steering.py"

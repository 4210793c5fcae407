"""
Fine-tune: whole models, or a head, on the countries of a data set's images.

INPUTS
  store           results/images/{dataset}.h5
  model, weights  files of a model, as for extraction
  choices         results/analysis/choices.parquet, how the probes rank the models
OUTPUTS
  split           results/finetuning/{dataset}.parquet, the part of each image
  of each model   results/finetuning/{dataset}/{model}.json, all trainings and the test; .parquet, the test's predictions
  joined          results/analysis/finetuning{,_rates,_continents,_correlation}.csv
"""

FINETUNING = config["interventions"]["finetuning"]


rule split_countries:
    """Part the images of one data set into train, validation and test, whole groups together, by country."""
    input:
        store=rules.build_images.output.store,
    output:
        split="results/finetuning/{dataset}.parquet",
    log:
        "results/logs/split_countries/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        options=FINETUNING["split"],
        code=source_digest("split_countries"),
    script:
        "../workflow/scripts/split_countries.py"


rule finetune_model:
    """Fine-tune one model to tell countries: a grid of learning rates, the other seeds at the best, then the test."""
    input:
        store=rules.build_images.output.store,
        split=rules.split_countries.output.split,
        model=model_files,
        weights=weights_of,
    output:
        results="results/finetuning/{dataset}/{model}.json",
        predictions="results/finetuning/{dataset}/{model}.parquet",
    log:
        "results/logs/finetune_model/{dataset}/{model}.log",
    benchmark:
        "results/benchmarks/finetune_model/{dataset}/{model}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: config["features"]["threads"]
    resources:
        # gradients and the optimiser's moments beside the weights
        mem_mb=lambda wildcards, attempt: 4 * model_memory(wildcards, attempt),
        runtime=model_minutes(240),
        gpu=GPUS,
    params:
        row=model_row(*MODEL_ROW),
        protocol=lookup(within=config, dpath="protocol"),
        options=FINETUNING["training"] | {"poolings": config["analysis"]["poolings"]},
        device=lookup(within=config, dpath="device"),
        bootstrap=lookup(within=config, dpath="analysis/bootstrap"),
        seed=lookup(within=config, dpath="analysis/seed"),
        code=model_digest("finetune_model"),
    script:
        "../workflow/scripts/finetune_model.py"


rule compare_finetuning:
    """Compare fine-tuned models, and correlate how they rank with how their probes do."""
    input:
        results=of_interventions(rules.finetune_model.output.results, "finetuning"),
        predictions=of_interventions(
            rules.finetune_model.output.predictions, "finetuning"
        ),
        choices=rules.compare_models.output.choices,
    output:
        finetuning="results/analysis/finetuning.csv",
        rates="results/analysis/finetuning_rates.csv",
        continents="results/analysis/finetuning_continents.csv",
        correlation="results/analysis/finetuning_correlation.csv",
    log:
        "results/logs/compare_finetuning.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        models=model_rows(intervened("finetuning"), "family", "label", "supervision"),
        prompts=PROMPTS,
        choice=SHOWN["choice"],
        bootstrap=lookup(within=config, dpath="analysis/bootstrap"),
        seed=lookup(within=config, dpath="analysis/seed"),
        code=source_digest("compare_finetuning"),
    script:
        "../workflow/scripts/compare_finetuning.py"

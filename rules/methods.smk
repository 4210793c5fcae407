"""
Write the methods paragraph of the run from its configuration.

INPUTS
  stores, weights   results/images/{dataset}.h5, results/weights/{model}.json
  choices           results/analysis/choices.parquet: what was fitted; the text is written anew with it
OUTPUTS
  results/methods.{md,tex,html}
"""


localrules:
    write_methods,


# encoders that the run trains itself, and the data sets that are told of
TRAINED = list(
    dict.fromkeys(trained_as(row) for row in MODELS.values() if is_encoder(row))
)
TOLD = list(
    dict.fromkeys(
        [
            *RUN["datasets"],
            *([config["encoders"]["dataset"]] if TRAINED else []),
            *([config["clusters"]["from"]] if config["clusters"]["from"] else []),
        ]
    )
)
FETCHED = [name for name, row in MODELS.items() if needs_weights(row)]


rule write_methods:
    """Say in a paragraph what the run does, from its configuration, for the report and for a paper."""
    input:
        choices=rules.compare_models.output.choices,
        stores=expand(rules.build_images.output.store, dataset=TOLD),
        weights=expand(rules.fetch_weights.output.manifest, model=FETCHED),
    output:
        md="results/methods.md",
        tex="results/methods.tex",
        html=report(
            "results/methods.html",
            caption="../workflow/report/methods.rst",
            category="Methods",
            labels={"text": "methods"},
        ),
    log:
        "results/logs/write_methods.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        datasets=TOLD,
        fetched=FETCHED,
        options={
            "datasets": {name: told_of(name) for name in RUN["datasets"]},
            "others": {
                name: told_of(name) for name in TOLD if name not in RUN["datasets"]
            },
            "encoders": (
                config["encoders"]
                | {
                    "objectives": {
                        name: config["encoders"]["objectives"][name]
                        for name in TRAINED
                    }
                }
                if TRAINED
                else {}
            ),
            "families": TRAINED,
            "models": {
                name: without(row, "memory_gb", "seed") for name, row in MODELS.items()
            },
            "prompts": {name: config["prompts"].get(name) for name in RUN["prompts"]},
            "protocol": config["protocol"],
            "device": config["device"],
            "clusters": told_clusters(config["clusters"], LABELLERS),
            "ways": {
                name: way_of(config["clusters"], name) for name in RUN["datasets"]
            },
            "localizability": config["localizability"],
            "folds": fold_options(config),
            "features": without(
                config["features"], "batch_size", "chunk", "shards", "threads"
            ),
            "probes": {
                name: without(options, "device", "threads")
                for name, options in PROBES.items()
            },
            "shown": SHOWN | {"ranking": ranking_of(config)},
            "analysis": config["analysis"] | {"pairs": PAIRS},
            "interventions": {
                name: without(options, "batch_size", "landmarks")
                | {"models": intervened(name)}
                for name, options in config["interventions"].items()
            },
        },
        code=source_digest("write_methods"),
    script:
        "../workflow/scripts/write_methods.py"

"""
Draw maps of predictions: of all models side by side, and of one.

INPUTS
  store, fits   results/images/{dataset}.h5, results/probes/{dataset}/{model}/{prompt}/{probe}.h5
OUTPUTS
  results/figures/{dataset}/{probe}/map.{png,pdf}, map/{model}.{png,pdf}
"""

MAPPED = {
    "poolings": config["analysis"]["poolings"],
    "target": SHOWN["target"],
    "cv": SHOWN["cv"],
}


rule plot_maps:
    """Map the error of every model's last layer by place, side by side."""
    input:
        store=rules.build_images.output.store,
        fits=lambda wildcards: [
            expand(
                rules.fit_probes.output.fits,
                model=model,
                prompt=prompts_of(model)[0],
                **wildcards,
            )[0]
            for model in MODELS
        ],
    output:
        png=report(
            "results/figures/{dataset}/{probe}/map.png",
            caption="../workflow/report/maps.rst",
            category="3 Maps",
            labels={
                "figure": "map",
                "model": "all",
                "data set": "{dataset}",
                "probe": "{probe}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/map.pdf",
    log:
        "results/logs/plot_maps/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        labels={name: row["label"] for name, row in MODELS.items()},
        headline=MAPPED,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_maps"),
    script:
        "../workflow/scripts/plot_maps.py"


rule plot_map:
    """Map the predicted against the true positions of one model's last layer."""
    input:
        store=rules.build_images.output.store,
        fits=lambda wildcards: expand(
            rules.fit_probes.output.fits,
            prompt=prompts_of(wildcards.model)[0],
            **wildcards,
        )[0],
    output:
        png=report(
            "results/figures/{dataset}/{probe}/map/{model}.png",
            caption="../workflow/report/map.rst",
            category="3 Maps",
            labels={
                "figure": "map",
                "model": "{model}",
                "data set": "{dataset}",
                "probe": "{probe}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/map/{model}.pdf",
    log:
        "results/logs/plot_map/{dataset}/{probe}/{model}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        label=lambda wildcards: MODELS[wildcards.model]["label"],
        headline=MAPPED,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_map"),
    script:
        "../workflow/scripts/plot_map.py"

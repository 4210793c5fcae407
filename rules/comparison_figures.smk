"""
Draw figures that compare models under what else they differ in: pooling, cross-validation, size.

INPUTS
  families, choices   results/analysis/*.parquet
  features            results/features/{dataset}/{model}/{prompt}.h5, for the number of parameters
OUTPUTS
  results/figures/{dataset}/{probe}/{poolings,cross_validations,scale}.{png,pdf}, and svg where that is small
"""

# One model a family: its seeds have one architecture.
SIZED = {row["family"]: name for name, row in MODELS.items()}
# Each figure says so where it has nothing to compare; it is made unasked only where there is something.
OF_POOLINGS = [
    name
    for name, options in PROBES.items()
    if options["poolings"] == "all" and len(config["features"]["poolings"]) > 1
]
OF_CROSS_VALIDATIONS = [
    name for name, options in PROBES.items() if len(options["cv"]) > 1
]
# the colours of an image have no parameters
OF_SCALE = [
    name
    for name in RUN["probes"]
    if any(row["loader"] != "histogram" for row in MODELS.values())
]


rule plot_poolings:
    """Draw R2 of every model under each of its poolings as a heatmap."""
    input:
        families=rules.compare_models.output.families,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/poolings.png",
            caption="../workflow/report/poolings.rst",
            category="1 Models",
            labels={"figure": "poolings", "data set": "{dataset}", "probe": "{probe}"},
        ),
        pdf="results/figures/{dataset}/{probe}/poolings.pdf",
    log:
        "results/logs/plot_poolings/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline={
            "prompts": PROMPTS,
            "target": SHOWN["target"],
            "cv": SHOWN["cv"],
            "depth": config["analysis"]["depth"],
        },
        poolings=lookup(within=config, dpath="features/poolings"),
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_poolings"),
    script:
        "../workflow/scripts/plot_poolings.py"


rule plot_cross_validations:
    """Draw R2 of every model under random and under held-out folds, and what is lost between them."""
    input:
        choices=rules.compare_models.output.choices,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/cross_validations.png",
            caption="../workflow/report/cross_validations.rst",
            category="1 Models",
            labels={
                "figure": "cross-validations",
                "data set": "{dataset}",
                "probe": "{probe}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/cross_validations.pdf",
        svg="results/figures/{dataset}/{probe}/cross_validations.svg",
    log:
        "results/logs/plot_cross_validations/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline=HEADLINE,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_cross_validations"),
    script:
        "../workflow/scripts/plot_cross_validations.py"


rule plot_scale:
    """Draw R2 of every model against its number of parameters."""
    input:
        choices=rules.compare_models.output.choices,
        features=lambda wildcards: [
            expand(
                rules.join_features.output.features,
                dataset=wildcards.dataset,
                model=model,
                prompt=prompts_of(model)[0],
            )[0]
            for model in SIZED.values()
        ],
    output:
        png=report(
            "results/figures/{dataset}/{probe}/scale.png",
            caption="../workflow/report/scale.rst",
            category="1 Models",
            labels={"figure": "scale", "data set": "{dataset}", "probe": "{probe}"},
        ),
        pdf="results/figures/{dataset}/{probe}/scale.pdf",
        svg="results/figures/{dataset}/{probe}/scale.svg",
    log:
        "results/logs/plot_scale/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline=HEADLINE | {"cv": SHOWN["cv"]},
        families=list(SIZED),
        pairs=PAIRS,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_scale"),
    script:
        "../workflow/scripts/plot_scale.py"

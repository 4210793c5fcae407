"""
Draw figures that compare models, and name all figures of the run.

INPUTS
  families, choices      results/analysis/*.parquet
  differences, ranking   results/analysis/*.csv
OUTPUTS
  results/figures/{dataset}/{probe}/<figure>.{png,pdf}, and svg where that is small
"""


localrules:
    figures,


rule plot_objectives:
    """Compare all models at their chosen layer, under each cross-validation."""
    input:
        choices=rules.compare_models.output.choices,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/objectives.png",
            caption="../workflow/report/objectives.rst",
            category="1 Models",
            labels={
                "figure": "objectives",
                "data set": "{dataset}",
                "probe": "{probe}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/objectives.pdf",
        svg="results/figures/{dataset}/{probe}/objectives.svg",
    log:
        "results/logs/plot_objectives/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline=HEADLINE,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_objectives"),
    script:
        "../workflow/scripts/plot_objectives.py"


rule plot_heatmap:
    """Draw R2 of every model in every cluster as a heatmap."""
    input:
        choices=rules.compare_models.output.choices,
        ranking=rules.rank_clusters.output.ranking,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/heatmap.png",
            caption="../workflow/report/heatmap.rst",
            category="2 Clusters",
            labels={"figure": "heatmap", "data set": "{dataset}", "probe": "{probe}"},
        ),
        pdf="results/figures/{dataset}/{probe}/heatmap.pdf",
    log:
        "results/logs/plot_heatmap/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline=HEADLINE | {"cv": SHOWN["cv"]},
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_heatmap"),
    script:
        "../workflow/scripts/plot_heatmap.py"


rule plot_layers:
    """Draw R2 by layer with bands for the intervals."""
    input:
        families=rules.compare_models.output.families,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/layers.png",
            caption="../workflow/report/layers.rst",
            category="1 Models",
            labels={"figure": "layers", "data set": "{dataset}", "probe": "{probe}"},
        ),
        pdf="results/figures/{dataset}/{probe}/layers.pdf",
        svg="results/figures/{dataset}/{probe}/layers.svg",
    log:
        "results/logs/plot_layers/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline={
            "prompts": PROMPTS,
            "poolings": config["analysis"]["poolings"],
            "target": SHOWN["target"],
        },
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_layers"),
    script:
        "../workflow/scripts/plot_layers.py"


rule plot_captions:
    """Draw paired differences between models, the caption sets among them."""
    input:
        choices=rules.compare_models.output.choices,
        differences=rules.compare_models.output.differences,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/captions.png",
            caption="../workflow/report/captions.rst",
            category="1 Models",
            labels={"figure": "captions", "data set": "{dataset}", "probe": "{probe}"},
        ),
        pdf="results/figures/{dataset}/{probe}/captions.pdf",
        svg="results/figures/{dataset}/{probe}/captions.svg",
    log:
        "results/logs/plot_captions/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        headline=HEADLINE,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_captions"),
    script:
        "../workflow/scripts/plot_captions.py"


rule figures:
    """Make every figure of the run."""
    input:
        collect(
            [*rules.plot_balance.output, *rules.plot_contact_sheet.output],
            dataset=RUN["datasets"],
        ),
        # only where the number of clusters is chosen
        expand(rules.plot_elbow.output, dataset=ELBOWS),
        branch(
            lookup(within=config, dpath="figures/each_model"),
            then=expand(
                rules.plot_map.output,
                dataset=RUN["datasets"],
                probe=RUN["probes"],
                model=MODELS,
            ),
        ),
        collect(
            [
                *rules.plot_maps.output,
                *rules.plot_objectives.output,
                *rules.plot_heatmap.output,
                *rules.plot_layers.output,
                *rules.plot_localizability.output,
            ],
            dataset=RUN["datasets"],
            probe=RUN["probes"],
        ),
        # only where there is something to compare
        expand(rules.plot_poolings.output, dataset=RUN["datasets"], probe=OF_POOLINGS),
        expand(
            rules.plot_cross_validations.output,
            dataset=RUN["datasets"],
            probe=OF_CROSS_VALIDATIONS,
        ),
        expand(rules.plot_scale.output, dataset=RUN["datasets"], probe=OF_SCALE),
        # of multimodal models that were asked in several ways
        branch(
            ASKED,
            then=expand(
                rules.plot_prompts.output,
                dataset=RUN["datasets"],
                probe=RUN["probes"],
            ),
        ),
        # a single model has nothing to differ from
        branch(
            len(RUN["models"]) > 1,
            then=expand(
                rules.plot_captions.output,
                dataset=RUN["datasets"],
                probe=RUN["probes"],
            ),
        ),

"""
Draw figures: each from a summary, each redrawn alone.

INPUTS
  families, differences, ranking   results/analysis/*.csv
  clusters, store, fits            where a figure shows images or positions
OUTPUTS
  results/figures/{dataset}/{probe}/<figure>.{png,pdf}, and svg where that is small;
  results/figures/{dataset}/contact_sheet.{png,pdf}
"""


localrules:
    figures,


rule plot_objectives:
    """Compare all models at their last layer, under both cross-validations."""
    input:
        families=rules.summarise_scores.output.families,
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
        mem_mb=1000,
        runtime=10,
    params:
        headline=HEADLINE,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_objectives"),
    script:
        "../workflow/scripts/plot_objectives.py"


rule plot_heatmap:
    """Draw R2 of every model in every cluster as a heatmap."""
    input:
        families=rules.summarise_scores.output.families,
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
        mem_mb=1000,
        runtime=10,
    params:
        headline=HEADLINE | {"cv": config["analysis"]["cv"]},
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_heatmap"),
    script:
        "../workflow/scripts/plot_heatmap.py"


rule plot_layers:
    """Draw R2 by layer with bands for the intervals."""
    input:
        families=rules.summarise_scores.output.families,
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
        mem_mb=1000,
        runtime=10,
    params:
        headline=HEADLINE,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_layers"),
    script:
        "../workflow/scripts/plot_layers.py"


rule plot_captions:
    """Draw paired differences between models, the caption sets among them."""
    input:
        families=rules.summarise_scores.output.families,
        differences=rules.summarise_scores.output.differences,
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
        mem_mb=1000,
        runtime=10,
    params:
        headline=HEADLINE,
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_captions"),
    script:
        "../workflow/scripts/plot_captions.py"


rule plot_localizability:
    """Draw the localizability axis with sample images."""
    input:
        ranking=rules.rank_clusters.output.ranking,
        clusters=rules.assign_clusters.output.clusters,
        store=rules.build_images.output.store,
    output:
        png=report(
            "results/figures/{dataset}/{probe}/localizability.png",
            caption="../workflow/report/localizability.rst",
            category="2 Clusters",
            labels={
                "figure": "localizability",
                "data set": "{dataset}",
                "probe": "{probe}",
            },
        ),
        pdf="results/figures/{dataset}/{probe}/localizability.pdf",
    log:
        "results/logs/plot_localizability/{dataset}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_localizability"),
    script:
        "../workflow/scripts/plot_localizability.py"


rule plot_map:
    """Map the predicted against the true positions of one model's last layer."""
    input:
        store=rules.build_images.output.store,
        fits=expand(
            rules.fit_probes.output.fits, prompt=HEADLINE["prompt"], allow_missing=True
        )[0],
    output:
        png=report(
            "results/figures/{dataset}/{probe}/map/{model}.png",
            caption="../workflow/report/map.rst",
            category="3 Maps",
            labels={"model": "{model}", "data set": "{dataset}", "probe": "{probe}"},
        ),
        pdf="results/figures/{dataset}/{probe}/map/{model}.pdf",
    log:
        "results/logs/plot_map/{dataset}/{probe}/{model}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        label=lambda wildcards: MODELS[wildcards.model]["label"],
        headline=HEADLINE | {"cv": config["analysis"]["cv"]},
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_map"),
    script:
        "../workflow/scripts/plot_map.py"


rule plot_contact_sheet:
    """Show the most typical images of every cluster."""
    input:
        clusters=rules.assign_clusters.output.clusters,
        store=rules.build_images.output.store,
    output:
        png=report(
            "results/figures/{dataset}/contact_sheet.png",
            caption="../workflow/report/contact_sheet.rst",
            category="2 Clusters",
            labels={
                "figure": "contact sheet",
                "data set": "{dataset}",
                "probe": "none",
            },
        ),
        pdf="results/figures/{dataset}/contact_sheet.pdf",
    log:
        "results/logs/plot_contact_sheet/{dataset}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_contact_sheet"),
    script:
        "../workflow/scripts/plot_contact_sheet.py"


rule figures:
    """Make every figure of the run."""
    input:
        expand(rules.plot_contact_sheet.output.png, dataset=RUN["datasets"]),
        expand(
            rules.plot_map.output.png,
            dataset=RUN["datasets"],
            probe=RUN["probes"],
            model=MODELS,
        ),
        collect(
            [
                rules.plot_objectives.output.png,
                rules.plot_heatmap.output.png,
                rules.plot_layers.output.png,
                rules.plot_localizability.output.png,
            ],
            dataset=RUN["datasets"],
            probe=RUN["probes"],
        ),
        # a single model has nothing to differ from
        branch(
            len(RUN["models"]) > 1,
            then=expand(
                rules.plot_captions.output.png,
                dataset=RUN["datasets"],
                probe=RUN["probes"],
            ),
        ),

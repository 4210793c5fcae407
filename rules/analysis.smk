"""
Score probes and compare models: intervals, paired differences, effect of text and prompts, localizability, fairness.

INPUTS
  scores, fits   results/probes/{dataset}/{model}/{prompt}/{probe}.parquet and .h5
  stores, folds  results/images/{dataset}.h5, results/folds/{dataset}.parquet
OUTPUTS
  of each probe  results/analysis/{dataset}/{model}/{prompt}/{probe}/scores.parquet, choices.parquet, samples.h5,
                 fairness.csv
  joined         results/analysis/*.csv: scores, families, choices, differences, supervisions, text_effect, baselines,
                 localizability, prompt_curves, prompt_effects; families and choices also as .parquet, of which figures
                 read a part
"""

OF_PROBE = "results/analysis/{dataset}/{model}/{prompt}/{probe}"
SHOWN_LAYERS = {
    "cvs": [SHOWN["cv"]],
    "poolings": config["analysis"]["poolings"],
    "layers": SHOWN["depth"],
    "bootstrap": config["analysis"]["bootstrap"],
    "seed": config["analysis"]["seed"],
}


rule score_probe:
    """Pool held-out predictions of one model into R2 with intervals, of each layer, of the chosen ones, by region."""
    input:
        store=rules.build_images.output.store,
        scores=rules.fit_probes.output.scores,
        fits=rules.fit_probes.output.fits,
        folds=rules.assign_folds.output.folds,
    output:
        scores=f"{OF_PROBE}/scores.parquet",
        choices=f"{OF_PROBE}/choices.parquet",
        samples=f"{OF_PROBE}/samples.h5",
        fairness=f"{OF_PROBE}/fairness.csv",
    log:
        "results/logs/score_probe/{dataset}/{model}/{prompt}/{probe}.log",
    benchmark:
        "results/benchmarks/score_probe/{dataset}/{model}/{prompt}/{probe}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(120),
    params:
        poolings=lookup(within=config, dpath="analysis/poolings"),
        depth=SHOWN["depth"],
        bootstrap=lookup(within=config, dpath="analysis/bootstrap"),
        seed=lookup(within=config, dpath="analysis/seed"),
        shown={"target": SHOWN["target"], "cvs": [SHOWN["cv"]]},
        code=source_digest("score_probe"),
    script:
        "../workflow/scripts/score_probe.py"


rule compare_models:
    """Join the scores of all models: seeds into families, families into paired differences, pairs into an effect."""
    input:
        scores=of_probes(rules.score_probe.output.scores),
        choices=of_probes(rules.score_probe.output.choices),
        samples=of_probes(rules.score_probe.output.samples),
        baselines=expand(
            rules.score_baselines.output.baselines, dataset=RUN["datasets"]
        ),
    output:
        scores="results/analysis/scores.csv",
        families="results/analysis/families.parquet",
        families_csv="results/analysis/families.csv",
        choices="results/analysis/choices.parquet",
        choices_csv="results/analysis/choices.csv",
        differences="results/analysis/differences.csv",
        supervisions="results/analysis/supervisions.csv",
        text_effect="results/analysis/text_effect.csv",
        baselines="results/analysis/baselines.csv",
    log:
        "results/logs/compare_models.log",
    benchmark:
        "results/benchmarks/compare_models.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(120),
    params:
        datasets=RUN["datasets"],
        models=model_rows(MODELS, "family", "label", "supervision", "geolocation"),
        shown={"prompts": PROMPTS},
        choice=SHOWN["choice"],
        pairs=PAIRS,
        seed=lookup(within=config, dpath="analysis/seed"),
        code=source_digest("compare_models"),
    script:
        "../workflow/scripts/compare_models.py"


rule rank_clusters:
    """Rank clusters by how well position can be read from their images, and sort them into tiers."""
    input:
        choices=rules.compare_models.output.choices,
        clusters=expand(rules.assign_clusters.output.summary, dataset=RUN["datasets"]),
    output:
        ranking="results/analysis/localizability.csv",
    log:
        "results/logs/rank_clusters.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        datasets=RUN["datasets"],
        headline=HEADLINE | {"cv": SHOWN["cv"]},
        options=lookup(within=config, dpath="localizability"),
        code=source_digest("rank_clusters"),
    script:
        "../workflow/scripts/rank_clusters.py"


rule compare_prompts:
    """Compare the prompts of each multimodal model: curves by layer, peaks, and paired changes."""
    input:
        scores=of_probes(rules.score_probe.output.scores, models=MULTIMODAL),
        samples=of_probes(rules.score_probe.output.samples, models=MULTIMODAL),
    output:
        curves="results/analysis/prompt_curves.csv",
        effects="results/analysis/prompt_effects.csv",
    log:
        "results/logs/compare_prompts.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(60),
    params:
        models=model_rows(MULTIMODAL, "family", "label", "supervision"),
        prompts={
            name: options
            for name, options in config["prompts"].items()
            if name in RUN["prompts"]
        },
        poolings=config["analysis"]["poolings"],
        target=SHOWN["target"],
        each_cluster=False,
        seed=lookup(within=config, dpath="analysis/seed"),
        code=source_digest("compare_prompts"),
    script:
        "../workflow/scripts/compare_prompts.py"

"""
Analyse probes: scores with intervals, paired differences, localizability, fairness, transfer, dimensions.

INPUTS
  scores, fits   results/probes/{dataset}/{model}/{prompt}/{probe}.parquet and .h5
  features       results/features/{dataset}/{model}/{prompt}.h5
  stores, folds  results/images/{dataset}.h5, results/folds/{dataset}.parquet
OUTPUTS
  of each probe  results/analysis/{dataset}/{model}/{prompt}/{probe}/, a table an analysis
  joined         results/analysis/*.csv: scores, families, choices, differences, supervisions, text_effect, baselines,
                 localizability, transfer, correlations, correlation, dimensions, fairness
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
        mem_mb=2000,
        runtime=120,
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
        families="results/analysis/families.csv",
        choices="results/analysis/choices.csv",
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
        mem_mb=4000,
        runtime=120,
    params:
        datasets=RUN["datasets"],
        models=MODELS,
        shown={"prompts": PROMPTS},
        choice=SHOWN["choice"],
        pairs=lookup(within=config, dpath="analysis/pairs"),
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
        mem_mb=1000,
        runtime=10,
    params:
        datasets=RUN["datasets"],
        headline=HEADLINE | {"cv": SHOWN["cv"]},
        options=lookup(within=config, dpath="localizability"),
        code=source_digest("rank_clusters"),
    script:
        "../workflow/scripts/rank_clusters.py"


rule relate_clusters:
    """Train on one cluster and test on another, and correlate the coefficients of clusters, for one model."""
    input:
        fits=rules.fit_probes.output.fits,
        features=rules.join_features.output.features,
        store=rules.build_images.output.store,
        folds=rules.assign_folds.output.folds,
    output:
        transfer=f"{OF_PROBE}/transfer.csv",
        correlations=f"{OF_PROBE}/correlations.csv",
        summary=f"{OF_PROBE}/correlation.csv",
    log:
        "results/logs/relate_clusters/{dataset}/{model}/{prompt}/{probe}.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=probe_memory,
        runtime=120,
    params:
        **SHOWN_LAYERS,
        target=SHOWN["target"],
        shares=lookup(within=config, dpath="analysis/correlation/shares"),
        code=source_digest("relate_clusters"),
    script:
        "../workflow/scripts/relate_clusters.py"


rule ablate_dimensions:
    """Probe the most telling dimensions of one model, and random ones."""
    input:
        fits=rules.fit_probes.output.fits,
        features=rules.join_features.output.features,
        store=rules.build_images.output.store,
        folds=rules.assign_folds.output.folds,
    output:
        dimensions=f"{OF_PROBE}/dimensions.csv",
    log:
        "results/logs/ablate_dimensions/{dataset}/{model}/{prompt}/{probe}.log",
    benchmark:
        "results/benchmarks/ablate_dimensions/{dataset}/{model}/{prompt}/{probe}.tsv"
    conda:
        "../envs/geoprobe.yaml"
    threads: probe_resource("threads")
    resources:
        mem_mb=probe_memory,
        runtime=1440,
        gpu=probe_resource("gpu"),
    params:
        **SHOWN_LAYERS,
        options={
            "shares": config["analysis"]["dimensions"]["shares"],
            "rankings": [ranking_of(config)],
            "draws": config["analysis"]["dimensions"]["random"],
            "clusters": {"all": ["all"], "each": "each"}[
                config["analysis"]["dimensions"]["clusters"]
            ],
        },
        code=source_digest("ablate_dimensions"),
    script:
        "../workflow/scripts/ablate_dimensions.py"


rule join_analyses:
    """Join the closer analyses of all models into one table each."""
    input:
        transfer=of_probes(rules.relate_clusters.output.transfer, ["ridge"]),
        correlations=of_probes(rules.relate_clusters.output.correlations, ["ridge"]),
        correlation=of_probes(rules.relate_clusters.output.summary, ["ridge"]),
        dimensions=of_probes(rules.ablate_dimensions.output.dimensions, ["ridge"]),
        fairness=of_probes(rules.score_probe.output.fairness),
    output:
        transfer="results/analysis/transfer.csv",
        correlations="results/analysis/correlations.csv",
        correlation="results/analysis/correlation.csv",
        dimensions="results/analysis/dimensions.csv",
        fairness="results/analysis/fairness.csv",
    log:
        "results/logs/join_analyses.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        models=MODELS,
        code=source_digest("join_analyses"),
    script:
        "../workflow/scripts/join_analyses.py"

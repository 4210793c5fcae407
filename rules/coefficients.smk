"""
Look into single layers: transfer between clusters, correlation of coefficients, subsets of dimensions.

INPUTS
  fits           results/probes/{dataset}/{model}/{prompt}/{probe}.h5, of ridge regressions
  features       results/features/{dataset}/{model}/{prompt}.h5
  stores, folds  results/images/{dataset}.h5, results/folds/{dataset}.parquet
OUTPUTS
  of each probe  results/analysis/{dataset}/{model}/{prompt}/{probe}/transfer.csv, correlations.csv, correlation.csv,
                 dimensions.csv
  joined         results/analysis/*.csv: the same of all models, and fairness
"""


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
        mem_mb=model_memory,
        runtime=model_minutes(30),
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
        mem_mb=model_memory,
        runtime=model_minutes(120),
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
        transfer=of_probes(rules.relate_clusters.output.transfer, WEIGHED),
        correlations=of_probes(rules.relate_clusters.output.correlations, WEIGHED),
        correlation=of_probes(rules.relate_clusters.output.summary, WEIGHED),
        dimensions=of_probes(rules.ablate_dimensions.output.dimensions, WEIGHED),
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
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        models=model_rows(MODELS, "family", "label", "supervision"),
        code=source_digest("join_analyses"),
    script:
        "../workflow/scripts/join_analyses.py"

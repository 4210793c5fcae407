"""Compare all models: scores, families, choices of layers, paired differences, and the effect of text."""

from geoprobe.analysis.comparison import compare_models
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        compare_models(
            list(zip(snakemake.input.scores, snakemake.input.choices, snakemake.input.samples, strict=True)),
            dict(zip(snakemake.params.datasets, snakemake.input.baselines, strict=True)),
            snakemake.params.models,
            snakemake.params.shown,
            snakemake.params.choice,
            snakemake.params.pairs,
            snakemake.params.seed,
            dict(snakemake.output.items()),
        )

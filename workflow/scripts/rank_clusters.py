"""Rank the clusters of each data set by localizability, by each probe."""

from geoprobe.analysis.families import chosen_rows, read_clusters, read_summary
from geoprobe.analysis.localizability import rank_clusters
from geoprobe.runtime import rule_log, write_table


def rank(choices, clusters, headline, thresholds, tiers, ranking):
    """Read the chosen layers by family and the clusters of each data set, write the ranking."""
    chosen = chosen_rows(read_summary(choices), **headline)
    summaries = {dataset: read_clusters(path) for dataset, path in clusters.items()}
    write_table(rank_clusters(chosen, summaries, thresholds, tiers), ranking)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        rank(
            snakemake.input.choices,
            dict(zip(snakemake.params.datasets, snakemake.input.clusters, strict=True)),
            snakemake.params.headline,
            **snakemake.params.options,
            ranking=snakemake.output.ranking,
        )

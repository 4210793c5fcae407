"""Draw the localizability axis with sample images."""

import pandas as pd

from geoprobe.analysis.families import read_clusters, select
from geoprobe.clusters.table import typical_rows
from geoprobe.figures.localizability import SAMPLES, draw
from geoprobe.figures.style import save_figure
from geoprobe.images.store import read_squares
from geoprobe.runtime import rule_log


def plot(ranking, clusters, store, dataset, probe, paths, dpi):
    """Read the ranking by one probe and the most typical images of each cluster, draw."""
    ranked = select(read_clusters(ranking), dataset=dataset, probe=probe)
    table = pd.read_parquet(clusters)
    samples = {
        cluster: list(read_squares(store, typical_rows(table, cluster, SAMPLES))) for cluster in ranked["cluster"]
    }
    save_figure(draw(ranked, samples), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(
            snakemake.input.ranking,
            snakemake.input.clusters,
            snakemake.input.store,
            snakemake.wildcards.dataset,
            snakemake.wildcards.probe,
            snakemake.output,
            snakemake.params.dpi,
        )

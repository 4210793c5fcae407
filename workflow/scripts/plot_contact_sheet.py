"""Show the most typical images of every cluster."""

import pandas as pd

from geoprobe.clusters.table import typical_rows
from geoprobe.figures.contact_sheet import SHEET, draw
from geoprobe.figures.style import save_figure
from geoprobe.images.store import read_squares
from geoprobe.runtime import rule_log

PIXELS = 64  # of a side: as many as are printed; more take seconds to draw


def plot(clusters, store, paths, dpi):
    """Read the clusters and their most typical images, draw."""
    table = pd.read_parquet(clusters)
    sheets = []
    # -1 is no cluster: images that were not sampled
    for (cluster, name), part in table[table["cluster"] >= 0].groupby(["cluster", "name"]):
        title = f"{cluster}: {name} ({len(part)} images)"
        sheets.append((title, list(read_squares(store, typical_rows(table, cluster, SHEET), most=PIXELS))))
    save_figure(draw(sheets), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(
            snakemake.input.clusters,
            snakemake.input.store,
            snakemake.output,
            snakemake.params.dpi,
        )

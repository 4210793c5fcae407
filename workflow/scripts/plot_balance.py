"""Show what the balance of one data set kept and lost."""

import numpy as np
import pandas as pd

from geoprobe.figures.balance import bin_edges, draw
from geoprobe.figures.style import save_figure
from geoprobe.images.store import read_positions
from geoprobe.runtime import rule_log


def plot(store, rejects, balance, name, paths, dpi):
    """Count the kept and the lost positions in bins, draw."""
    positions, _ = read_positions(store)
    lost = pd.read_parquet(rejects, columns=["latitude", "longitude"]).dropna().to_numpy()
    kept, lost = (np.histogram2d(*points.T, bins=bin_edges())[0] for points in (positions, lost))
    # a country without a code: Namibia's is no gap
    table = pd.read_csv(balance, keep_default_na=False)
    save_figure(draw(kept, kept + lost, table, name), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(
            snakemake.input.store,
            snakemake.input.rejects,
            snakemake.input.balance,
            snakemake.wildcards.dataset,
            snakemake.output,
            snakemake.params.dpi,
        )

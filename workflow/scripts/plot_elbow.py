"""Draw how the number of clusters was chosen."""

import pandas as pd

from geoprobe.figures.elbow import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(elbow, paths, dpi):
    """Read the curve, draw."""
    save_figure(draw(pd.read_csv(elbow)), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(snakemake.input.elbow, snakemake.output, snakemake.params.dpi)

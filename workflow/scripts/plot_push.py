"""Draw how far read-outs move when a model is steered along its probes' directions."""

import pandas as pd

from geoprobe.figures.push import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(pushes, paths, dpi):
    """Read the steps, draw."""
    save_figure(draw(pd.read_csv(pushes)), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(snakemake.input.pushes, snakemake.output, snakemake.params.dpi)

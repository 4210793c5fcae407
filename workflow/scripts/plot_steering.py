"""Draw what replacing dimensions of the summary token does to the answers of one model."""

from geoprobe.analysis.families import read_summary
from geoprobe.figures.steering import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(scores, title, paths, dpi):
    """Read the outcomes, draw."""
    save_figure(draw(read_summary(scores), title), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(snakemake.input.scores, snakemake.params.title, snakemake.output, snakemake.params.dpi)

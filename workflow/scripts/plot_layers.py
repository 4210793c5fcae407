"""Draw R2 by layer."""

from geoprobe.analysis.families import read_headline
from geoprobe.figures.layers import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(families, headline, paths, dpi):
    """Read the family summary, keep the headline's rows, draw."""
    save_figure(draw(read_headline(families, **headline, cluster="all", control="none")), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(snakemake.input.families, headline, snakemake.output, snakemake.params.dpi)

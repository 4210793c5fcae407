"""Draw the transfer between clusters of every model, side by side."""

from geoprobe.analysis.families import read_headline, read_summary, select, split_models
from geoprobe.figures.style import save_figure
from geoprobe.figures.transfer import draw_side_by_side
from geoprobe.runtime import rule_log


def plot(transfer, ranking, headline, paths, dpi):
    """Read the table of all models and the ranking of the clusters, keep the headline's rows, draw."""
    ranked = select(read_summary(ranking), dataset=headline["dataset"], probe=headline["probe"])
    names = dict(zip(ranked["cluster"], ranked["name"], strict=True))
    save_figure(draw_side_by_side(split_models(read_headline(transfer, **headline)), names), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(snakemake.input.transfer, snakemake.input.ranking, headline, snakemake.output, snakemake.params.dpi)

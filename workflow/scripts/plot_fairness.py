"""Draw errors by continent and by how densely the data cover a place, of all models."""

from geoprobe.analysis.families import read_headline, split_models
from geoprobe.figures.fairness import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(fairness, headline, paths, dpi):
    """Read the table of all models, keep the headline's rows, draw."""
    save_figure(draw(split_models(read_headline(fairness, **headline))), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(snakemake.input.fairness, headline, snakemake.output, snakemake.params.dpi)

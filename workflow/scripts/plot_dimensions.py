"""Draw R2 by the share of the dimensions, of all models."""

from geoprobe.analysis.families import read_headline, split_models
from geoprobe.figures.dimensions import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(dimensions, headline, paths, dpi):
    """Read the table of all models, keep the headline's rows and each tower's shown layer, draw."""
    rows = split_models(read_headline(dimensions, **headline, cluster="all"))
    # the table also has each tower's first layer
    shown = rows["layer"] == rows.groupby("label")["layer"].transform("max")
    save_figure(draw(rows[shown]), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(snakemake.input.dimensions, headline, snakemake.output, snakemake.params.dpi)

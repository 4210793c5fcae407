"""Draw the mean correlation of coefficients between clusters, of all models."""

from geoprobe.analysis.families import read_headline, split_models
from geoprobe.figures.correlation import draw_summary
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(correlation, headline, scaled, paths, dpi):
    """Read the table of all models, keep the headline's rows and one scaling, draw."""
    rows = split_models(read_headline(correlation, **headline))
    # rows without a correlation have no scaling, but a reason
    save_figure(draw_summary(rows[rows["scaled"].isna() | (rows["scaled"] == scaled)]), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(
            snakemake.input.correlation,
            headline,
            snakemake.params.scaled,
            snakemake.output,
            snakemake.params.dpi,
        )

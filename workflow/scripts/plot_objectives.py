"""Compare all models at their chosen layer."""

from geoprobe.analysis.families import read_chosen
from geoprobe.figures.objectives import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(choices, headline, paths, dpi):
    """Read the chosen layers by family, keep the headline's rows, draw."""
    save_figure(draw(read_chosen(choices, **headline, cluster="all")), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(snakemake.input.choices, headline, snakemake.output, snakemake.params.dpi)

"""Draw R2 of every model in every cluster."""

from geoprobe.analysis.families import read_chosen, read_summary, select
from geoprobe.figures.heatmap import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(choices, ranking, headline, paths, dpi):
    """Read the chosen layers by family and the ranking, keep the headline's rows, draw."""
    chosen = read_chosen(choices, **headline, control="none")
    ranked = select(read_summary(ranking), dataset=headline["dataset"], probe=headline["probe"])
    save_figure(draw(chosen, dict(zip(ranked["cluster"], ranked["name"], strict=True))), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(
            snakemake.input.choices,
            snakemake.input.ranking,
            headline,
            snakemake.output,
            snakemake.params.dpi,
        )

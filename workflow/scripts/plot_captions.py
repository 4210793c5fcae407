"""Draw paired differences between models."""

from geoprobe.analysis.families import read_chosen, read_summary, select
from geoprobe.figures.captions import draw
from geoprobe.figures.counts import write_counts
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(choices, differences, headline, paths, dpi):
    """Read the differences and the models' labels, keep the headline's rows, draw."""
    chosen = read_chosen(choices, **headline, cluster="all", control="none")
    labels = dict(chosen[["family", "label"]].drop_duplicates().to_numpy())
    where = {name: headline[name] for name in ("dataset", "probe", "target")}
    drawn = draw(select(read_summary(differences), **where), labels, write_counts(chosen))
    save_figure(drawn, paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(
            snakemake.input.choices,
            snakemake.input.differences,
            headline,
            snakemake.output,
            snakemake.params.dpi,
        )

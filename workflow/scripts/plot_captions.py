"""Draw paired differences between models."""

from geoprobe.analysis.families import chosen_rows, read_summary, select
from geoprobe.figures.captions import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(choices, differences, headline, paths, dpi):
    """Read the differences and the models' labels, keep the headline's rows, draw."""
    labels = dict(chosen_rows(read_summary(choices), **headline)[["family", "label"]].drop_duplicates().to_numpy())
    where = {name: headline[name] for name in ("dataset", "probe", "target")}
    save_figure(draw(select(read_summary(differences), **where), labels), paths, dpi)


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

"""Draw R2 by layer."""

from geoprobe.analysis.families import headline_rows, read_summary
from geoprobe.figures.layers import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(families, headline, paths, dpi):
    """Read the family summary, keep the headline's rows, draw."""
    where = {name: headline[name] for name in ("dataset", "probe", "target")} | {"cluster": "all", "control": "none"}
    chosen = headline_rows(read_summary(families, **where), **headline, cluster="all", control="none")
    save_figure(draw(chosen), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(snakemake.input.families, headline, snakemake.output, snakemake.params.dpi)

"""Draw the paper's numbers beside those of the run."""

from geoprobe.analysis.families import read_summary
from geoprobe.figures.published import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(published, paths, dpi):
    """Read the joined numbers (CSV), draw."""
    frame = read_summary(published)
    frame["reason"] = frame["reason"].fillna("")
    save_figure(draw(frame), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(snakemake.input.published, snakemake.output, snakemake.params.dpi)

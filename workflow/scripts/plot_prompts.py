"""Draw R2 by layer and prompt of all multimodal models."""

from geoprobe.analysis.families import has_learned, read_summary, select
from geoprobe.figures.prompts import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(curves, headline, tower, paths, dpi):
    """Read the curves, keep the headline's rows of one tower and the models that have been trained, draw."""
    frame = read_summary(curves)
    frame = frame[has_learned(frame.assign(origin=frame["family"]))]
    where = {name: headline[name] for name in ("dataset", "probe", "target", "cv")}
    save_figure(draw(select(frame, **where, tower=tower, cluster="all")), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(snakemake.input.curves, headline, snakemake.params.tower, snakemake.output, snakemake.params.dpi)

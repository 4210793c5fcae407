"""Draw R2 of every model under each of its poolings."""

from geoprobe.analysis.families import prompted_rows, read_summary
from geoprobe.figures.poolings import draw, layer_by_pooling
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log

# of the many columns and the many rows
READ = ["family", "label", "supervision", "prompt", "cluster", "tower", "layer", "pooling", "r2", "low", "high"]
READ += ["images", "blocks"]


def plot(families, prompts, poolings, depth, where, paths, dpi):
    """Read the family summary, keep one layer a pooling with the first prompt that a model has, draw."""
    where = where | {"control": "none"}
    frame = prompted_rows(read_summary(families, [*READ, *where], **where), prompts, **where)
    save_figure(draw(layer_by_pooling(frame, depth), poolings), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = dict(snakemake.params.headline)
        where = {name: headline[name] for name in ("target", "cv")}
        plot(
            snakemake.input.families,
            headline["prompts"],
            snakemake.params.poolings,
            headline["depth"],
            where | {name: snakemake.wildcards[name] for name in ("dataset", "probe")},
            snakemake.output,
            snakemake.params.dpi,
        )

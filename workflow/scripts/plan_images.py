"""Check and balance the listed images of one data set."""

from pathlib import Path

from geoprobe.images.plan import plan_images
from geoprobe.images.polygons import read_layers
from geoprobe.images.sources import load_source
from geoprobe.runtime import rule_log


def plan(name, options, metadata, boundaries, plan_path, left_out):
    """List the images of a source, write the plan and what is left out of it.

    Args:
        metadata, boundaries: manifests; empty for an offline source and for the gazetteer.
    """
    source = load_source(options["source"])
    source.check(options)
    folder = Path(metadata).with_suffix("") if metadata else None
    layers = read_layers(boundaries) if boundaries else None
    frames = source.list_images(options, folder)
    plan_images(frames, plan_path, left_out, name, options["balance"], options.get("shards", 1), layers)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plan(
            snakemake.wildcards.dataset,
            snakemake.params.options,
            snakemake.input.get("metadata"),
            snakemake.input.get("boundaries"),
            snakemake.output.plan,
            snakemake.output.left_out,
        )

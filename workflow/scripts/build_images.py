"""Build the image store of one data set."""

from pathlib import Path

from geoprobe.images.build import build_store
from geoprobe.images.polygons import read_layers
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        boundaries = snakemake.input.get("boundaries")
        build_store(
            snakemake.output.store,
            snakemake.output.rejects,
            snakemake.output.balance,
            snakemake.wildcards.dataset,
            snakemake.params.options,
            snakemake.input.plan,
            snakemake.input.left_out,
            metadata=Path(snakemake.input.metadata).with_suffix("") if snakemake.input.get("metadata") else None,
            downloads=[(path, Path(path).with_suffix(".pack")) for path in snakemake.input.get("downloads", [])],
            boundaries=read_layers(boundaries) if boundaries else None,
            threads=snakemake.threads,
            max_pixels=snakemake.params.max_pixels,
        )

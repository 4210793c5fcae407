"""Fetch administrative polygons, or find the user's own."""

from geoprobe.images.boundaries import fetch_boundaries
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        # how fast is no part of what: a new pace must not fetch anything anew, so it is no param
        network = snakemake.params.limits | snakemake.config["download"]["pace"]
        fetch_boundaries(snakemake.params.options, snakemake.output.manifest, network)

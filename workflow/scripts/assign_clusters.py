"""Cluster the images of one data set and name the clusters."""

from threadpoolctl import threadpool_limits

from geoprobe.clusters.assign import assign_images
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output), threadpool_limits(snakemake.threads):
        assign_images(
            snakemake.input.store,
            snakemake.wildcards.dataset,
            snakemake.params.options,
            dict(snakemake.output.items()),
            features=snakemake.input.get("features"),
            fitted=snakemake.input.get("fitted"),
            threads=snakemake.threads,
        )

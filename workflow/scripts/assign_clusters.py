"""Cluster the images of one data set and name the clusters."""

import os

# Weights are fetched by a rule of their own; the hub's libraries read these when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

from threadpoolctl import threadpool_limits

from geoprobe.clusters.assign import assign_images
from geoprobe.models.weights import folder_of
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output), threadpool_limits(snakemake.threads):
        manifest, rows = snakemake.input.get("weights"), snakemake.params.labeller
        assign_images(
            snakemake.input.store,
            snakemake.wildcards.dataset,
            snakemake.params.options,
            dict(snakemake.output.items()),
            features=snakemake.input.get("features"),
            fitted=snakemake.input.get("fitted"),
            labeller=folder_of(manifest) if manifest else rows[0]["id"] if rows else None,
            threads=snakemake.threads,
        )

"""Fetch the weights of a model."""

from geoprobe.models.fetch import fetch_weights
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        # how fast is no part of what: a new pace must not fetch anything anew, so it is no param
        network = snakemake.config["download"]["pace"]
        fetch_weights(snakemake.params.row, snakemake.output.manifest, network)

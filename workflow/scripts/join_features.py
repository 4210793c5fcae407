"""Join the shards of a feature store."""

from geoprobe.features.joining import join_shards
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        join_shards(snakemake.input.shards, snakemake.output.features)

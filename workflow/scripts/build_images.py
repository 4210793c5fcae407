"""Build the image store of one data set and the table of what was left out."""

from geoprobe.images.build import build_store
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0]):
        build_store(
            snakemake.output.store,
            snakemake.output.rejects,
            snakemake.wildcards.dataset,
            snakemake.params.options,
        )

"""Download the planned images of one shard."""

from pathlib import Path

import pandas as pd

from geoprobe.images.download import download_shard
from geoprobe.runtime import rule_log


def download(plan, shard, status, network):
    """Read the shard's rows of the plan, download them into the pack beside the status table."""
    rows = pd.read_parquet(plan, filters=[("shard", "==", shard)])
    folder = Path(status)
    download_shard(rows, folder.with_suffix(".pack"), status, network, folder.parent.parent / "pace")


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        # how fast is no part of what: a new pace must not fetch anything anew, so it is no param
        network = snakemake.params.limits | snakemake.config["download"]["pace"]
        download(snakemake.input.plan, int(snakemake.wildcards.shard), snakemake.output.status, network)

"""Write the file of one data set that the paper's scripts read."""

import pandas as pd

from geoprobe.images.store import export_store, read_positions
from geoprobe.probes.labels import join_on_ids
from geoprobe.runtime import rule_log


def export(store, clusters, path):
    """Read the cluster of each image, write images, positions and clusters under the paper's names."""
    _, ids = read_positions(store)
    assigned = join_on_ids(ids, pd.read_parquet(clusters), clusters)["cluster"].to_numpy()
    export_store(store, assigned, path)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        export(snakemake.input.store, snakemake.input.clusters, snakemake.output.export)

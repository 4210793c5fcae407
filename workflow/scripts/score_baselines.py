"""Score what needs no features on one data set."""

import pandas as pd

from geoprobe.images.store import read_columns, read_positions
from geoprobe.probes.baselines import score_baselines
from geoprobe.probes.labels import cluster_rows, join_on_ids
from geoprobe.runtime import rule_log, write_table


def score(store, clusters, folds, cvs, baselines):
    """Write a row for each baseline, cluster, cross-validation and fold."""
    positions, ids = read_positions(store)
    cells = read_columns(store)["geocells"]
    assigned = join_on_ids(ids, pd.read_parquet(clusters), clusters)["cluster"].to_numpy()
    table = join_on_ids(ids, pd.read_parquet(folds), folds)
    write_table(score_baselines(positions, cells, cluster_rows(assigned), table, cvs), baselines)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        score(**dict(snakemake.input.items()), cvs=snakemake.params.cvs, baselines=snakemake.output.baselines)

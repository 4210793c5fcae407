"""Assign the images of one data set to cross-validation folds."""

from geoprobe.images.store import read_columns, read_positions
from geoprobe.probes.folds import assign_folds
from geoprobe.runtime import rule_log, write_table


def assign(store, folds, count, block_degrees, buffer_km, seed):
    """Write id, fold under each cross-validation, what lies near a test fold, and block."""
    positions, ids = read_positions(store)
    columns = read_columns(store)
    table = assign_folds(ids, positions, columns["groups"], count, block_degrees, seed, buffer_km)
    table.attrs["images_digest"] = columns["digest"]
    write_table(table, folds)


if __name__ == "__main__":
    with rule_log(snakemake.log[0]):
        assign(snakemake.input.store, snakemake.output.folds, **snakemake.params.options)

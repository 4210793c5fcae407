"""Assign the images of one data set to cross-validation folds."""

from geoprobe.images.store import read_columns, read_positions
from geoprobe.probes.folds import assign_folds
from geoprobe.runtime import rule_log, write_table


def assign(store, folds, options):
    """Write id, fold under each cross-validation, what lies near a test fold, and the units held out as a whole."""
    positions, ids = read_positions(store)
    columns = read_columns(store)
    table = assign_folds(ids, positions, columns["geocells"], columns["groups"], columns["countries"], options)
    for cv, reason in table.attrs["impossible"].items():
        print(f"{cv}: cannot be had, as {reason}")
    if unplaced := int((table["country"] < 0).sum()):
        print(f"countries: leaves out {unplaced} images without a country")
    table.attrs["images_digest"] = columns["digest"]
    write_table(table, folds)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        assign(snakemake.input.store, snakemake.output.folds, snakemake.params.options)

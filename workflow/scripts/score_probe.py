"""Summarise one probe of one model: scores of all layers and of the chosen ones, with their resamples, and fairness."""

import h5py

from geoprobe.analysis.fairness import score_fairness
from geoprobe.analysis.summary import summarise_probe
from geoprobe.runtime import provenance, replacing, rule_log, write_table


def score(store, folds, probe, fits, poolings, depth, bootstrap, seed, shown, names, paths):
    """Read the probe table and the predictions, write the summaries.

    Args:
        store, folds, probe, fits: image store, folds, probe table, fits.
        poolings, depth: how layers are chosen.
        bootstrap, seed: resamples and their seed.
        shown: target and cvs of which errors by continent and density are scored, at the given depth.
        names: dataset, model, prompt, probe.
        paths: scores and choices (Parquet), samples (HDF5) and fairness (CSV) to write.
    """
    with replacing(paths["samples"]) as temporary:
        with h5py.File(temporary, "w") as file:
            scores, choices = summarise_probe(folds, probe, fits, poolings, depth, bootstrap, seed, file)
            file.attrs.update({**names, "bootstrap": bootstrap, "seed": seed, **provenance()})
        write_table(scores, paths["scores"])
        write_table(choices, paths["choices"])
    fair = score_fairness(
        fits,
        store,
        folds,
        shown["target"],
        shown["cvs"],
        poolings=poolings,
        layers=depth,
        resamples=bootstrap,
        seed=seed,
    )
    write_table(fair.assign(**names)[[*names, *fair.columns]], paths["fairness"])
    print(f"{probe}: {len(scores)} rows, {len(choices)} choices, {len(fair)} groups of images")


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        score(
            snakemake.input.store,
            snakemake.input.folds,
            snakemake.input.scores,
            snakemake.input.fits,
            snakemake.params.poolings,
            snakemake.params.depth,
            snakemake.params.bootstrap,
            snakemake.params.seed,
            snakemake.params.shown,
            dict(snakemake.wildcards.items()),
            dict(snakemake.output.items()),
        )

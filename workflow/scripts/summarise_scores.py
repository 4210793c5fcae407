"""Summarise the probes of all models: scores, families, differences."""

from pathlib import Path

import pandas as pd

from geoprobe.analysis.families import WHERE, headline_rows
from geoprobe.analysis.summary import compare_families, summarise_families, summarise_model
from geoprobe.runtime import rule_log, write_table


def summarise(probes, stores, folds, models, seeds, bootstrap, seed, shown, scores, families, differences):
    """Read probe tables and predictions, write the three summaries.

    Args:
        probes: pairs of probe table and fits; their paths end in {dataset}/{model}/{prompt}/{probe}.
        stores, folds: paths by data set.
        models: registry rows by model name.
        seeds: seed of the permuted labels by probe.
        bootstrap, seed: resamples and their seed.
        shown: prompts and poolings of headline_rows, of what is compared.
        scores, families, differences: CSV files to write.
    """
    frames, samples = [], {}
    for table, fits in probes:
        dataset, model, _, probe = Path(table).with_suffix("").parts[-4:]
        frame, drawn = summarise_model(stores[dataset], folds[dataset], table, fits, seeds[probe], bootstrap, seed)
        row = models[model]
        keys = {"model": model, "family": row["family"], "label": row["label"]}
        frames.append(frame.assign(**keys, supervision=row["supervision"]))
        samples |= {(model, *where): values for where, values in drawn.items()}
        print(f"{table}: {len(frame)} rows")
    frame = pd.concat(frames, ignore_index=True)
    front = ["model", "family", "label", "supervision", *WHERE]
    frame = frame[front + [name for name in frame if name not in front]]
    joined_frame, joined = summarise_families(frame, samples, seed)
    write_table(frame, scores)
    write_table(joined_frame, families)
    write_table(compare_families(headline_rows(joined_frame, **shown), joined), differences)


if __name__ == "__main__":
    with rule_log(snakemake.log[0]):
        names = snakemake.params.datasets
        summarise(
            list(zip(snakemake.input.scores, snakemake.input.fits, strict=True)),
            dict(zip(names, snakemake.input.stores, strict=True)),
            dict(zip(names, snakemake.input.folds, strict=True)),
            snakemake.params.models,
            snakemake.params.seeds,
            snakemake.params.bootstrap,
            snakemake.params.seed,
            snakemake.params.shown,
            **dict(snakemake.output.items()),
        )

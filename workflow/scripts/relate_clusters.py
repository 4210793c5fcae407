"""Relate the clusters of one model's probe: transfer from each to each, and correlation of their coefficients."""

from threadpoolctl import threadpool_limits

from geoprobe.analysis.correlation import relate_coefficients
from geoprobe.analysis.transfer import transfer
from geoprobe.runtime import rule_log, write_table


def relate(fits, features, store, folds, names, target, cvs, poolings, layers, shares, bootstrap, seed, outputs):
    """Write the transfer table, and the pairs and the summary of the correlations.

    Args:
        fits, features, store, folds: paths.
        names: dataset, model, prompt, probe; the first columns of each table.
        target, cvs, poolings, layers, shares: see :func:`transfer` and :func:`relate_coefficients`.
        bootstrap, seed: resamples and their seed.
        outputs: paths by name: transfer, correlations, summary.
    """
    shown = {"cvs": cvs, "poolings": poolings, "layers": layers, "resamples": bootstrap, "seed": seed}
    frames = {"transfer": transfer(fits, features, store, folds, target, **shown)}
    frames["correlations"], frames["summary"] = relate_coefficients(fits, shares=shares, **shown)
    for name, frame in frames.items():
        write_table(frame.assign(**names)[[*names, *frame.columns]], outputs[name])
        print(f"{name}: {len(frame)} rows")


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output), threadpool_limits(snakemake.threads):
        relate(
            snakemake.input.fits,
            snakemake.input.features,
            snakemake.input.store,
            snakemake.input.folds,
            dict(snakemake.wildcards.items()),
            snakemake.params.target,
            snakemake.params.cvs,
            snakemake.params.poolings,
            snakemake.params.layers,
            snakemake.params.shares,
            snakemake.params.bootstrap,
            snakemake.params.seed,
            dict(snakemake.output.items()),
        )

"""Probe shares of the dimensions of one model's layers."""

from threadpoolctl import threadpool_limits

from geoprobe.analysis.dimensions import ablate_dimensions
from geoprobe.runtime import rule_log, write_table

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output), threadpool_limits(snakemake.threads):
        names = dict(snakemake.wildcards.items())
        frame = ablate_dimensions(
            snakemake.input.fits,
            snakemake.input.features,
            snakemake.input.store,
            snakemake.input.folds,
            snakemake.params.cvs,
            snakemake.params.poolings,
            snakemake.params.layers,
            snakemake.params.options,
            snakemake.params.bootstrap,
            snakemake.params.seed,
        )
        write_table(frame.assign(**names)[[*names, *frame.columns]], snakemake.output.dimensions)
        print(f"{len(frame)} rows")

"""Steer one model along the directions of its probes, and read positions off the later blocks."""

import os

# Weights are fetched by a rule of their own; the hub's libraries read these when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import torch
from threadpoolctl import threadpool_limits

from geoprobe.features.decoding import share_threads
from geoprobe.interventions.pushing import push_positions
from geoprobe.models.weights import folder_of
from geoprobe.runtime import rule_log, write_table

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output), threadpool_limits(snakemake.threads):
        threads, workers = share_threads(snakemake.threads, snakemake.params.device)
        torch.set_num_threads(threads)
        manifest, output = snakemake.input.get("weights"), snakemake.output.pushes
        names = dict(snakemake.wildcards.items())
        frame = push_positions(
            snakemake.input.store,
            snakemake.params.row | {"model": names["model"]},
            snakemake.input.fits,
            snakemake.input.folds,
            f"{output}.work",
            folder=folder_of(manifest) if manifest else None,
            prompt=snakemake.params.prompt,
            protocol=snakemake.params.protocol,
            cv=snakemake.params.cv,
            poolings=snakemake.params.poolings,
            options=snakemake.params.options,
            device=snakemake.params.device,
            workers=workers,
            resamples=snakemake.params.bootstrap,
            seed=snakemake.params.seed,
            code=snakemake.params.code,
        )
        write_table(frame.assign(**names)[[*names, *frame.columns]], output)
        print(f"{output}: {len(frame)} rows")

"""Fine-tune one model to tell the countries of a data set's images."""

import os

# Weights are fetched by a rule of their own; the hub's libraries read these when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import torch

from geoprobe.features.decoding import share_threads
from geoprobe.finetune.grid import finetune_model
from geoprobe.models.weights import folder_of
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        threads, workers = share_threads(snakemake.threads, snakemake.params.device)
        torch.set_num_threads(threads)
        manifest = snakemake.input.get("weights")
        names = dict(snakemake.wildcards.items())
        finetune_model(
            snakemake.input.store,
            snakemake.input.split,
            snakemake.params.row | {"model": names["model"]},
            snakemake.output.results,
            snakemake.output.predictions,
            folder=folder_of(manifest) if manifest else None,
            protocol=snakemake.params.protocol,
            options=snakemake.params.options,
            resamples=snakemake.params.bootstrap,
            seed=snakemake.params.seed,
            names=names,
            workers=workers,
            # the model, its gradients and the optimiser's moments need the rest
            budget=snakemake.resources.mem_mb * 10**6 // 4,
            device=snakemake.params.device,
            code=snakemake.params.code,
        )

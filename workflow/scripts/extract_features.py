"""Extract the features of one shard of a data set with one model."""

import os

# Weights are fetched by a rule of their own; the hub's libraries read these when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import torch

from geoprobe.features.decoding import share_threads
from geoprobe.features.engine import extract_features
from geoprobe.models.weights import folder_of
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        threads, workers = share_threads(snakemake.threads, snakemake.params.device)
        torch.set_num_threads(threads)
        manifest = snakemake.input.get("weights")
        extract_features(
            snakemake.input.store,
            snakemake.params.row | {"model": snakemake.wildcards.model},
            snakemake.output.features,
            folder=folder_of(manifest) if manifest else None,
            prompt_name=snakemake.wildcards.prompt,
            prompt=snakemake.params.prompt,
            protocol=snakemake.params.protocol,
            workers=workers,
            shard=int(snakemake.wildcards.shard),
            device=snakemake.params.device,
            code=snakemake.params.code,
            **snakemake.params.options,
        )

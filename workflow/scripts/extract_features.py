"""Extract the features of one data set with one model."""

import torch

from geoprobe.features import extract_features
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0]):
        torch.set_num_threads(snakemake.threads)
        extract_features(
            snakemake.input.store,
            snakemake.params.row | {"model": snakemake.wildcards.model},
            snakemake.wildcards.prompt,
            snakemake.output.features,
            **snakemake.params.options,
            device=snakemake.params.device,
        )

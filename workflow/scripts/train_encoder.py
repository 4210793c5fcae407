"""Train one controlled encoder on the pretraining images."""

from pathlib import Path

import torch

from geoprobe.encoders.training import train_encoder
from geoprobe.images.store import read_columns, read_pixels
from geoprobe.runtime import rule_log


def train(store, folder, objective, architecture, training, seed, device, threads, code):
    """Read images and captions, train, write weights, configuration and history into the folder."""
    torch.set_num_threads(threads)
    columns = read_columns(store)
    pixels = torch.from_numpy(read_pixels(store, architecture["image_size"])).permute(0, 3, 1, 2).contiguous()
    captions = None
    if "captions" in objective:
        captions = columns["captions"][objective["captions"]].tolist()
    train_encoder(
        folder,
        pixels,
        captions,
        objective,
        architecture,
        training,
        seed,
        device,
        origin=columns["digest"],
        code=code,
    )


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        train(
            snakemake.input.store,
            Path(snakemake.output.weights).parent,
            snakemake.params.objective,
            snakemake.params.architecture,
            snakemake.params.training,
            int(snakemake.wildcards.seed),
            snakemake.params.device,
            snakemake.threads,
            snakemake.params.code,
        )

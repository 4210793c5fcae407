"""Loader `local`: an encoder of the controlled experiment, from its folder."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from geoprobe.encoders.architecture import MEAN, STD, load_encoder, normalise
from geoprobe.models.loading import LoadedModel, Tower
from geoprobe.models.towers import find_blocks


def load(row):
    """Load the encoder in the folder that the row's id names, relative to the working folder."""
    folder = Path(row["id"])
    encoder, config = load_encoder(folder)
    size = config["architecture"]["image_size"]

    def preprocess(image):
        if image.size != (size, size):
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return normalise(pixels[None])[0]

    path, blocks = find_blocks(encoder, config["architecture"]["depth"])
    return LoadedModel(
        module=encoder,
        preprocess=preprocess,
        towers={"vision": Tower(blocks, path, encoder.num_prefix_tokens, encoder.embed_dim)},
        attributes={
            "class": f"{type(encoder).__module__}.{type(encoder).__name__}",
            "preprocessing": f"central square, {size} pixels, bicubic, PIL; mean {MEAN}, std {STD}",
        },
        digest=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    )

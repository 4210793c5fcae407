"""An encoder of the controlled experiment, from its folder."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from geoprobe.encoders.architecture import MEAN, STD, build_encoder, load_encoder, normalise
from geoprobe.models.loaders.patches import patch_tower, patches_of, refuse_placement
from geoprobe.models.loading import LoadedModel
from geoprobe.models.registry import seed_of
from geoprobe.models.towers import find_blocks
from geoprobe.models.untrained import digest_model, draw
from geoprobe.models.weights import is_random


class CentralSquare:
    """An image's central square, scaled to the encoder's size and normalised."""

    def __init__(self, size):
        self.size = (size, size)

    def __call__(self, image, image_id):
        """{"pixel_values": float32, shape (3, size, size)} of an RGB image."""
        if image.size != self.size:
            image = ImageOps.fit(image, self.size, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return {"pixel_values": normalise(pixels[None])[0]}


def read_config(folder):
    """What :func:`geoprobe.encoders.architecture.save_encoder` wrote beside the weights.

    Raises:
        FileNotFoundError: the folder lacks config.json.
    """
    path = Path(folder, "config.json")
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no config.json. Is this the folder of a trained encoder?")
    return json.loads(path.read_text())


def build(row, folder):
    """The encoder of a folder as it was before any training with the row's seed."""
    return build_encoder(**read_config(folder)["architecture"], seed=seed_of(row))


def load(row, folder, prompt=None, protocol="sound", placement=None):
    """Load the encoder that :func:`geoprobe.encoders.architecture.save_encoder` wrote into a folder.

    Raises:
        FileNotFoundError: the folder lacks config.json or model.safetensors.
        ValueError: a placement is asked for.
    """
    refuse_placement(row, placement)
    folder = Path(folder)
    if is_random(row):
        encoder, config = draw(row, folder, lambda: build(row, folder)), read_config(folder)
    else:
        encoder, config = load_encoder(folder)
    dtype = getattr(torch, row["dtype"])
    encoder.to(dtype)
    size = config["architecture"]["image_size"]
    path, blocks = find_blocks(encoder, config["architecture"]["depth"])
    tower = patch_tower(
        encoder,
        path,
        blocks,
        width=encoder.embed_dim,
        prefix=encoder.num_prefix_tokens,
        has_class=encoder.has_class_token,
        patches=patches_of(encoder.patch_embed.proj),
        protocol=protocol,
    )
    return LoadedModel(
        module=encoder,
        prepare=CentralSquare(size),
        forward=lambda batch: encoder(batch["pixel_values"].to(dtype)),
        towers={"vision": tower},
        attributes={
            "class": f"{type(encoder).__module__}.{type(encoder).__name__}",
            "preprocessing": f"central square, {size} pixels, bicubic, PIL; mean {MEAN}, std {STD}",
        },
        digest=digest_model(row, folder, "timm"),
    )

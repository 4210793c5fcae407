"""Loader `histogram`: the colours of an image and nothing else, the baseline that any model should beat."""

import hashlib

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from geoprobe.models.loaders.patches import refuse_placement
from geoprobe.models.loading import LoadedModel, Tower
from geoprobe.models.pooling import TokenMap

SIZE, BINS = 64, 4  # side of the image in pixels; bins a channel, which divide 256
WIDTH = BINS**3
ABOUT = (
    f"square roots of the shares of pixels in {BINS} x {BINS} x {BINS} bins of red, green and blue; central square, "
    f"{SIZE} pixels, bicubic, PIL"
)


class SquarePixels:
    """An image's central square, scaled as encoders see it, its colours as they are."""

    def __call__(self, image, image_id):
        """{"pixel_values": uint8, shape (3, SIZE, SIZE)} of an RGB image."""
        if image.size != (SIZE, SIZE):
            image = ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BICUBIC)
        return {"pixel_values": torch.from_numpy(np.array(image)).permute(2, 0, 1)}


class ColourHistogram(nn.Module):
    """The joint histogram of the three channels, its shares under the square root.

    The Euclidean distance of two such vectors is sqrt(2) times the Hellinger distance of the histograms, and each has
    the length 1, so a few common colours do not outweigh the rest (Vedaldi and Zisserman, 2012, "Efficient additive
    kernels via explicit feature maps").
    """

    def forward(self, pixels):
        """float32 (n, 1, WIDTH) of uint8 images (n, 3, height, width); blue changes fastest, then green."""
        red, green, blue = (pixels.flatten(2).long() * BINS // 256).unbind(dim=1)
        bins = (red * BINS + green) * BINS + blue
        counts = torch.zeros(len(pixels), WIDTH, device=pixels.device)
        counts.scatter_add_(1, bins, torch.ones_like(bins, dtype=counts.dtype))
        return (counts / bins.shape[1]).sqrt()[:, None]


def build(row, folder):
    """A module with the histogram for its only block; neither row nor folder is used."""
    return nn.Sequential(ColourHistogram())


def load(row, folder, prompt=None, protocol="sound", placement=None):
    """Load the baseline.

    Args:
        row: of the registry, for messages.
        folder, prompt, protocol: not used: there are no files, no text passes, and no token is in doubt.
        placement: must be empty.

    Returns:
        A LoadedModel with one tower of one block, whose stream is one token an image.

    Raises:
        ValueError: a placement is asked for.
    """
    refuse_placement(row, placement)
    module = build(row, folder)
    tower = Tower(
        blocks=module,
        path="",
        width=WIDTH,
        poolings=("mean",),
        tokens=lambda batch, stream: TokenMap(),
        note="one token, the histogram",
    )
    return LoadedModel(
        module=module,
        prepare=SquarePixels(),
        forward=lambda batch: module(batch["pixel_values"]),
        towers={"vision": tower},
        attributes={"class": f"{__name__}.{ColourHistogram.__name__}", "preprocessing": ABOUT},
        digest=hashlib.sha256(ABOUT.encode()).hexdigest(),
    )

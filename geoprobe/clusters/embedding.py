"""What images are clustered by: colour and texture statistics by a fixed formula, or one layer of a model.

The statistics are the default because they are neutral: no model under test takes part, and nothing in them was
trained. A cluster drawn by one of the models favours that model's view of what is alike.
"""

import hashlib
import json

import h5py
import numpy as np
from tqdm import tqdm

from geoprobe.features.store import list_layers, read_features
from geoprobe.images.store import read_squares

STATISTICS = "statistics"
COLOUR_BINS = 4  # a channel: 64 joint bins
TEXTURE_BINS = 8
SCALES = (1, 2, 4)  # pixels between the neighbours whose difference is texture
EMBEDDED_PIXELS = 32  # enough for colour and texture statistics, whatever the images' own size
BATCH = 1024  # images whose pixels are in memory at once


def embed_pixels(pixels):
    """Colour and texture statistics of images.

    Args:
        pixels: uint8 red, green, blue, shape (n, size, size, 3).

    Returns:
        float64, shape (n, 64 + 24): square roots of the shares of pixels in each joint colour bin, and of the
        shares of steps of grey in each logarithmic bin at distances of 1, 2 and 4 pixels. The square root makes
        Euclidean distance the Hellinger distance between histograms.
    """
    n = len(pixels)
    bins = pixels.astype(np.int64) * COLOUR_BINS // 256
    joint = (bins[..., 0] * COLOUR_BINS + bins[..., 1]) * COLOUR_BINS + bins[..., 2]
    parts = [_histograms(joint.reshape(n, -1), COLOUR_BINS**3)]
    grey = pixels.mean(axis=3)
    for scale in SCALES:
        steps = np.concatenate(
            [
                np.abs(grey[:, scale:] - grey[:, :-scale]).reshape(n, -1),
                np.abs(grey[:, :, scale:] - grey[:, :, :-scale]).reshape(n, -1),
            ],
            axis=1,
        )
        level = np.minimum(np.log2(1 + steps).astype(np.int64), TEXTURE_BINS - 1)
        parts.append(_histograms(level, TEXTURE_BINS))
    return np.sqrt(np.concatenate(parts, axis=1))


def _histograms(values, bins):
    """Shares of each of `bins` values in each row of values, shape (n, bins)."""
    n, width = values.shape
    flat = (values + np.arange(n)[:, None] * bins).ravel()
    return np.bincount(flat, minlength=n * bins).reshape(n, bins) / width


def embed_images(store, count):
    """Colour and texture statistics of the `count` images of a store, float64, shape (count, 88)."""
    squares = read_squares(store, range(count), EMBEDDED_PIXELS)
    parts = []
    with tqdm(total=count, unit="image", desc="embed", mininterval=5) as progress:
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            parts.append(embed_pixels(np.stack([next(squares) for _ in range(size)])))
            progress.update(size)
    return np.concatenate(parts)


def read_embedding(store, ids, embedding, features=None):
    """The embedding of the images of a store.

    Args:
        store: image store.
        ids: its ids, shape (n,).
        embedding: "statistics", or a dict with model, tower, pooling and layer ("last" or a block's number).
        features: feature store of that model; not read for the statistics.

    Returns:
        float64 or float32, shape (n, d), and what it is: a dict of plain values, the same for two data sets
        exactly if their embeddings can be compared.

    Raises:
        ValueError: the feature store lacks the tower, pooling or layer, or is of other images.
    """
    if embedding == STATISTICS:
        return embed_images(store, len(ids)), {"by": STATISTICS, "pixels": EMBEDDED_PIXELS}
    tower, pooling, layer = embedding["tower"], embedding["pooling"], embedding["layer"]
    there = list_layers(features)
    layers = [number for *where, number in there if where == [tower, pooling]]
    if not layers or (layer != "last" and layer not in layers):
        known = ", ".join(sorted({f"{a}/{b} {number}" for a, b, number in there}))
        raise ValueError(
            f"clusters.embedding asks for tower {tower}, pooling {pooling}, layer {layer}; {features} has {known}. "
            "Choose one of these."
        )
    layer = max(layers) if layer == "last" else layer
    with h5py.File(features, "r") as file:
        weights = str(file.attrs["weights_digest"])
    kind = {"by": "model", "model": embedding["model"], "tower": tower, "pooling": pooling, "layer": layer}
    return read_features(features, ids, tower, pooling, layer), kind | {"weights_digest": weights}


def digest_embedding(ids, values):
    """SHA-256 of an embedding: its ids, its width, and its values as little-endian float32, row by row."""
    digest = hashlib.sha256(json.dumps([list(ids), values.shape[1]]).encode())
    digest.update(np.ascontiguousarray(values, dtype="<f4"))
    return digest.hexdigest()

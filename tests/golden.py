"""Golden checks of a loaded model against an independent forward pass of the same weights."""

import pickle

import numpy as np
import torch
from PIL import Image
from torch import nn

from geoprobe.models.pooling import gather_tokens, pool_tokens
from geoprobe.models.towers import reading_blocks

torch.set_num_threads(1)


def randomise(model, seed=0):
    """Draw every parameter from a normal distribution: zeros and ones of a fresh model would hide a misplaced token."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def photos(n=3, size=(50, 41)):
    """Pictures of smooth noise, each another, none square."""
    random = np.random.default_rng(0)
    small = [random.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(n)]
    return [Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC) for pixels in small]


def batch_of(model, images, ids=None):
    """The batch of some images as worker processes make it: with copies of `prepare` and `collate`."""
    prepare, collate = pickle.loads(pickle.dumps((model.prepare, model.collate)))
    ids = ids or [f"image-{number}" for number in range(len(images))]
    return collate([prepare(image, name) for image, name in zip(images, ids, strict=True)])


def read(model, batch, tower="vision"):
    """What passes a tower: streams, a row a block, and the tower's poolings of each, by name."""
    tower = model.towers[tower]
    streams, pooled = {}, {}

    def keep(layer, stream):
        tokens = tower.tokens(batch, stream)
        streams[layer] = gather_tokens(stream, tokens)
        values = gather_tokens(stream, tokens)
        pooled[layer] = {name: pool_tokens(values, tokens, name) for name in tower.poolings}

    with torch.inference_mode(), reading_blocks(tower.blocks, range(len(tower.blocks)), keep):
        model.forward(batch)
    layers = range(len(tower.blocks))
    return [streams[layer] for layer in layers], {
        name: torch.stack([pooled[layer][name] for layer in layers]) for name in tower.poolings
    }


def expected_pooling(streams, prefix, has_class, real=None):
    """The poolings of a tower by a loop over images, from the streams of an independent forward pass.

    Args:
        streams: one a block, shape (n, tokens, width).
        prefix: number of tokens before the patches.
        has_class: the first of them is a class token.
        real: number of patches of each image that are no padding; None where all are.
    """
    rows = {}
    for stream in streams:
        made = {}
        for number, tokens in enumerate(stream):
            every = tokens if real is None else tokens[: prefix + real[number]]
            own = every[prefix:]
            one = {
                "mean": own.sum(0) / len(own),
                "maxmin": torch.cat([own.max(0).values, own.min(0).values]),
                "mean-all": every.sum(0) / len(every),
                "maxmin-all": torch.cat([every.max(0).values, every.min(0).values]),
            }
            if has_class:
                one["cls"] = tokens[0]
            for name, value in one.items():
                made.setdefault(name, []).append(value)
        for name, values in made.items():
            rows.setdefault(name, []).append(torch.stack(values))
    return {name: torch.stack(values) for name, values in rows.items()}


def assert_close(given, expected, tolerance=1e-4):
    """Equal within a share of the largest value."""
    torch.testing.assert_close(given, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def check_golden(model, images, expected, prefix, has_class, real=None):
    """Check every layer and pooling of a vision tower.

    Args:
        model: as loaded.
        images: PIL images.
        expected: streams of an independent forward pass of the same images, one a block.
        prefix, has_class, real: see :func:`expected_pooling`.
    """
    batch = batch_of(model, images)
    streams, pooled = read(model, batch)
    assert len(streams) == len(expected)
    assert len(images) != expected[0].shape[1], "a batch as long as its sequence would hide swapped axes"
    for stream, given in zip(streams, expected, strict=True):
        assert stream.shape == given.shape
        assert_close(stream, given)
    independent = expected_pooling(expected, prefix, has_class, real)
    assert pooled.keys() == independent.keys()
    for name, values in pooled.items():
        assert values.dtype == torch.float32
        assert_close(values, independent[name])
        # images differ, or the checks below say nothing
        assert (values[:, 0] - values[:, 1]).abs().amax() > 1e-2
    for number, image in enumerate(images):
        _, alone = read(model, batch_of(model, [image], [f"image-{number}"]))
        for name, values in alone.items():
            assert_close(values[:, 0], pooled[name][:, number])
    order = [2, 0, 1]
    _, shuffled = read(model, batch_of(model, [images[k] for k in order], [f"image-{k}" for k in order]))
    for name, values in shuffled.items():
        assert_close(values, pooled[name][:, order])

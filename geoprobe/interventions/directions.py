"""Additive steering: the smallest step in the residual stream that moves a probe's prediction by given kilometres.

A probe of ridge regression reads latitude and longitude off the stream of a block by W, shape (d, 2). Of all vectors
that change what it reads by delta degrees, the shortest is v = W (W'W)^-1 delta. Kilometres to the east are measured
along the parallel of an image's true latitude, or along that of 80 degrees where it lies nearer to a pole, so that a
step has a bounded number of degrees there.
"""

import contextlib

import numpy as np
import pandas as pd
import torch

from geoprobe.analysis.bootstrap import interval, resample_members, unit_sums
from geoprobe.analysis.layers import find_fit, fold_coefficients, shared_weights
from geoprobe.geodesy import EARTH_RADIUS_KM
from geoprobe.models.pooling import pool_tokens
from geoprobe.probes.labels import ALL
from geoprobe.probes.metrics import r2

DIRECTIONS = ("north", "east")
SUMMARIES = ("cls", "last")  # poolings that take one token of the stream, to which something can be added
DEGREE_KM = EARTH_RADIUS_KM * np.pi / 180  # of latitude, or of longitude on the equator
POLAR = 80  # latitude beyond which a degree of longitude counts as long as there
COLUMNS = [
    *("tower", "pooling", "block", "readout", "cv", "kind", "seed", "direction", "km", "images"),
    *("moved_north_km", "moved_east_km", "low", "high", "rms_km", "share_moved", "relative_norm"),
    *("r2_before", "r2_after", "r2_realigned", "reason"),
]


def degree_lengths(latitudes):
    """Kilometres in a degree of latitude and in one of longitude.

    Args:
        latitudes: degrees, shape (n,).

    Returns:
        shape (n, 2); that of longitude is never below its length at a latitude of 80 degrees.
    """
    parallel = np.maximum(np.cos(np.radians(latitudes)), np.cos(np.radians(POLAR)))
    return DEGREE_KM * np.stack([np.ones_like(parallel), parallel], axis=1)


def displacements(direction, km, latitudes):
    """Degrees of latitude and longitude that a probe's prediction is to move by.

    Args:
        direction: north, or east.
        km: how far; negative to the south or west.
        latitudes: true latitudes of the images in degrees, shape (n,).

    Returns:
        shape (n, 2), the other axis 0.
    """
    degrees = np.zeros((len(latitudes), 2))
    axis = DIRECTIONS.index(direction)
    degrees[:, axis] = km / degree_lengths(latitudes)[:, axis]
    return degrees


def shortest_steps(coefficients, name):
    """Of all vectors that move a linear probe by one degree of one axis and none of the other, the shortest.

    Args:
        coefficients: W of the probe, shape (d, 2).
        name: of the probe, for the message.

    Returns:
        W (W'W)^-1, shape (d, 2): its product with a displacement in degrees is the step.

    Raises:
        ValueError: the probe cannot be moved along one axis without the other.
    """
    if np.linalg.matrix_rank(coefficients) < 2:
        raise ValueError(
            f"{name}: the coefficients of latitude and longitude are zero or parallel, so that no step moves one "
            "without the other; leave this block out of the blocks that are steered."
        )
    return np.linalg.pinv(coefficients.T)


def random_direction(width, seed, block):
    """A unit vector uniform on the sphere, shape (width,), the same for all images; one a seed and block."""
    drawn = np.random.default_rng([seed, block]).standard_normal(width)
    return drawn / np.linalg.norm(drawn)


def read_probes(fits, tower, pooling, layers, cv):
    """Coefficients of the probes of several layers, by fold.

    Args:
        fits: open file of fits of a ridge regression on degrees.
        tower, pooling, layers: of the probes.
        cv: cross-validation.

    Returns:
        Fold numbers that all layers were fitted in, shape (F,), coefficients, shape (layers, F, d, 2), and
        intercepts, shape (layers, F, 2). No folds where the data set cannot have this cross-validation.

    Raises:
        ValueError: the probe is no ridge regression or lacks the target degrees.
    """
    found = []
    for layer in layers:
        fit = find_fit(fits, (tower, pooling, layer), ALL, "degrees", cv)
        found.append({} if fit is None else fold_coefficients(fit, fits.filename))
    folds = sorted(set.intersection(*map(set, found)))
    if not folds:
        return np.empty(0, dtype=int), None, None
    return np.array(folds), *(
        np.stack([np.stack([by_fold[fold][part] for fold in folds]) for by_fold in found]) for part in (0, 1)
    )


def summary_columns(tokens, pooling, shape):
    """Column of the token that a pooling takes of each image.

    Args:
        tokens: a :class:`geoprobe.models.pooling.TokenMap`.
        pooling: cls or last.
        shape: images and columns of the tokens that :func:`geoprobe.models.pooling.gather_tokens` gives.

    Returns:
        int64 tensor, shape (n,).
    """
    count, length = shape
    device = next((part.device for part in vars(tokens).values() if isinstance(part, torch.Tensor)), None)
    # pooled itself, so that it is the very token that is read, whatever the rule
    numbers = torch.arange(length, device=device, dtype=torch.float32).expand(count, length)
    return pool_tokens(numbers[..., None], tokens, pooling)[:, 0].long()


@contextlib.contextmanager
def adding(tower, block, pooling, batch, vectors):
    """Add a vector to one token of each image in what a block returns, while a forward pass runs.

    Hooks that are registered on the block after this see the changed stream, as all later blocks do.

    Args:
        tower: a :class:`geoprobe.models.loading.Tower`.
        block: number of the block.
        pooling: cls or last: the token.
        batch: on the device.
        vectors: float32 tensor, shape (n, width).
    """

    def hook(_module, _args, output):
        stream = output[0] if isinstance(output, tuple) else output
        tokens = tower.tokens(batch, stream).to(stream.device)
        added = vectors.to(stream.device)
        shape = stream.shape[:2] if tokens.index is None else tokens.index.shape
        columns = summary_columns(tokens, pooling, shape).to(stream.device)
        images = torch.arange(len(added), device=stream.device)
        rows = images * shape[1] + columns if tokens.index is None else tokens.index[images, columns]
        places = torch.unravel_index(rows, stream.shape[:-1])
        changed = stream.clone()
        changed[places] = (stream[places] + added).to(stream.dtype)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = tower.blocks[block].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def keeping(tower, block, kept):
    """Append what a block returns to a list, while a forward pass runs."""
    handle = tower.blocks[block].register_forward_hook(lambda _module, _args, output: kept.append(output))
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def starting_after(tower, block, output):
    """Let a forward pass begin with what a block returned for the same batch; the blocks up to it compute nothing.

    Their hooks are called all the same. Only for towers whose blocks hand nothing but the stream to later ones.

    Args:
        tower: a Tower.
        block: number of the block.
        output: of :func:`keeping`.
    """

    def known(*_args, **_options):
        # a copy, as a model may go on to write into it
        return (output[0].clone(), *output[1:]) if isinstance(output, tuple) else output.clone()

    blocks = [tower.blocks[number] for number in range(block + 1)]
    own = [vars(module).get("forward") for module in blocks]
    for module in blocks:
        module.forward = known
    try:
        yield
    finally:
        for module, before in zip(blocks, own, strict=True):
            del module.forward
            if before is not None:
                module.forward = before


def summarise_steps(keys, readouts, variants, moved, norms, plain, positions, units, resamples, seed):
    """Table of what the read-outs of one steered block say.

    Args:
        keys: columns that all rows share: tower, pooling, block, cv.
        readouts: numbers of the blocks that were read.
        variants: list of (kind, seed or None, direction, km).
        moved: degrees by which each read-out's prediction moved, shape (variants, readouts, n, 2).
        norms: length of each step over that of the token it was added to, shape (variants, n).
        plain: predictions without a step, degrees, shape (readouts, n, 2).
        positions: true positions in degrees, shape (n, 2).
        units: block or country of each image, shape (n,).
        resamples, seed: of the bootstrap.

    Returns:
        A frame with the columns COLUMNS. Rows of kind random without a seed are the means of the seeds, with
        intervals over units and seeds.
    """
    numbers, index = np.unique(units, return_inverse=True)
    weights = shared_weights(len(numbers), resamples, seed)
    sizes = weights @ np.bincount(index).astype(float)
    lengths = degree_lengths(positions[:, 0])
    before = [float(r2(positions, predicted).mean()) for predicted in plain]
    rows, together = [], {}
    for number, (kind, drawn, direction, km) in enumerate(variants):
        shifts = moved[number].astype(np.float64)
        axis = DIRECTIONS.index(direction)
        along = (shifts * lengths)[..., axis].T
        samples = (weights @ unit_sums(along, index, len(numbers)) / sizes[:, None]).T
        for at, readout in enumerate(readouts):
            mean = (shifts[at] * lengths).mean(axis=0)
            steered = plain[at] + shifts[at]
            low, high = interval(samples[at])
            row = {
                **{**keys, "readout": readout, "kind": kind, "seed": drawn, "direction": direction, "km": km},
                **{"images": len(positions), "moved_north_km": mean[0], "moved_east_km": mean[1]},
                **{"low": low, "high": high, "rms_km": float(np.sqrt(np.mean(along[:, at] ** 2)))},
                "relative_norm": float(np.median(norms[number])),
                "r2_before": before[at],
                "r2_after": float(r2(positions, steered).mean()),
                "r2_realigned": float(r2(positions, steered - shifts[at].mean(axis=0)).mean()),
            }
            rows.append(row)
            if kind == "random":
                together.setdefault((direction, km, readout), []).append((row, samples[at]))
    averaged = ("moved_north_km", "moved_east_km", "relative_norm", "r2_before", "r2_after", "r2_realigned")
    for members in together.values():
        low, high = interval(resample_members([samples for _, samples in members], seed))
        means = {name: float(np.mean([row[name] for row, _ in members])) for name in averaged}
        means["rms_km"] = float(np.sqrt(np.mean([row["rms_km"] ** 2 for row, _ in members])))
        rows.append({**members[0][0], "seed": None, **means, "low": low, "high": high})
    frame = pd.DataFrame(rows).assign(reason="")
    frame["seed"] = frame["seed"].astype("Int64")
    towards = np.where(frame["direction"] == "north", frame["moved_north_km"], frame["moved_east_km"])
    frame["share_moved"] = towards / frame["km"].where(frame["km"] != 0)
    return frame[COLUMNS]

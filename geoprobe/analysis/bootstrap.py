"""Intervals for R2 from geographic blocks: images near each other are not independent, blocks nearly are."""

import numpy as np


def draw_weights(blocks, resamples, seed):
    """How often each block is drawn in each resample.

    Args:
        blocks: number of blocks.
        resamples: number of resamples.
        seed: of the draw; models that share it are compared on the same resamples.

    Returns:
        float64 counts, shape (resamples, blocks), each row summing to `blocks`.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples).astype(np.float64)


def block_sums(truth, predicted, blocks, count):
    """What R2 needs of each block: images, sums and squares of the truth, squared errors.

    Args:
        truth, predicted: shape (n, k).
        blocks: block of each row as a number below `count`, shape (n,).
        count: number of blocks.

    Returns:
        shape (4, count, k).
    """
    centred = truth - truth.mean(axis=0)
    parts = (np.ones_like(truth), centred, centred**2, (truth - predicted) ** 2)
    return np.stack(
        [
            np.stack(
                [np.bincount(blocks, weights=part[:, column], minlength=count) for column in range(truth.shape[1])], 1
            )
            for part in parts
        ]
    )


def r2_of_sums(sums, weights):
    """R2 of each column in each resample of blocks.

    Args:
        sums: shape (4, blocks, k), of :func:`block_sums`.
        weights: shape (resamples, blocks).

    Returns:
        shape (resamples, k); not a number where a resample has no variance.
    """
    n, first, second, error = (weights @ part for part in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = second - first**2 / n
        return np.where(total > 0, 1 - error / total, np.nan)


def interval(samples, level=0.95):
    """Percentile interval of samples, leaving out what is not a number; (nan, nan) where all are."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return float("nan"), float("nan")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

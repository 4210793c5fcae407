"""Intervals for R2 from geographic units: images near each other are not independent, blocks nearly are.

A unit is a geographic block, or a country where those are held out (:func:`geoprobe.probes.folds.unit_of`).
Everything that is compared is resampled by the same draws.
"""

import numpy as np
from scipy.special import ndtr

# Below this share of the squares about the common mean, what a resample varies by is rounding.
ROUNDING = 1e-12


def draw_weights(units, resamples, seed):
    """How often each unit is drawn in each resample.

    Args:
        units: number of units.
        resamples: number of resamples.
        seed: of the draw; models that share it are compared on the same resamples.

    Returns:
        float64 counts, shape (resamples, units), each row summing to `units`.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)


def unit_sums(values, units, count):
    """Sum of each column over the images of each unit.

    Args:
        values: shape (n, k).
        units: unit of each row as a number below `count`, shape (n,).
        count: number of units.

    Returns:
        shape (count, k).
    """
    columns = [np.bincount(units, weights=column, minlength=count) for column in values.T]
    return np.stack(columns, axis=1)


def resampled_squares(truth, units, weights):
    """Sum of squares of the truth about its mean, in each resample: what R2 divides by.

    Args:
        truth: shape (n, k).
        units: unit of each row, shape (n,).
        weights: shape (resamples, units).

    Returns:
        shape (resamples, k); not a number where the images of a resample do not differ.
    """
    centred = truth - truth.mean(axis=0)
    parts = np.concatenate([np.ones((len(truth), 1)), centred, centred**2], axis=1)
    n, first, second = np.split(
        weights @ unit_sums(parts, units, weights.shape[1]), [1, 1 + truth.shape[1]], axis=1
    )  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        total = second - first**2 / n
        return np.where(total > ROUNDING * second, total, np.nan)


def resampled_r2(squares, errors, weights):
    """R2 in each resample of many predictions of one truth, in one product.

    Args:
        squares: shape (resamples, k), of :func:`resampled_squares`.
        errors: squared errors summed over each unit, shape (m, units, k).
        weights: shape (resamples, units).

    Returns:
        shape (m, resamples): mean over the k columns; not a number where a column has no variance.
    """
    count, units, k = errors.shape
    product = weights @ errors.transpose(1, 0, 2).reshape(units, count * k)
    return (1 - product.reshape(len(weights), count, k) / squares[:, None, :]).mean(axis=2).T


def interval(samples, level=0.95):
    """Percentile interval of samples, leaving out what is not a number; (nan, nan) where all are."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return float("nan"), float("nan")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def two_sided_p(value, samples):
    """P value of the hypothesis that what was estimated is 0.

    Args:
        value: the estimate.
        samples: its resamples; what is not a number is left out.

    Returns:
        2 (1 - Phi(|value| / s)), Phi of the normal distribution and s the deviation of the resamples: a share of
        resamples beyond zero could not be smaller than their number allows, and would survive no correction for
        hundreds of comparisons. 1 where neither value nor resamples differ from 0; nan without a value or resamples.
    """
    samples = samples[np.isfinite(samples)]
    if len(samples) < 2 or not np.isfinite(value):
        return float("nan")
    error = samples.std(ddof=1)
    if error == 0:
        return float(value == 0)
    return float(2 * ndtr(-abs(value) / error))


def resample_members(members, seed):
    """Mean of members that are themselves drawn anew in each resample: the second level of the bootstrap.

    Members are the seeds of a family, or the pairs of models of a comparison. All of them were measured on the same
    images, so each resample takes one draw of units for all and one draw of members (Owen 2007, "The pigeonhole
    bootstrap", for crossed effects: the variance that it gives is not below the true one when there are many
    members; of few, P, it misses the share 1 / P of the variance between them).

    Args:
        members: shape (members, resamples): each one's value on the same resamples of units.
        seed: of the draw of members, a number or several.

    Returns:
        shape (resamples,). With one member, that member's own.
    """
    members = np.asarray(members)
    count, resamples = members.shape
    drawn = np.random.default_rng([*np.atleast_1d(seed), count]).integers(count, size=(count, resamples))
    return np.take_along_axis(members, drawn, axis=0).mean(axis=0)

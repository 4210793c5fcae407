"""The embedding swap: some dimensions of the last token, at one decoder block, set to those of another image."""

import contextlib
from dataclasses import dataclass

import h5py
import numpy as np
import torch

from geoprobe.analysis.layers import find_fit, fold_coefficients
from geoprobe.probes.labels import ALL

RANKINGS = ("coefficients", "standardised", "random")
# prefill: while the prompt is read; every_step: then and at every token that is written
PLACES = ("prefill", "every_step")


def block_number(block, depth):
    """Number of a block from "first", "last", a share of the depth (a fraction), or a number, negative from the end.

    Raises:
        ValueError: there is no such block.
    """
    number = {"first": 0, "last": depth - 1}.get(block, block)
    if isinstance(number, float):
        number = round(number * (depth - 1))
    if not isinstance(number, int) or not -depth <= number < depth:
        raise ValueError(
            f"steering.block is {block}, and the decoder has {depth} blocks; give a number from 0 to {depth - 1}, a "
            "negative one from the end, a share of the depth, or first or last."
        )
    return number % depth


def read_coefficients(path, block, cv, width):
    """What a probe of position found at a block: coefficients and deviations of the features.

    Args:
        path: file of fits of a ridge regression on the decoder's last token.
        block: number.
        cv: cross-validation.
        width: of the stream.

    Returns:
        Mean coefficients over the outer folds for latitude and longitude, shape (d, 2), and deviations, shape (d,).

    Raises:
        ValueError: the block was not probed; names those that were. Or the probe is of another kind or width.
    """
    with h5py.File(path, "r") as fits:
        probed = sorted(map(int, fits["text/last"])) if "text/last" in fits else []
        if block not in probed:
            raise ValueError(
                f"{path}: block {block} of the decoder was not probed at its last token (pooling last), only "
                f"{', '.join(map(str, probed)) or 'none'} were; set steering.block to one of these, or read and probe "
                f"layer {block}."
            )
        fit = find_fit(fits, ("text", "last", block), ALL, "degrees", cv)
        folds = {} if fit is None else fold_coefficients(fit, path)
        if not folds:
            raise ValueError(
                f'{path}: no fold of the cross-validation "{cv}" was fitted; choose another, or probe a data set that '
                "has it."
            )
        coefficients = np.mean([weights for weights, _ in folds.values()], axis=0)
        deviations = fits[f"deviations/text/last/{block}/{ALL}"][:].astype(np.float64)
    if len(coefficients) != width:
        raise ValueError(
            f"{path}: the probe is of {len(coefficients)} dimensions, and the model's stream has {width}; give fits of "
            "the same model."
        )
    return coefficients, deviations


@dataclass(frozen=True)
class Condition:
    """One way to steer: where, by which ranking, with which seed (None where it is not random), what share."""

    where: str
    ranking: str
    seed: int | None
    share: float


def list_conditions(where, rankings, random_seeds, shares):
    """Every Condition, in order.

    Args:
        where: list of PLACES.
        rankings: list of RANKINGS.
        random_seeds: number of random rankings; their seeds are 0, 1, ..., as those of additive steering are.
        shares: of the dimensions, 0 to 1.

    Raises:
        ValueError: a place is unknown, a share is not one, or random is asked for and there are no random rankings.
    """
    if unknown := [place for place in where if place not in PLACES]:
        raise ValueError(f'steering.where has "{unknown[0]}"; allowed: {", ".join(PLACES)}.')
    if outside := [share for share in shares if not 0 <= share <= 1]:
        raise ValueError(f"steering.shares has {outside[0]}; shares are from 0 to 1.")
    if "random" in rankings and random_seeds < 1:
        raise ValueError(
            f"steering.rankings has random, but steering.random_seeds is {random_seeds}; give 1 or more random "
            "rankings to compare with, or take random out of the rankings."
        )
    return [
        Condition(place, ranking, seed, share)
        for place in where
        for ranking in rankings
        for seed in (range(random_seeds) if ranking == "random" else [None])
        for share in map(float, shares)
    ]


def count_of(share, width):
    """Number of dimensions that a share of the width is."""
    return round(share * width)


def rank_dimensions(coefficients, deviations, ranking, seed=None):
    """Order of the dimensions of a layer, the most important for position first.

    Args:
        coefficients: of latitude and longitude, the means over the outer folds, shape (d, 2).
        deviations: of the features, shape (d,).
        ranking: "coefficients": by the sum over the two axes of |w| / sum |w|, so that both count alike (the paper's);
            "standardised": the same with w x deviation for w, how far the dimension moves the prediction; "random".
        seed: of the random order.

    Returns:
        Dimension numbers, shape (d,); ties in their own order. Random orders of a seed and width are those of
        :func:`geoprobe.analysis.dimensions.predict_random`.

    Raises:
        ValueError: the ranking is unknown, or it is random without a seed.
    """
    width = len(coefficients)
    if ranking not in RANKINGS:
        raise ValueError(f'steering.rankings has "{ranking}"; allowed: {", ".join(RANKINGS)}.')
    if ranking == "random":
        if seed is None:
            raise ValueError("a random ranking has no seed; give it one.")
        return np.random.default_rng([seed, width]).permutation(width)
    weights = np.abs(np.asarray(coefficients, dtype=np.float64))
    if ranking == "standardised":
        weights = weights * np.asarray(deviations, dtype=np.float64)[:, None]
    totals = weights.sum(axis=0)
    # an axis without any weight says nothing about the order
    importance = (weights / np.where(totals > 0, totals, 1)).sum(axis=1)
    return np.argsort(-importance, kind="stable")


def mask_of(order, share):
    """Mask of the dimensions that are swapped: the first of an order, shape (d,)."""
    mask = np.zeros(len(order), dtype=bool)
    mask[order[: count_of(share, len(order))]] = True
    return mask


@contextlib.contextmanager
def acting_on(block, length, act):
    """Call a function with the last position of a block's stream at every pass of a generation.

    Args:
        block: module of a decoder; it returns the stream, shape (n, L, d), or a tuple that begins with it.
        length: positions of the prompt, padding included.
        act: from the number of the pass (0 reads the prompt, each later one a token) and the stream at the last
            position, shape (n, d), to what takes its place, or to None to leave it. All other positions stay.

    Raises:
        ValueError: the first pass does not read the whole prompt, a later one not one token: the last position is
            then not that of the step.
        RuntimeError: the block was never passed.
    """
    passes = 0

    def hook(_module, _arguments, output):
        nonlocal passes
        stream = output[0] if isinstance(output, tuple) else output
        expected = 1 if passes else length
        if stream.ndim != 3 or stream.shape[1] != expected:
            raise ValueError(
                f"{type(block).__name__}: pass {passes} of a generation has a stream of shape {tuple(stream.shape)}, "
                f"where {expected} positions are expected; generate with a cache, and read the prompt in one pass "
                "(prefill_chunk_size unset)."
            )
        made = act(passes, stream[:, -1])
        passes += 1
        if made is None:
            return None
        edited = stream.clone()
        edited[:, -1] = made
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = block.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
    if not passes:
        raise RuntimeError(f"{type(block).__name__}: the block was not passed; it is none of the model's that ran.")


class Recorder:
    """Keeps the stream at the last position of every pass; for :func:`acting_on`.

    Args:
        most: passes that are kept, the first ones.
    """

    def __init__(self, most):
        self.most, self.kept = most, []

    def __call__(self, step, last):
        if step < self.most:
            self.kept.append(last.detach().clone())

    def streams(self):
        """Shape (n, steps, d), on the CPU, in the dtype of the stream; zeros at steps that never came."""
        kept = torch.stack(self.kept, dim=1).cpu()
        return torch.nn.functional.pad(kept, (0, 0, 0, self.most - kept.shape[1]))


@dataclass
class Swap:
    """Puts given values into some dimensions of the last position; for :func:`acting_on`.

    Attributes:
        mask: which dimensions, shape (d,), bool.
        values: of each row at each step, shape (n, steps, d); only those of the mask are used.
        lengths: steps of each row at which it is changed, shape (n,): 1 for the prompt only; beyond the end of the
            text that the values are of, there are none.
    """

    mask: torch.Tensor
    values: torch.Tensor
    lengths: torch.Tensor

    def __call__(self, step, last):
        if len(last) != len(self.values) or last.shape[1] != len(self.mask):
            raise ValueError(
                f"the stream has {len(last)} rows of {last.shape[1]} dimensions, but there are values for "
                f"{len(self.values)} rows and a mask of {len(self.mask)}; they are of another batch or model."
            )
        if step >= self.values.shape[1]:
            return None
        changed = (step < self.lengths)[:, None] & self.mask
        return torch.where(changed.to(last.device), self.values[:, step].to(last), last)

"""What additive steering does to which images: the steps, by the probes of each fold, and who takes them."""

from dataclasses import dataclass

import numpy as np

from geoprobe.analysis.layers import fitted_layers
from geoprobe.features.batches import sample_rows
from geoprobe.features.layout import choose_layers
from geoprobe.interventions.directions import (
    DIRECTIONS,
    SUMMARIES,
    displacements,
    random_direction,
    read_probes,
    shortest_steps,
)


@dataclass
class Push:
    """What is steered and read in one tower.

    Attributes:
        tower, pooling: names.
        layers: blocks with probes, in order.
        blocks: those of them after which a step is added.
        folds: numbers of the folds that all probes were fitted in, shape (F,).
        slopes, offsets: of the probes, shapes (layers, F, d, 2) and (layers, F, 2).
        steps: of :func:`shortest_steps` by block, shape (F, d, 2).
        cv: cross-validation.
    """

    tower: str
    pooling: str
    layers: tuple
    blocks: tuple
    folds: np.ndarray
    slopes: np.ndarray
    offsets: np.ndarray
    steps: dict
    cv: str

    def predict(self, layer, values, fold):
        """Degrees by the probe of a layer, each image by that of its own fold, shape (n, 2).

        Args:
            layer: number of the block.
            values: features, shape (n, d).
            fold: index into `folds` of each image, shape (n,).
        """
        at = self.layers.index(layer)
        return np.einsum("nd,ndk->nk", values.astype(np.float64), self.slopes[at][fold]) + self.offsets[at][fold]

    def vectors(self, block, variant, fold, latitudes):
        """The step of each image, float64, shape (n, d).

        A random step is as long as the probe's, and the opposite one for the opposite km, as the probe's is: a curve
        over km is then along one line through the stream in both kinds.

        Args:
            block: number of the steered block.
            variant: kind, seed, direction, km.
            fold: as in :meth:`predict`.
            latitudes: true ones in degrees, shape (n,).
        """
        kind, seed, direction, km = variant
        steps = np.einsum("ndk,nk->nd", self.steps[block][fold], displacements(direction, km, latitudes))
        if kind == "probe":
            return steps
        return np.sign(km) * np.linalg.norm(steps, axis=1)[:, None] * random_direction(steps.shape[1], seed, block)


def list_variants(km, seeds):
    """(kind, seed, direction, km) of every step; no step, then each distance both ways, by the probe and at random.

    Args:
        km: distances in kilometres.
        seeds: number of random directions, each of which is taken both ways too.

    Raises:
        ValueError: there is no distance or random direction, or a distance is not a positive number.
    """
    wrong = [value for value in km if not (np.isfinite(value) and value > 0)]
    if wrong or not km:
        raise ValueError(f"km is {list(km)}; give distances above 0 in kilometres, which are taken both ways.")
    if seeds < 1:
        raise ValueError(f"random_seeds is {seeds}; give 1 or more random directions to compare with.")
    distances = sorted({0.0, *map(float, km), *(-float(value) for value in km)})
    return [
        (kind, seed, direction, distance)
        for direction in DIRECTIONS
        for distance in distances
        for kind, seed in [("probe", None), *(("random", seed) for seed in range(seeds) if distance)]
    ]


def choose_images(fold, folds, most):
    """Row numbers of the images that are steered: tested in one of the folds, evenly spaced over them.

    Args:
        fold: of each image, shape (n,); -1 for none.
        folds: numbers of the folds that probes were fitted in.
        most: at most so many images.

    Returns:
        Row numbers, sorted.
    """
    tested = np.flatnonzero(np.isin(fold, folds) & (fold >= 0))
    return sorted(sample_rows(tested[np.argsort(fold[tested], kind="stable")].tolist(), most))


def plan_pushes(fits, poolings, blocks, cv):
    """What can be steered of each tower, by an open file of fits.

    Args:
        fits: of ridge regressions on degrees.
        poolings: names, the preferred first; of each tower the first that takes one token is used.
        blocks: "all", or numbers of blocks, negative ones from the end.
        cv: cross-validation.

    Returns:
        A list of Push, one a tower; without folds where the data set cannot have this cross-validation.

    Raises:
        ValueError: no tower has such a pooling or such blocks, or a probe cannot be steered along.
    """
    there, pushes = fitted_layers(fits), []
    for tower in dict.fromkeys(name for name, _, _ in there):
        has = {pooling for name, pooling, _ in there if name == tower}
        pooling = next((name for name in poolings if name in SUMMARIES and name in has), None)
        if pooling is None:
            continue
        layers = sorted(layer for name, of, layer in there if (name, of) == (tower, pooling))
        chosen = layers if blocks == "all" else choose_layers(blocks, layers[-1] + 1)
        chosen = tuple(block for block in chosen if block in layers)
        if not chosen:
            continue
        folds, slopes, offsets = read_probes(fits, tower, pooling, layers, cv)
        steps = {}
        for block in chosen if len(folds) else ():
            of_block = zip(folds, slopes[layers.index(block)], strict=True)
            name = f"{fits.filename}, {tower}/{pooling}/{block}"
            steps[block] = np.stack([shortest_steps(slope, f"{name}, fold {fold}") for fold, slope in of_block])
        pushes.append(Push(tower, pooling, tuple(layers), chosen, folds, slopes, offsets, steps, cv))
    if not pushes:
        has = ", ".join(dict.fromkeys(f"{tower}/{pooling}" for tower, pooling, _ in there))
        raise ValueError(
            f"{fits.filename}: nothing can be steered at the blocks {blocks} under the poolings {', '.join(poolings)}: "
            f"there are probes of {has}; steering needs {' or '.join(SUMMARIES)} and blocks that have probes."
        )
    return pushes

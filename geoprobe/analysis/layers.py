"""Single layers for closer analysis: which are shown, what a file of fits holds of them, and R2 with an interval."""

import functools

import numpy as np

from geoprobe.analysis.bootstrap import draw_weights, interval, resampled_r2, resampled_squares, unit_sums
from geoprobe.analysis.selection import choose_depth, list_candidates
from geoprobe.probes.labels import ALL, open_fits
from geoprobe.probes.metrics import r2, to_positions

BESIDE = {"ids", "rows", "labels", "deviations"}  # what a file of fits holds beside towers


def shown_layers(layers, poolings, depth="last"):
    """The layer of each tower at a share of its depth, chosen without a look at the scores.

    Args:
        layers: (tower, pooling, layer) of all that there is.
        poolings: names, the preferred first; of each tower the first that it has is taken.
        depth: share of the tower's depth, from 0 (its first layer) to 1; or "first" or "last".

    Returns:
        A list of (tower, pooling, layer), one a tower that has any of the poolings: of its L layers in order, that at
        round(depth (L - 1)), as :func:`geoprobe.analysis.selection.choose_depth`.

    Raises:
        ValueError: no tower has any of the poolings; names them.
    """
    candidates = list_candidates(layers, poolings, "the probe")
    share = {"first": 0.0, "last": 1.0}.get(depth, depth)
    return [candidates[index] for index in choose_depth(candidates, share).values()]


def fitted_layers(fits):
    """(tower, pooling, layer) of every layer in an open file of fits, in order."""
    return [
        (tower, pooling, int(layer))
        for tower in sorted(set(fits) - BESIDE)
        for pooling in sorted(fits[tower])
        for layer in sorted(fits[tower][pooling], key=int)
    ]


def fitted_clusters(fits):
    """Names of the clusters in an open file of fits: the whole data set first, then by number."""
    return sorted(fits["rows"], key=lambda name: (-1, "") if name == ALL else (int(name), name))


def find_fit(fits, where, cluster, target, cv):
    """The fit on the true labels of one layer, cluster, target and cross-validation.

    Args:
        fits: open file of fits.
        where: tower, pooling, layer.
        cluster, target, cv: names.

    Returns:
        The group with its arrays; None where the data set cannot have this cross-validation.

    Raises:
        ValueError: the probe was not fitted on this target.
    """
    of_cluster = fits["/".join(map(str, where))].get(cluster)
    if of_cluster is None:  # nothing could be fitted on this data set
        return None
    if target not in of_cluster:
        raise ValueError(
            f"{fits.filename}: the probe was fitted on {', '.join(sorted(of_cluster))}, and {target} is asked for; "
            "add it to the probe's targets or change analysis.target."
        )
    group = of_cluster[target].get(cv)
    return None if group is None else group["none"]


def last_predictions(fits, truth, ids, poolings, target, cv):
    """Held-out predictions of the vision tower's last layer with the first pooling that it has, else of another's.

    Args:
        fits: path of the file.
        truth: latitude and longitude of all images in degrees, shape (n, 2).
        ids: of all images, shape (n,).
        poolings: names, the preferred first.
        target, cv: names.

    Returns:
        Tower, pooling and layer, in words, and true and predicted positions of the images that were tested, shape
        (m, 2) each; m is 0 where the data set cannot have this cross-validation, or nothing could be tested in it.

    Raises:
        ValueError: no tower has any of the poolings; names those that they have. Or the fits are of other images.
    """
    with open_fits(fits, ids) as file:
        towers = sorted(set(file) - BESIDE, key=lambda name: (name != "vision", name))
        found = next(((name, pooling) for name in towers for pooling in poolings if pooling in file[name]), None)
        if found is None:
            has = " and ".join(f"the {name} tower has {', '.join(file[name])}" for name in towers)
            raise ValueError(f"{fits}: {has}, none of analysis.poolings; add one of these there")
        layer = max(file["/".join(found)], key=int)
        fit = find_fit(file, (*found, layer), ALL, target, cv)
        if fit is None:
            return *found, layer, np.empty((0, 2)), np.empty((0, 2))
        predicted = fit["predictions"][:].astype(np.float64)
    tested = np.isfinite(predicted).all(axis=1)
    at = to_positions(predicted[tested], target) if tested.any() else np.empty((0, 2))
    return *found, layer, truth[tested], at


def fold_coefficients(fit, path):
    """Coefficients of a ridge regression by fold, of the folds that could be fitted.

    Args:
        fit: of :func:`find_fit`.
        path: of the file, for the message.

    Returns:
        Fold number to coefficients, shape (d, k), and intercepts, shape (k,), float64.

    Raises:
        ValueError: the probe has no coefficients.
    """
    if "coefficients" not in fit:
        raise ValueError(f"{path}: the probe has no coefficients; this analysis is of ridge regressions only.")
    found = {}
    arrays = (fit[name][:].astype(np.float64) for name in ("coefficients", "intercepts"))
    for fold, coefficients, intercepts in zip(fit["folds"][:].tolist(), *arrays, strict=True):
        if np.isfinite(coefficients).all() and np.isfinite(intercepts).all():
            found[fold] = (coefficients, intercepts)
    return found


@functools.lru_cache(maxsize=4)  # some ten megabytes each
def shared_weights(units, resamples, seed):
    """Weights of :func:`draw_weights`, drawn once: whatever has as many units is resampled alike."""
    weights = draw_weights(units, resamples, seed)
    weights.flags.writeable = False
    return weights


def score_held_out(truth, predicted, units, resamples, seed):
    """R2 of held-out predictions of all folds together, with an interval by resampling units of places.

    Args:
        truth, predicted: shape (n, k), n of at least 1.
        units: block or country of each image, shape (n,).
        resamples, seed: of the bootstrap.

    Returns:
        R2 (mean of the columns), low, high.
    """
    numbers, index = np.unique(units, return_inverse=True)
    weights = shared_weights(len(numbers), resamples, seed)
    errors = unit_sums((truth - predicted) ** 2, index, len(numbers))
    [samples] = resampled_r2(resampled_squares(truth, index, weights), errors[None], weights)
    return float(r2(truth, predicted).mean()), *interval(samples)

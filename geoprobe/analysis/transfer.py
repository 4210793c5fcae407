"""Transfer: a probe that was trained on one cluster of images, tested on the images of another."""

import numpy as np
import pandas as pd

from geoprobe.analysis.layers import (
    find_fit,
    fitted_clusters,
    fitted_layers,
    fold_coefficients,
    score_held_out,
    shown_layers,
)
from geoprobe.features.store import read_features
from geoprobe.geodesy import great_circle_km
from geoprobe.images.store import read_positions
from geoprobe.probes.folds import unit_of
from geoprobe.probes.labels import join_on_ids, open_fits
from geoprobe.probes.metrics import make_target, r2, to_positions

COLUMNS = [
    *("tower", "pooling", "layer", "target", "cv", "trained_on", "tested_on"),
    *("images", "r2", "low", "high", "r2_latitude", "r2_longitude", "median_km", "reason"),
]


def predict_held_out(features, folds, models):
    """Predictions for every image by the coefficients of the fold in which it is tested.

    Args:
        features: shape (n, d).
        folds: fold of each image, shape (n,); -1 for none.
        models: training cluster to the coefficients by fold of :func:`geoprobe.analysis.layers.fold_coefficients`;
            all of k columns.

    Returns:
        Training cluster to predictions, float64, shape (n, k); not a number where the cluster has no such fold.
    """
    width = next(len(intercepts) for by_fold in models.values() for _, intercepts in by_fold.values())
    predicted = {name: np.full((len(folds), width), np.nan) for name in models}
    for fold in np.unique(folds[folds >= 0]).tolist():
        names = [name for name, by_fold in models.items() if fold in by_fold]
        if not names:
            continue
        tested = np.flatnonzero(folds == fold)
        # the coefficients of all clusters side by side: one product a fold
        slopes = np.concatenate([models[name][fold][0] for name in names], axis=1)
        offsets = np.concatenate([models[name][fold][1] for name in names])
        outputs = features[tested].astype(np.float64) @ slopes + offsets
        for name, columns in zip(names, np.split(outputs, len(names), axis=1), strict=True):
            predicted[name][tested] = columns
    return predicted


def score_transfer(positions, predicted, target, units, resamples, seed):
    """One cell of the transfer table.

    Args:
        positions: true positions of the images of the test cluster, degrees, shape (n, 2).
        predicted: shape (n, k); not a number where an image was not predicted.
        target: name.
        units: block or country of each image, shape (n,).
        resamples, seed: of the bootstrap.

    Returns:
        A dict: images and, where there are any, r2 (mean of the target's columns), low, high, r2_latitude,
        r2_longitude, median_km.
    """
    found = np.isfinite(predicted).all(axis=1)
    if not found.any():
        return {"images": 0}
    positions, predicted = positions[found], predicted[found]
    at = to_positions(predicted, target)
    axes = r2(positions, predicted if target == "degrees" else at)
    score, low, high = score_held_out(make_target(positions, target), predicted, units[found], resamples, seed)
    return {
        "images": int(found.sum()),
        **{"r2": score, "low": low, "high": high, "r2_latitude": float(axes[0]), "r2_longitude": float(axes[1])},
        "median_km": float(np.median(great_circle_km(positions, at))),
    }


def _reason(tested, by_fold):
    """Why some images were not predicted: a cluster without images in a fold has no coefficients for it."""
    missing = sorted(set(tested) - set(by_fold))
    if not missing:
        return ""
    return f"the training cluster has no fit for fold{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"


def transfer(fits, features, store, folds, target, cvs, poolings, layers, resamples, seed):
    """Test the probe of every cluster on the images of every cluster, at the shown layers.

    The images of the test cluster that are tested in fold f are predicted by the coefficients that the training
    cluster has for fold f. Folds, and what is kept out of training because it is near a test image, are assigned over
    the whole data set, not within clusters: under blocked or buffered folds, no training cluster, the whole data set
    among them, has seen the places that it is asked for, and a cluster on itself is its usual cross-validated score.

    Args:
        fits: file of fits of a ridge regression.
        features: feature store.
        store: image store.
        folds: folds table.
        target: name.
        cvs: cross-validations.
        poolings, layers: poolings (the preferred first) and depth of
            :func:`geoprobe.analysis.layers.shown_layers`.
        resamples, seed: of the bootstrap over blocks (countries where these were held out).

    Returns:
        A frame with a row a layer, cross-validation and pair of clusters: tower, pooling, layer, target, cv,
        trained_on, tested_on, images (held-out predictions), r2 (of all of them together, relative to the variance of
        the test cluster's own positions), low, high, r2_latitude, r2_longitude, median_km, reason.

    Raises:
        ValueError: the files are not of the same images, or the probe is no ridge regression or lacks the target.
    """
    positions, ids = read_positions(store)
    table = join_on_ids(ids, pd.read_parquet(folds), folds)
    impossible = table.attrs.get("impossible", {})
    rows = []
    with open_fits(fits, ids) as file:
        clusters = fitted_clusters(file)
        members = {name: file["rows"][name][:] for name in clusters}
        for where in shown_layers(fitted_layers(file), poolings, layers):
            values = None
            for cv in cvs:
                models = {}
                for name in clusters:
                    fit = find_fit(file, where, name, target, cv)
                    models[name] = {} if fit is None else fold_coefficients(fit, fits)
                keys = {**dict(zip(("tower", "pooling", "layer"), where, strict=True)), "target": target, "cv": cv}
                fold, units = table[cv].to_numpy(), table[unit_of(cv)].to_numpy()
                if any(models.values()):
                    values = read_features(features, ids, *where) if values is None else values
                    predicted = predict_held_out(values, fold, models)
                for tested_on in clusters:
                    images = members[tested_on]
                    tested = np.unique(fold[images][fold[images] >= 0]).tolist()
                    for trained_on in clusters:
                        pair = {**keys, "trained_on": trained_on, "tested_on": tested_on}
                        if not any(models.values()):
                            reason = impossible.get(cv, "nothing could be fitted in any fold")
                            rows.append({**pair, "images": 0, "reason": reason})
                            continue
                        scores = score_transfer(
                            positions[images], predicted[trained_on][images], target, units[images], resamples, seed
                        )
                        rows.append({**pair, **scores, "reason": _reason(tested, models[trained_on])})
    return pd.DataFrame(rows, columns=COLUMNS)

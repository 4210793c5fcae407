"""Do clusters of images use the same dimensions? Correlation of their probes' coefficients."""

import itertools

import h5py
import numpy as np
import pandas as pd

from geoprobe.analysis.bootstrap import draw_weights, interval
from geoprobe.analysis.layers import find_fit, fitted_clusters, fitted_layers, fold_coefficients, shown_layers
from geoprobe.probes.labels import ALL
from geoprobe.probes.metrics import r2

AXES = ("latitude", "longitude")
SCALINGS = ("raw", "standardised")
MIN_CLUSTERS = 3  # resamples of two clusters hold one pair or none
KEYS = ["tower", "pooling", "layer", "cv", "share", "dimensions", "scaled", "axis"]
PAIR_COLUMNS = [*KEYS, "cluster_a", "cluster_b", "correlation"]
SUMMARY_COLUMNS = [*KEYS, "clusters", "pairs", "correlation", "low", "high", "r2", "r2_low", "r2_high", "reason"]


def correlate(vectors):
    """Pearson correlation between rows; not a number where one of them is constant.

    Args:
        vectors: shape (m, d).

    Returns:
        shape (m, m).
    """
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    # below this, a constant but for rounding
    usable = norms > np.finfo(np.float64).eps * np.sqrt(vectors.shape[1]) * np.abs(vectors).max(axis=1, initial=0)
    unit = centred / np.where(usable, norms, 1)[:, None]
    unit[~usable] = np.nan
    return np.clip(unit @ unit.T, -1, 1)


def top_dimensions(coefficients, share):
    """The dimensions with the largest absolute coefficient on average over clusters.

    Args:
        coefficients: of one axis, shape (m, d).
        share: of the dimensions, at most 1; at least 2 are kept, as fewer have no correlation.

    Returns:
        Their numbers, ascending.
    """
    d = coefficients.shape[1]
    count = min(d, max(2, round(share * d)))
    order = np.argsort(-np.abs(coefficients).mean(axis=0), kind="stable")
    return np.sort(order[:count])


def mean_over_pairs(correlations, weights):
    """Mean correlation over pairs of different clusters, each pair as often as both its clusters are drawn together.

    Args:
        correlations: symmetric, shape (m, m); pairs that are not a number are left out.
        weights: how often each cluster is drawn, shape (resamples, m).

    Returns:
        shape (resamples,); not a number where no pair of different clusters is drawn.
    """
    defined = np.isfinite(correlations) & ~np.eye(len(correlations), dtype=bool)
    total = ((weights @ np.where(defined, correlations, 0.0)) * weights).sum(axis=1)
    count = ((weights @ defined.astype(np.float64)) * weights).sum(axis=1)
    return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)


def _mean_r2(scores, weights):
    known = np.isfinite(scores)
    count = weights @ known.astype(np.float64)
    return np.where(count > 0, (weights @ np.where(known, scores, 0.0)) / np.where(count > 0, count, 1), np.nan)


def correlate_clusters(coefficients, deviations, scores, clusters, shares, resamples, seed):
    """Correlations between the coefficients of clusters, at one layer, by axis, scaling and share of dimensions.

    Args:
        coefficients: of each cluster, shape (m, d, 2).
        deviations: standard deviation of each feature in each cluster, shape (m, d).
        scores: held-out R2 of each cluster, shape (m,).
        clusters: m names.
        shares: of the dimensions.
        resamples, seed: of the bootstrap over clusters.

    Returns:
        Lists of rows (dicts): of pairs, and of the summary.

    Raw coefficients are degrees per unit of a feature; standardised ones are multiplied by the feature's deviation
    and so comparable between dimensions of unlike scale. The top dimensions are chosen for each axis apart, by the
    coefficients that are then correlated (raw or standardised), and are the same for all pairs of clusters. The choice
    looks at magnitudes, not at signs, so it does not make correlations out of unrelated coefficients.

    Pairs share clusters, so the interval comes from resampling clusters, not pairs; a cluster that is drawn twice is
    not paired with itself.
    """
    pairs, summary = [], []
    count = len(clusters)
    weights = draw_weights(count, resamples, seed)
    everyone = np.ones((1, count))
    whole = float(_mean_r2(scores, everyone)[0])
    r2_low, r2_high = interval(_mean_r2(scores, weights)) if count >= MIN_CLUSTERS else (np.nan, np.nan)
    for share, scaled, (axis, name) in itertools.product(shares, SCALINGS, enumerate(AXES)):
        values = coefficients[:, :, axis]
        if scaled == "standardised":
            values = values * deviations
        kept = top_dimensions(values, share)
        matrix = correlate(values[:, kept])
        keys = {"share": share, "dimensions": len(kept), "scaled": scaled, "axis": name}
        pairs += [
            {**keys, "cluster_a": clusters[a], "cluster_b": clusters[b], "correlation": float(matrix[a, b])}
            for a, b in itertools.combinations(range(count), 2)
        ]
        low, high = interval(mean_over_pairs(matrix, weights)) if count >= MIN_CLUSTERS else (np.nan, np.nan)
        upper = matrix[np.triu_indices(count, 1)]
        summary.append(
            {
                **keys,
                "clusters": count,
                "pairs": int(np.isfinite(upper).sum()),
                "correlation": float(mean_over_pairs(matrix, everyone)[0]),
                **{"low": low, "high": high, "r2": whole, "r2_low": r2_low, "r2_high": r2_high},
                "reason": "" if count >= MIN_CLUSTERS else f"no interval from fewer than {MIN_CLUSTERS} clusters",
            }
        )
    return pairs, summary


def _read_clusters(file, fits, where, cv):
    """Names, mean coefficients, deviations and R2 of the clusters that were fitted; the whole data set is not one."""
    names, coefficients, deviations, scores = [], [], [], []
    for name in fitted_clusters(file):
        fit = None if name == ALL else find_fit(file, where, name, "degrees", cv)
        by_fold = {} if fit is None else fold_coefficients(fit, fits)
        if not by_fold:
            continue
        names.append(name)
        coefficients.append(np.mean([slopes for slopes, _ in by_fold.values()], axis=0))
        deviations.append(file["/".join(("deviations", *map(str, where), name))][:].astype(np.float64))
        predicted = fit["predictions"][:].astype(np.float64)
        tested = np.isfinite(predicted).all(axis=1)
        scores.append(r2(file[f"labels/{name}/none"][:][tested], predicted[tested]).mean())
    return names, coefficients, deviations, scores


def relate_coefficients(fits, cvs, poolings, layers, shares, resamples, seed):
    """Correlations between the coefficients of every two clusters, for degrees, at the shown layers.

    Args:
        fits: file of fits of a ridge regression.
        cvs: cross-validations; a cluster's coefficients are the mean over the folds.
        poolings, layers: see :func:`geoprobe.analysis.layers.shown_layers`.
        shares: of the dimensions, such as 1.0 and 0.4.
        resamples, seed: of the bootstrap over clusters.

    Returns:
        Two frames. Pairs: tower, pooling, layer, cv, share, dimensions, scaled (raw or standardised), axis, cluster_a,
        cluster_b, correlation; each pair once. Summary: the same up to axis, clusters, pairs, correlation (mean over
        pairs), low, high, r2 (mean over clusters of the held-out R2 of both axes), r2_low, r2_high, reason.

    Raises:
        ValueError: the probe is no ridge regression or was not fitted on degrees.
    """
    pairs, summary = [], []
    with h5py.File(fits, "r") as file:
        for where in shown_layers(fitted_layers(file), poolings, layers):
            for cv in cvs:
                keys = {**dict(zip(("tower", "pooling", "layer"), where, strict=True)), "cv": cv}
                names, coefficients, deviations, scores = _read_clusters(file, fits, where, cv)
                if len(names) < 2:
                    reason = f"{len(names)} clusters were fitted, and a correlation is between two"
                    summary.append({**keys, "clusters": len(names), "pairs": 0, "reason": reason})
                    continue
                of_pairs, of_all = correlate_clusters(
                    np.array(coefficients), np.array(deviations), np.array(scores), names, shares, resamples, seed
                )
                pairs += [{**keys, **row} for row in of_pairs]
                summary += [{**keys, **row} for row in of_all]
    summary = pd.DataFrame(summary, columns=SUMMARY_COLUMNS).astype({"dimensions": "Int64"})
    return pd.DataFrame(pairs, columns=PAIR_COLUMNS), summary

"""How many dimensions of a layer carry position? Probes on the top-ranked share, against as many drawn at random."""

import json

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
from geoprobe.images.store import read_positions
from geoprobe.probes.folds import Split, unit_of
from geoprobe.probes.labels import join_on_ids, open_fits
from geoprobe.probes.ridge import fit_folds

AXES = ("latitude", "longitude")
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RANKINGS = ("standardised", "raw")
RANDOM = "random"
COLUMNS = [
    *("tower", "pooling", "layer", "cluster", "cv", "ranking", "seed", "share", "dimensions", "axis"),
    *("images", "r2", "low", "high", "reason"),
]


def count_of(share, width):
    """Number of dimensions that a share of the width is, at least 1."""
    return min(width, max(1, round(share * width)))


def rank_dimensions(coefficients, deviations, ranking):
    """Order of the dimensions of one axis, the most important first.

    Args:
        coefficients: of the axis, of a fit on the training images, shape (d,).
        deviations: of the features over the same training images, shape (d,).
        ranking: "standardised": by |coefficient x deviation|, how far the dimension moves the prediction; "raw": by
            |coefficient| alone, as the paper, which favours dimensions of small scale.

    Returns:
        Dimension numbers, shape (d,); ties in their own order.
    """
    importance = np.abs(coefficients * deviations if ranking == "standardised" else coefficients)
    return np.argsort(-importance, kind="stable")


def _fit(values, columns, targets, split, engine, only):
    """Held-out predictions, shape (n, 1), of each target from some columns; and the reasons of folds without."""
    kept = values[:, columns]
    everyone = np.arange(len(kept))
    [fits] = fit_folds(lambda: [(everyone, kept)], targets, [split], only=only, **engine)
    return [fit.predictions for fit in fits], [reason for fit in fits for reason in fit.reasons if reason]


def predict_ranked(values, labels, split, models, shares, ranking, engine):
    """Held-out predictions from the top-ranked dimensions of each axis.

    In each fold the ranking comes from that fold's own full fit and training images, so neither the choice of
    dimensions nor the refit sees an image that is tested.

    Args:
        values: features, shape (n, d).
        labels: positions in degrees, shape (n, 2).
        split: the folds.
        models: fold to full-fit coefficients (d, 2) and intercepts, of
            :func:`geoprobe.analysis.layers.fold_coefficients`.
        shares: of the dimensions.
        ranking: see :func:`rank_dimensions`.
        engine: options of :func:`geoprobe.probes.ridge.fit_folds`.

    Returns:
        Share to predictions, shape (n, 2), not a number where there are none; share to reasons.
    """
    width = values.shape[1]
    predicted = {share: np.full((len(values), 2), np.nan) for share in shares}
    reasons = {share: [] for share in shares}
    for fold, (coefficients, _) in models.items():
        test = split.tested(fold)
        deviations = values[~split.excluded(fold)].std(axis=0, dtype=np.float64)
        orders = [rank_dimensions(coefficients[:, axis], deviations, ranking) for axis in range(2)]
        for share in shares:
            for axis, order in enumerate(orders):
                columns = np.sort(order[: count_of(share, width)])
                [outputs], why = _fit(values, columns, [labels[:, axis : axis + 1]], split, engine, (fold,))
                predicted[share][test, axis] = outputs[test, 0]
                reasons[share] += why
    return predicted, reasons


def predict_random(values, labels, split, shares, seed, engine):
    """Held-out predictions from dimensions drawn at random, the same for both axes and all folds.

    A larger share holds the smaller ones. Args and Returns as of :func:`predict_ranked`, `seed` of the draw.
    """
    width = values.shape[1]
    order = np.random.default_rng([seed, width]).permutation(width)
    axes = [labels[:, axis : axis + 1] for axis in range(2)]
    predicted, reasons = {}, {}
    for share in shares:
        outputs, reasons[share] = _fit(values, np.sort(order[: count_of(share, width)]), axes, split, engine, None)
        predicted[share] = np.concatenate(outputs, axis=1)
    return predicted, reasons


def _rows(predicted, reasons, labels, units, width, resamples, seed):
    rows = []
    for share, outputs in predicted.items():
        for axis, name in enumerate(AXES):
            found = np.isfinite(outputs[:, axis])
            row = {"share": share, "dimensions": count_of(share, width), "axis": name, "images": int(found.sum())}
            if found.any():
                truth, held_out = labels[found, axis : axis + 1], outputs[found, axis : axis + 1]
                scores = score_held_out(truth, held_out, units[found], resamples, seed)
                row |= dict(zip(("r2", "low", "high"), scores, strict=True))
            rows.append({**row, "reason": "; ".join(dict.fromkeys(reasons[share]))})
    return rows


def ablate_subsets(values, labels, split, models, units, shares, rankings, seeds, engine, resamples, seed):
    """R2 of each axis by ranking, seed and share, for one layer, cluster and cross-validation.

    Args:
        values: features, shape (n, d).
        labels: positions in degrees, shape (n, 2).
        split, models, shares, engine: see :func:`predict_ranked`.
        units: block or country of each image, shape (n,).
        rankings: of standardised and raw.
        seeds: of the random draws, a draw a seed.
        resamples, seed: of the bootstrap.

    Returns:
        A list of dicts: ranking, seed, share, dimensions, axis, images, r2, low, high, reason.
    """
    width = values.shape[1]
    # all dimensions are the same set under any ranking: fitted once
    whole = [share for share in shares if count_of(share, width) == width]
    part = [share for share in shares if share not in whole]
    same = predict_random(values, labels, split, whole[:1], 0, engine)
    whole_predicted, whole_reasons = ({share: value for share in whole for value in found.values()} for found in same)
    rows = []
    for ranking, number in [*((name, None) for name in rankings), *((RANDOM, number) for number in seeds)]:
        if ranking == RANDOM:
            predicted, reasons = predict_random(values, labels, split, part, number, engine)
        else:
            predicted, reasons = predict_ranked(values, labels, split, models, part, ranking, engine)
        scores = _rows(predicted | whole_predicted, reasons | whole_reasons, labels, units, width, resamples, seed)
        rows += [{"ranking": ranking, "seed": number, **row} for row in scores]
    return rows


def ablate_dimensions(fits, features, store, folds, cvs, poolings, layers, options, resamples, seed):
    """Probe subsets of the dimensions, at the shown layers and each tower's first, for degrees.

    Args:
        fits: file of fits of a ridge regression; the penalties are chosen anew for every subset and axis, by the
            rule and from the grid of its options.
        features: feature store.
        store: image store.
        folds: folds table.
        cvs: cross-validations.
        poolings, layers: see :func:`geoprobe.analysis.layers.shown_layers`.
        options: `shares` of the dimensions, `rankings` (standardised, raw), number of random `draws`, `clusters`
            (names, or each).
        resamples, seed: of the bootstrap over blocks or countries; the random draws have the seeds from `seed` on.

    Returns:
        A frame: tower, pooling, layer, cluster, cv, ranking (standardised, raw or random), seed (of random), share,
        dimensions, axis, images, r2 (of all held-out predictions together), low, high, reason.

    Raises:
        ValueError: the files are not of the same images, a cluster is not there, or the probe is no ridge regression
            or was not fitted on degrees.
    """
    _, ids = read_positions(store)
    table = join_on_ids(ids, pd.read_parquet(folds), folds)
    impossible = table.attrs.get("impossible", {})
    frames = []
    with open_fits(fits, ids) as file:
        probe = json.loads(file.attrs["options"])
        grid = probe.get("alphas")
        if probe["kind"] != "ridge":
            raise ValueError(f"{fits}: the probe is of kind {probe['kind']}; dimensions are ranked by a ridge's alone.")
        engine = {name: probe[name] for name in ("penalty", "per_column", "standardise", "device")}
        engine["alphas"] = np.logspace(grid["low"], grid["high"], grid["count"])
        asked = options["clusters"]
        clusters = fitted_clusters(file) if asked == "each" else [str(name) for name in asked]
        there = fitted_layers(file)
        chosen = dict.fromkeys(shown_layers(there, poolings, "first") + shown_layers(there, poolings, layers))
        if missing := set(clusters) - set(file["rows"]):
            raise ValueError(f"{fits}: there is no cluster {', '.join(sorted(missing))}; clusters are numbers or all.")
        for where in chosen:
            values = read_features(features, ids, *where)
            for cluster in clusters:
                images = file["rows"][cluster][:]
                labels = file[f"labels/{cluster}/none"][:]
                kept = values[images]
                for cv in cvs:
                    keys = {
                        **dict(zip(("tower", "pooling", "layer"), where, strict=True)),
                        "cluster": cluster,
                        "cv": cv,
                    }
                    fit = find_fit(file, where, cluster, "degrees", cv)
                    models = {} if fit is None else fold_coefficients(fit, fits)
                    if not models:
                        reason = impossible.get(cv, "nothing could be fitted in any fold")
                        frames.append({**keys, "images": 0, "reason": reason})
                        continue
                    near = f"{cv}_near"
                    split = Split(
                        table[cv].to_numpy()[images], table[near].to_numpy()[images] if near in table else None
                    )
                    scores = ablate_subsets(
                        kept,
                        labels,
                        split,
                        models,
                        table[unit_of(cv)].to_numpy()[images],
                        options["shares"],
                        options["rankings"],
                        range(seed, seed + options["draws"]),
                        engine,
                        resamples,
                        seed,
                    )
                    frames += [{**keys, **row} for row in scores]
    frame = pd.DataFrame(frames, columns=COLUMNS)
    frame["seed"] = frame["seed"].astype("Int64")
    frame["dimensions"] = frame["dimensions"].astype("Int64")
    return frame

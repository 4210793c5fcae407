"""Fit a probe on every layer of one model: in every cluster, fold and control, for every target."""

import json

import h5py
import numpy as np
import pandas as pd
from tqdm import tqdm

from geoprobe.features.store import list_layers, read_features
from geoprobe.images.store import read_positions
from geoprobe.probes.labels import cluster_rows, control_positions, join_on_ids
from geoprobe.probes.metrics import METRICS, make_target, score_positions
from geoprobe.probes.ridge import fit_ridge
from geoprobe.runtime import provenance, replacing

KEYS = ("cluster", "tower", "layer", "pooling", "target", "cv", "control")


def fit_cluster(features, labels, folds, targets, alphas, near=None):
    """Fit and test one layer in one cluster under one cross-validation, for all labels and targets at once.

    Args:
        features: shape (n, d).
        labels: control to positions in degrees, shape (n, 2).
        folds: fold of each row, shape (n,).
        targets: names of targets.
        alphas: penalties.
        near: bit f is set for a row that must not be trained on when fold f is tested, shape (n,); None for none.

    Returns:
        scores: one dict a control, target and fold.
        fits: (control, target) to predictions (n, k), coefficients (folds, d, k), intercepts (folds, k).
            What could not be fitted is not a number, and its score states the reason.
    """
    numbers = np.unique(folds)
    keys = [(control, target) for control in labels for target in targets]
    wanted = {key: make_target(labels[key[0]], key[1]) for key in keys}
    fits = {
        key: {
            "predictions": np.full(wanted[key].shape, np.nan),
            "coefficients": np.full((len(numbers), features.shape[1], wanted[key].shape[1]), np.nan),
            "intercepts": np.full((len(numbers), wanted[key].shape[1]), np.nan),
        }
        for key in keys
    }
    scores = []
    for index, fold in enumerate(numbers):
        trained_on = folds != fold
        if near is not None:
            trained_on &= (near >> int(fold)) & 1 == 0
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(trained_on)
        sizes = {"fold": int(fold), "n_train": len(train), "n_test": len(test)}
        if len(train) < 2 or len(test) < 2:
            reason = "fewer than 2 images to train or to test on"
            scores += [{"control": control, "target": target, **sizes, "reason": reason} for control, target in keys]
            continue
        for key, (weights, intercept, best) in zip(
            keys, fit_ridge(features[train], [wanted[key][train] for key in keys], alphas), strict=True
        ):
            predicted = features[test] @ weights + intercept
            fits[key]["predictions"][test] = predicted
            fits[key]["coefficients"][index] = weights
            fits[key]["intercepts"][index] = intercept
            scores.append(
                {
                    "control": key[0],
                    "target": key[1],
                    **sizes,
                    "alpha": float(alphas[best]),
                    "alpha_at_border": best in (0, len(alphas) - 1),
                    **score_positions(labels[key[0]][test], predicted, key[1]),
                    "reason": "",
                }
            )
    return scores, fits


def fit_all(store, features, clusters, folds, fits_path, scores_path, names, options):
    """Fit one probe on all that a feature store holds, and write the probe table and the fits.

    Args:
        store: image store.
        features: feature store.
        clusters: Parquet table with id and cluster.
        folds: Parquet table with id, a column a cross-validation and, where it has a buffer, "<cv>_near".
        fits_path: HDF5 file to write: /<tower>/<pooling>/<layer>/<cluster>/<target>/<cv>/<control>/ with
            predictions, coefficients, intercepts; /rows/<cluster>; /deviations/...; ids.
        scores_path: probe table (Parquet) to write.
        names: dataset, model, prompt and probe, the table's first columns.
        options: alphas {low, high, count}, targets, cv, controls, seed.

    Raises:
        ValueError: stores and tables are not of the same images, or features are not finite.
    """
    positions, ids = read_positions(store)
    assigned = join_on_ids(ids, pd.read_parquet(clusters), clusters)["cluster"].to_numpy()
    fold_table = join_on_ids(ids, pd.read_parquet(folds), folds)
    grid = options["alphas"]
    alphas = np.logspace(grid["low"], grid["high"], grid["count"])
    rows_of = cluster_rows(assigned)
    labels_of = {
        cluster: {name: control_positions(positions, rows, name, options["seed"]) for name in options["controls"]}
        for cluster, rows in rows_of.items()
    }
    layers = list_layers(features)
    table = []
    with replacing(fits_path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("ids", data=ids.astype(object), dtype=h5py.string_dtype())
        for cluster, rows in rows_of.items():
            file[f"rows/{cluster}"] = rows
        progress = tqdm(total=len(layers) * len(rows_of), unit="fit", desc=names["model"], mininterval=5)
        for tower, pooling, layer in layers:
            # float64: the Gram matrix squares the features' condition number
            values = read_features(features, ids, tower, pooling, layer).astype(np.float64)
            for cluster, rows in rows_of.items():
                x = values[rows]
                file[f"deviations/{tower}/{pooling}/{layer}/{cluster}"] = x.std(axis=0).astype(np.float32)
                for cv in options["cv"]:
                    fold = fold_table[cv].to_numpy()[rows]
                    near = fold_table[f"{cv}_near"].to_numpy()[rows] if f"{cv}_near" in fold_table else None
                    scores, fits = fit_cluster(x, labels_of[cluster], fold, options["targets"], alphas, near)
                    where = {"cluster": cluster, "tower": tower, "layer": layer, "pooling": pooling, "cv": cv}
                    table += [{**names, **where, **score} for score in scores]
                    for (control, target), arrays in fits.items():
                        group = file.create_group(f"{tower}/{pooling}/{layer}/{cluster}/{target}/{cv}/{control}")
                        for name, array in arrays.items():
                            group[name] = array.astype(np.float32)
                progress.update()
        progress.close()
        for name, value in {**names, "options": json.dumps(options), **provenance()}.items():
            file.attrs[name] = value
    # reindexed: where nothing could be fitted, no score has named the columns
    keys = [*names, *KEYS, "fold", "n_train", "n_test", "alpha", "alpha_at_border"]
    frame = pd.DataFrame(table).reindex(columns=[*keys, *METRICS, "reason"])
    frame["alpha_at_border"] = frame["alpha_at_border"].astype("boolean")
    frame.attrs = {**provenance(), "options": json.dumps(options)}
    with replacing(scores_path) as temporary:
        frame.to_parquet(temporary, index=False)

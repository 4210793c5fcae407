"""What can be predicted without looking at an image: baselines that every probe is compared with."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from geoprobe.geodesy import EARTH_RADIUS_KM, to_sphere
from geoprobe.probes.folds import Split
from geoprobe.probes.labels import cell_centres
from geoprobe.probes.metrics import METRICS, score_positions

BASELINES = ("training-mean", "cell-prior")
REGION_KM = 750  # "region" of the field's thresholds; decides between geocells of equally many images


def training_mean(positions):
    """Mean latitude and mean longitude in degrees, shape (2,): what R2 of the target degrees compares with.

    Args:
        positions: latitude and longitude of the training images in degrees, shape (n, 2).
    """
    return positions.mean(axis=0)


def cell_prior(positions, cells):
    """Centre of the geocell with most training images.

    Args:
        positions: latitude and longitude of the training images in degrees, shape (n, 2), n > 0.
        cells: number of each image's geocell, shape (n,).

    Returns:
        Latitude and longitude in degrees, shape (2,): the mean on the sphere of the geocell's training images. Among
        geocells with equally many, of which a balanced data set has a lot, that one is taken from whose centre most
        training images are no farther than REGION_KM, and among these the first by number.
    """
    _, cell, images = np.unique(cells, return_inverse=True, return_counts=True)
    centres = cell_centres(positions, cell, len(images))[images == images.max()]
    if len(centres) == 1:
        return centres[0]
    # a chord of the unit sphere
    reach = 2 * np.sin(REGION_KM / (2 * EARTH_RADIUS_KM))
    near = cKDTree(to_sphere(positions)).query_ball_point(to_sphere(centres), reach, return_length=True)
    return centres[np.argmax(near)]


def score_baselines(positions, cells, rows_of, folds, cvs):
    """Held-out scores of all baselines, by cluster, cross-validation and fold.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        cells: geocell of each image, shape (n,).
        rows_of: cluster to row numbers, see :func:`geoprobe.probes.labels.cluster_rows`.
        folds: table of :func:`geoprobe.probes.folds.assign_folds` in the order of positions.
        cvs: cross-validations.

    Returns:
        Frame of baseline, cluster, cv, fold, n_train, n_test, the METRICS against the target degrees (as far as a
        prediction that is the same for every image has them: no rank correlations), and reason: "", or why there are
        no scores; its fold is -1 where that holds for the whole cross-validation.
    """
    cell = pd.factorize(np.asarray(cells, dtype=object), sort=True)[0]
    impossible = folds.attrs.get("impossible", {})
    table = []
    for cluster, rows in rows_of.items():
        for cv in cvs:
            near = folds[f"{cv}_near"].to_numpy()[rows] if f"{cv}_near" in folds else None
            split = Split(folds[cv].to_numpy()[rows], near)
            reason = impossible.get(cv, "")
            if not reason and not len(split.numbers):
                reason = "none of the cluster's images is in a fold"
            parts = [] if reason else split.numbers
            scores = [score for fold in parts for score in _score_fold(positions[rows], cell[rows], split, fold)]
            if reason:
                scores = [
                    {"baseline": name, "fold": -1, "n_train": 0, "n_test": 0, "reason": reason} for name in BASELINES
                ]
            table += [{"cluster": cluster, "cv": cv, **score} for score in scores]
    columns = ["baseline", "cluster", "cv", "fold", "n_train", "n_test", *METRICS, "reason"]
    return pd.DataFrame(table).reindex(columns=columns)


def _score_fold(positions, cell, split, fold):
    """Rows of one fold, a dict a baseline."""
    train, test = ~split.excluded(fold), split.tested(fold)
    sizes = {"fold": int(fold), "n_train": int(train.sum()), "n_test": int(test.sum())}
    # as for a probe, whose numbers these stand beside
    if min(sizes["n_train"], sizes["n_test"]) < 2:
        reason = f"{sizes['n_train']} training and {sizes['n_test']} test images; at least 2 of each are needed"
        return [{"baseline": name, **sizes, "reason": reason} for name in BASELINES]
    predicted = {
        "training-mean": training_mean(positions[train]),
        "cell-prior": cell_prior(positions[train], cell[train]),
    }
    truth = positions[test]
    return [
        {
            "baseline": name,
            **sizes,
            **score_positions(truth, np.tile(position, (len(truth), 1)), "degrees"),
            "reason": "",
        }
        for name, position in predicted.items()
    ]

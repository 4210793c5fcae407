"""How good predicted positions are: R2, errors in degrees and on the sphere, rank correlation, GeoScore."""

import numpy as np
from scipy.stats import spearmanr

from geoprobe.geodesy import from_sphere, great_circle_km, to_sphere, wrap_longitude

# Street, city, region, country, continent: the field's thresholds in kilometres, compared with <=.
WITHIN_KM = (1, 25, 200, 750, 2500)
GEOSCORE_KM = 1492.7  # decay of GeoScore = 5000 exp(-d / 1492.7) (OSV-5M, Astruc et al. 2024)

METRICS = (
    *("r2", "r2_latitude", "r2_longitude", "rmse_degrees", "mae_degrees"),
    *("spearman_latitude", "spearman_longitude", "median_km"),
    *(f"within_{limit}km" for limit in WITHIN_KM),
    "geoscore",
)


def make_target(positions, target):
    """What a probe regresses: (latitude, longitude) in degrees, or the unit vector.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        target: degrees or sphere.

    Returns:
        shape (n, 2) or (n, 3).
    """
    return positions if target == "degrees" else to_sphere(positions)


def to_positions(predicted, target):
    """Predictions as positions on the Earth.

    Args:
        predicted: shape (n, 2) in degrees or (n, 3) on the sphere.
        target: degrees or sphere.

    Returns:
        Latitude and longitude in degrees, shape (n, 2): latitudes clipped to [-90, 90], longitudes wrapped.
    """
    if target == "sphere":
        return from_sphere(predicted)
    return np.column_stack([np.clip(predicted[:, 0], -90, 90), wrap_longitude(predicted[:, 1])])


def r2(truth, predicted):
    """Coefficient of determination of each column, shape (k,); not a number where the truth does not vary.

    Args:
        truth, predicted: shape (n, k).
    """
    residual = ((truth - predicted) ** 2).sum(axis=0)
    total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    return np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), np.nan)


def score_positions(positions, predicted, target):
    """All metrics of one test fold.

    Args:
        positions: true latitude and longitude in degrees, shape (n, 2).
        predicted: the probe's output, shape (n, 2) or (n, 3).
        target: degrees or sphere.

    Returns:
        A dict with the metric columns of the probe table. `r2` is the mean over the target's columns, as in the
        paper; `r2_latitude`, `r2_longitude` and the errors in degrees compare positions: for the target degrees
        the raw predictions (a longitude of 190 is 190), for the sphere the direction of the predicted vector.
        Distances are great circles after clipping and wrapping.
    """
    raw = predicted if target == "degrees" else from_sphere(predicted)
    axes = r2(positions, raw)
    # per axis: spearmanr of two columns at once would give a 4 x 4 matrix
    ranks = [_spearman(positions[:, axis], raw[:, axis]) for axis in range(2)]
    distance = great_circle_km(positions, to_positions(predicted, target))
    scores = {
        "r2": float(r2(make_target(positions, target), predicted).mean()),
        "r2_latitude": float(axes[0]),
        "r2_longitude": float(axes[1]),
        "rmse_degrees": float(np.sqrt(((positions - raw) ** 2).mean())),
        "mae_degrees": float(np.abs(positions - raw).mean()),
        "spearman_latitude": ranks[0],
        "spearman_longitude": ranks[1],
        "median_km": float(np.median(distance)),
    }
    scores |= {f"within_{limit}km": float((distance <= limit).mean()) for limit in WITHIN_KM}
    scores["geoscore"] = float((5000 * np.exp(-distance / GEOSCORE_KM)).mean())
    return scores


def _spearman(a, b):
    # a constant has no ranks; scipy would warn and say so too
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)

"""How good predicted positions are: R2, errors in degrees and on the sphere, rank correlation, GeoScore, order."""

import numpy as np

from geoprobe.geodesy import EARTH_RADIUS_KM, from_sphere, great_circle_km, to_sphere, wrap_longitude

TARGETS = ("degrees", "sphere", "circular")

# Street, city, region, country, continent: the field's thresholds in kilometres, compared with <=.
WITHIN_KM = (1, 25, 200, 750, 2500)
GEOSCORE_KM = 1492.7  # decay of GeoScore = 5000 exp(-d / 1492.7) (OSV-5M, Astruc et al. 2024)
PLACES = 500  # how many places at most a prediction is compared with, so that the cost grows as the images do
SAME_PLACE_KM = 1e-6  # nearer than rounding can tell apart

METRICS = (
    *("r2", "r2_latitude", "r2_longitude", "r2_haversine", "rmse_degrees", "mae_degrees"),
    *("spearman_latitude", "spearman_longitude", "median_km"),
    *(f"within_{limit}km" for limit in WITHIN_KM),
    *("geoscore", "proximity_error", "clipped", "wrapped"),
)


def _check_target(target):
    if target not in TARGETS:
        raise ValueError(f'the target is "{target}"; allowed: {", ".join(TARGETS)}.')


def make_target(positions, target):
    """What a probe regresses.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        target: "degrees": the positions; "sphere": unit vectors, see :func:`geoprobe.geodesy.to_sphere`; "circular":
            latitude in radians, sine and cosine of the longitude, so that the antimeridian is no edge.

    Returns:
        shape (n, 2) for degrees, else (n, 3).

    Raises:
        ValueError: no such target.
    """
    _check_target(target)
    if target == "degrees":
        return positions
    if target == "sphere":
        return to_sphere(positions)
    latitude, longitude = np.radians(positions).T
    return np.column_stack([latitude, np.sin(longitude), np.cos(longitude)])


def to_positions(predicted, target):
    """Predictions as positions on the Earth.

    Args:
        predicted: shape (n, 2) or (n, 3), as :func:`make_target` makes them.
        target: one of TARGETS.

    Returns:
        Latitude and longitude in degrees, shape (n, 2). Degrees: latitudes clipped to [-90, 90], longitudes wrapped
        into [-180, 180). Sphere: the direction of the vector, whatever its length. Circular: latitude clipped, and the
        direction of (cosine, sine), whatever its length. What has no direction, a length of 0, counts as 0 degrees.

    Raises:
        ValueError: no such target.
    """
    _check_target(target)
    predicted = np.asarray(predicted, dtype=np.float64)
    if target == "degrees":
        return np.column_stack([np.clip(predicted[:, 0], -90, 90), wrap_longitude(predicted[:, 1])])
    predicted = predicted + 0.0  # turns -0, whose direction would be 180 degrees, into 0
    if target == "sphere":
        return from_sphere(predicted)
    latitude = np.clip(np.degrees(predicted[:, 0]), -90, 90)
    return np.column_stack([latitude, np.degrees(np.arctan2(predicted[:, 1], predicted[:, 2]))])


def r2(truth, predicted):
    """Coefficient of determination of each column, shape (k,); not a number where the truth does not vary.

    Args:
        truth, predicted: shape (n, k).
    """
    residual = ((truth - predicted) ** 2).sum(axis=0)
    total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    # the mean of equal numbers may be off by rounding, so that their sum of squares is not quite 0
    varies = (truth != truth[:1]).any(axis=0) & (total > 0)
    return np.where(varies, 1 - residual / np.where(varies, total, 1), np.nan)


def rank_correlations(truth, predicted):
    """Spearman's rank correlation of each column, shape (k,); equal values share the mean of their ranks.

    Args:
        truth, predicted: shape (n, k).

    Returns:
        Pearson's correlation of the ranks, not a number where either does not vary.
    """
    count, k = truth.shape
    if count < 2:
        return np.full(k, np.nan)
    from scipy.stats import rankdata  # takes a second to import, which figures do not have

    # all at once: most of the time is the call's own
    ranks = rankdata(np.concatenate([truth, predicted], axis=1), axis=0) - (count + 1) / 2
    squares = (ranks**2).sum(axis=0)
    scale = np.sqrt(squares[:k] * squares[k:])
    return np.where(scale > 0, (ranks[:, :k] * ranks[:, k:]).sum(axis=0) / np.where(scale > 0, scale, 1), np.nan)


def r2_haversine(positions, distance):
    """Coefficient of determination on the sphere, the analogue of R2 with great circles for differences.

    Args:
        positions: true latitude and longitude in degrees, shape (n, 2).
        distance: great circle from each to its prediction in kilometres, shape (n,).

    Returns:
        1 - sum of squared distances / sum of squared distances to the mean position, which is the direction of the
        mean unit vector; not a number where that has none (antipodes) or where all positions are the same.
    """
    truth = to_sphere(positions)
    mean = truth.mean(axis=0)
    length = np.sqrt(mean @ mean)
    if length < 1e-12:
        return float("nan")
    chord = np.sqrt(((truth - mean / length) ** 2).sum(axis=1))
    total = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1))
    if total.max() < SAME_PLACE_KM:
        return float("nan")
    return float(1 - (distance @ distance) / (total @ total))


def proximity_error(positions, predicted):
    """Share of places that are nearer to a prediction than its true position is, mean over the images.

    It asks for the order of places and not for their distance: 0 is perfect, .5 is chance (Gurnee and Tegmark 2024,
    "Language models represent space and time", ICLR).

    Args:
        positions, predicted: latitude and longitude in degrees, shape (n, 2).

    Returns:
        From 0 to 1. The places are the images' own positions, PLACES of them evenly spaced by row where there are more;
        an image's own place does not count, and a place exactly as far as the true position is not nearer. Not a number
        for a single image.
    """
    count = len(positions)
    if count < 2:
        return float("nan")
    truth, guess = to_sphere(positions), to_sphere(predicted)
    if count <= PLACES:
        return _count_nearer(truth, guess, truth) / (count * (count - 1))
    among = np.zeros(count, dtype=bool)
    among[np.linspace(0, count - 1, PLACES).round().astype(np.int64)] = True
    places = truth[among]
    error = _count_nearer(truth[among], guess[among], places) / (PLACES - 1)
    return (error + _count_nearer(truth[~among], guess[~among], places) / PLACES) / count


def _count_nearer(truth, guess, places):
    """How many pairs of an image and a place have the place nearer to the guess than the truth is; unit vectors."""
    # the larger the cosine the nearer; equal positions may differ by rounding
    own = (truth * guess).sum(axis=1, keepdims=True) + 1e-14
    # a few rows at a time: large temporary arrays are slower than the product
    starts = range(0, len(guess), 250)
    return sum(np.count_nonzero(guess[at : at + 250] @ places.T > own[at : at + 250]) for at in starts)


def outside_shares(predicted, target):
    """Share of predictions with a latitude outside [-90, 90], and with a longitude outside [-180, 180) degrees.

    Args:
        predicted: shape (n, 2) or (n, 3).
        target: one of TARGETS; a direction is always inside.
    """
    if target == "sphere":
        return 0.0, 0.0
    limit = 90 if target == "degrees" else np.pi / 2
    clipped = float((np.abs(predicted[:, 0]) > limit).mean())
    if target == "circular":
        return clipped, 0.0
    return clipped, float(((predicted[:, 1] < -180) | (predicted[:, 1] >= 180)).mean())


def score_positions(positions, predicted, target):
    """All metrics of one test fold.

    Args:
        positions: true latitude and longitude in degrees, shape (n, 2).
        predicted: the probe's output, shape (n, 2) or (n, 3).
        target: one of TARGETS.

    Returns:
        A dict with the METRICS, the metric columns of the probe table. `r2` is the mean over the target's columns, as
        in the paper; `r2_latitude`, `r2_longitude`, the errors in degrees and the rank correlations compare positions:
        for the target degrees the raw predictions (a longitude of 190 is 190), else those of :func:`to_positions`.
        All else is on the sphere, after clipping and wrapping: distances are great circles. `clipped` and `wrapped`
        say how many predictions that changed, see :func:`outside_shares`.

    Raises:
        ValueError: no such target, or a prediction is not a finite number.
    """
    positions, predicted = np.asarray(positions, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    placed = to_positions(predicted, target)
    raw = predicted if target == "degrees" else placed
    error = positions - raw
    axes, ranks = r2(positions, raw), rank_correlations(positions, raw)
    mean = axes if target == "degrees" else r2(make_target(positions, target), predicted)
    distance = great_circle_km(positions, placed)
    scores = {
        "r2": float(mean.mean()),
        "r2_latitude": float(axes[0]),
        "r2_longitude": float(axes[1]),
        "r2_haversine": r2_haversine(positions, distance),
        "rmse_degrees": float(np.sqrt((error**2).mean())),
        "mae_degrees": float(np.abs(error).mean()),
        "spearman_latitude": float(ranks[0]),
        "spearman_longitude": float(ranks[1]),
        "median_km": float(np.median(distance)),
    }
    scores |= {f"within_{limit}km": float((distance <= limit).mean()) for limit in WITHIN_KM}
    scores["geoscore"] = float((5000 * np.exp(-distance / GEOSCORE_KM)).mean())
    scores["proximity_error"] = proximity_error(positions, placed)
    scores["clipped"], scores["wrapped"] = outside_shares(predicted, target)
    return scores

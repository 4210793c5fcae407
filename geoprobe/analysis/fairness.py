"""Who is placed well? Errors of held-out predictions by continent and by how densely the data cover a place."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from geoprobe.analysis.bootstrap import interval
from geoprobe.analysis.layers import find_fit, fitted_layers, shared_weights, shown_layers
from geoprobe.geodesy import EARTH_RADIUS_KM, great_circle_km, to_sphere, wrap_longitude
from geoprobe.images.countries import continent_of, country_code
from geoprobe.images.store import read_columns, read_positions
from geoprobe.probes.folds import unit_of
from geoprobe.probes.labels import ALL, join_on_ids, open_fits
from geoprobe.probes.metrics import GEOSCORE_KM, to_positions

NEAR_KM = 250
WITHIN_KM = 750
THIRDS = ("sparse", "middle", "dense")
COLUMNS = [
    *("tower", "pooling", "layer", "target", "cv", "by", "group"),
    *("images", "countries", "units", "neighbours", "median_km", "low", "high"),
    *(f"within_{WITHIN_KM}km", "geoscore", "north_km", "east_km", "bias_km", "reason"),
]


def count_neighbours(positions, radius_km=NEAR_KM):
    """Number of other images within a great-circle distance of each image.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        radius_km: the distance.

    Returns:
        int64, shape (n,).
    """
    vectors = to_sphere(positions)
    chord = 2 * np.sin(min(radius_km / (2 * EARTH_RADIUS_KM), np.pi / 2))
    return cKDTree(vectors).query_ball_point(vectors, chord, return_length=True) - 1


def density_thirds(neighbours):
    """Third of the images that each belongs to by its number of neighbours: sparse, middle or dense.

    Images with as many neighbours share their mean rank, and so their third; thirds may differ in size, or be empty.
    """
    doubled = (2 * rankdata(neighbours)).astype(np.int64) - 1  # whole numbers: ties have ranks that end in a half
    return np.array(THIRDS)[(3 * doubled - 1) // (2 * len(neighbours))]


def image_countries(countries, geocells):
    """Alpha-2 code of each image's country, "" where it has none.

    Args:
        countries: names as stored, shape (n,); spelt as the gazetteer spells them.
        geocells: names as stored, shape (n,); they begin with the country's code.
    """
    first = [cell.split("/", 1)[0] for cell in geocells]
    codes = {text: country_code(text) for text in {*first, *countries}}
    return np.array([codes[cell] or codes[name] for cell, name in zip(first, countries, strict=True)], dtype=object)


def resampled_medians(values, units, resamples, seed):
    """Median of values in each resample of units, as of the values written out as often as their unit is drawn.

    Args:
        values: shape (n,), n of at least 1.
        units: label of each value, shape (n,).
        resamples, seed: of the draw.

    Returns:
        shape (resamples,).
    """
    numbers, index = np.unique(units, return_inverse=True)
    order = np.argsort(values, kind="stable")
    values, index = values[order], index[order]
    medians = np.empty(resamples)
    for row, weights in enumerate(shared_weights(len(numbers), resamples, seed)):
        reached = np.cumsum(weights[index])
        middle = [(reached[-1] - 1) // 2, reached[-1] // 2]
        medians[row] = values[np.searchsorted(reached, middle, side="right")].mean()
    return medians


def score_group(truth, at, countries, neighbours, units, resamples, seed):
    """Errors of the images of one group.

    Args:
        truth, at: true and predicted positions, degrees, shape (n, 2), n of at least 1.
        countries: codes, shape (n,).
        neighbours: of :func:`count_neighbours`, shape (n,).
        units: block or country of each image, shape (n,).
        resamples, seed: of the bootstrap of the median.

    Returns:
        A dict: images, countries, units, neighbours (median), median_km, low, high, within_750km (share), geoscore
        (mean), north_km and east_km (mean signed error along the meridian and along the parallel of the true
        position: positive where predictions lie too far north or east), bias_km (length of that mean error; what does
        not cancel out).
    """
    distance = great_circle_km(truth, at)
    degree_km = np.radians(1) * EARTH_RADIUS_KM
    north = float((at[:, 0] - truth[:, 0]).mean() * degree_km)
    turn = wrap_longitude(at[:, 1] - truth[:, 1])
    east = float((turn * np.cos(np.radians(truth[:, 0]))).mean() * degree_km)
    low, high = interval(resampled_medians(distance, units, resamples, seed))
    return {
        "images": len(truth),
        "countries": len(set(countries) - {""}),
        "units": len(np.unique(units)),
        "neighbours": float(np.median(neighbours)),
        "median_km": float(np.median(distance)),
        "low": low,
        "high": high,
        f"within_{WITHIN_KM}km": float((distance <= WITHIN_KM).mean()),
        "geoscore": float((5000 * np.exp(-distance / GEOSCORE_KM)).mean()),
        "north_km": north,
        "east_km": east,
        "bias_km": float(np.hypot(north, east)),
    }


def score_fairness(fits, store, folds, target, cvs, poolings, layers, resamples, seed):
    """Errors of held-out predictions on the whole data set by group, at the shown layers.

    Args:
        fits: file of fits of any probe.
        store: image store.
        folds: folds table.
        target: name.
        cvs: cross-validations.
        poolings, layers: see :func:`geoprobe.analysis.layers.shown_layers`.
        resamples, seed: of the bootstrap over blocks (countries where these were held out).

    Returns:
        A frame, largest group first within continents: tower, pooling, layer, target, cv, by (all, continent or
        density: thirds of the images by the number of others within 250 km), group, and what :func:`score_group`
        gives, reason. Groups of few images stay; their number says how much they tell.

    Raises:
        ValueError: the files are not of the same images, or the probe lacks the target.
    """
    positions, ids = read_positions(store)
    columns = read_columns(store)
    table = join_on_ids(ids, pd.read_parquet(folds), folds)
    impossible = table.attrs.get("impossible", {})
    codes = image_countries(columns["countries"], columns["geocells"])
    continent = {code: continent_of(code) for code in set(codes)}
    continents = np.array([continent[code] for code in codes], dtype=object)
    neighbours = count_neighbours(positions)
    thirds = density_thirds(neighbours)
    groups = {
        "all": {ALL: np.ones(len(ids), dtype=bool)},
        "continent": {name: continents == name for name in pd.Series(continents).value_counts().index},
        "density": {name: thirds == name for name in THIRDS},
    }
    rows = []
    with open_fits(fits, ids) as file:
        for where in shown_layers(fitted_layers(file), poolings, layers):
            for cv in cvs:
                keys = {**dict(zip(("tower", "pooling", "layer"), where, strict=True)), "target": target, "cv": cv}
                fit = find_fit(file, where, ALL, target, cv)
                predicted = None if fit is None else fit["predictions"][:].astype(np.float64)
                found = None if fit is None else np.isfinite(predicted).all(axis=1)
                if fit is None or not found.any():
                    reason = impossible.get(cv, "nothing could be fitted in any fold")
                    rows.append({**keys, "by": "all", "group": ALL, "images": 0, "reason": reason})
                    continue
                units = table[unit_of(cv)].to_numpy()
                at = np.full_like(positions, np.nan)
                at[found] = to_positions(predicted[found], target)
                for by, members in groups.items():
                    for name, inside in members.items():
                        n = np.flatnonzero(inside & found)
                        if not len(n):
                            continue
                        scores = score_group(positions[n], at[n], codes[n], neighbours[n], units[n], resamples, seed)
                        rows.append({**keys, "by": by, "group": name, **scores, "reason": ""})
    return pd.DataFrame(rows, columns=COLUMNS)

"""Metrics against scikit-learn, scipy and geopy, and against formulas in their closed form."""

import numpy as np
import pytest
from geopy.distance import great_circle
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from geoprobe.geodesy import EARTH_RADIUS_KM, draw_on_sphere
from geoprobe.probes import metrics
from geoprobe.probes.metrics import GEOSCORE_KM, METRICS, WITHIN_KM, make_target, r2, score_positions, to_positions

KM_A_DEGREE = np.pi * EARTH_RADIUS_KM / 180


def guesses(n=80, seed=0, spread=30.0):
    """Positions and guesses in degrees, some of which lie beyond the poles and the antimeridian."""
    random = np.random.default_rng(seed)
    truth = draw_on_sphere(n, random)
    return truth, truth * [0.9, 0.9] + random.normal(0, spread, (n, 2))


def vectors(positions):
    """Unit vectors, written out for one position after the other."""
    out = []
    for latitude, longitude in np.radians(positions):
        out.append([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    return np.array(out)


def kilometres(a, b):
    return np.array([great_circle(tuple(p), tuple(q), radius=EARTH_RADIUS_KM).km for p, q in zip(a, b, strict=True)])


def on_the_sphere(predicted):
    """Guesses brought onto the Earth: clipped at the poles, wrapped at the antimeridian."""
    latitude = [min(90.0, max(-90.0, value)) for value in predicted[:, 0]]
    longitude = [value - 360 * np.floor((value + 180) / 360) for value in predicted[:, 1]]
    return np.array([latitude, longitude]).T


def test_r2_is_scikit_learns():
    truth, predicted = guesses()
    np.testing.assert_allclose(r2(truth, predicted), r2_score(truth, predicted, multioutput="raw_values"), rtol=1e-12)


def test_r2_of_a_truth_that_does_not_vary_is_no_number():
    values = r2(np.array([[1.0, 2.0], [1.0, 3.0]]), np.array([[1.0, 2.0], [0.0, 3.0]]))
    assert np.isnan(values[0])
    assert values[1] == 1.0


def test_scores_in_degrees_are_those_of_the_libraries():
    truth, predicted = guesses()
    assert (np.abs(predicted[:, 0]) > 90).any()
    assert (np.abs(predicted[:, 1]) > 180).any()
    scores = score_positions(truth, predicted, "degrees")
    axes = r2_score(truth, predicted, multioutput="raw_values")
    assert scores["r2"] == pytest.approx(r2_score(truth, predicted))
    assert (scores["r2_latitude"], scores["r2_longitude"]) == pytest.approx(tuple(axes))
    assert scores["rmse_degrees"] == pytest.approx(root_mean_squared_error(truth.ravel(), predicted.ravel()))
    assert scores["mae_degrees"] == pytest.approx(mean_absolute_error(truth, predicted))
    for axis, name in enumerate(("latitude", "longitude")):
        assert scores[f"spearman_{name}"] == pytest.approx(spearmanr(truth[:, axis], predicted[:, axis]).statistic)
    distance = kilometres(truth, on_the_sphere(predicted))
    assert scores["median_km"] == pytest.approx(np.median(distance), rel=1e-6)
    assert scores["geoscore"] == pytest.approx(np.mean(5000 * np.exp(-distance / 1492.7)), rel=1e-6)
    for limit in (1, 25, 200, 750, 2500):
        assert scores[f"within_{limit}km"] == np.mean(distance <= limit)


def test_scores_on_the_sphere_are_of_the_vectors_and_of_their_directions():
    truth, _ = guesses()
    predicted = vectors(truth) * 0.8 + np.random.default_rng(1).normal(0, 0.2, (len(truth), 3))
    scores = score_positions(truth, predicted, "sphere")
    lengths = np.linalg.norm(predicted, axis=1)
    direction = np.degrees(
        np.column_stack([np.arcsin(predicted[:, 2] / lengths), np.arctan2(predicted[:, 1], predicted[:, 0])])
    )
    assert scores["r2"] == pytest.approx(r2_score(vectors(truth), predicted))
    axes = r2_score(truth, direction, multioutput="raw_values")
    assert (scores["r2_latitude"], scores["r2_longitude"]) == pytest.approx(tuple(axes))
    assert scores["rmse_degrees"] == pytest.approx(root_mean_squared_error(truth.ravel(), direction.ravel()))
    assert scores["spearman_longitude"] == pytest.approx(spearmanr(truth[:, 1], direction[:, 1]).statistic)
    assert scores["median_km"] == pytest.approx(np.median(kilometres(truth, direction)), rel=1e-6)


@pytest.mark.parametrize("target", ["degrees", "sphere"])
def test_a_perfect_prediction_has_perfect_scores(target):
    truth, _ = guesses()
    scores = score_positions(truth, make_target(truth, target), target)
    for name in ("r2", "r2_latitude", "r2_longitude", "spearman_latitude", "spearman_longitude", "within_1km"):
        assert scores[name] == pytest.approx(1.0)
    assert scores["median_km"] == pytest.approx(0.0, abs=1e-6)
    assert scores["geoscore"] == pytest.approx(5000.0)


@pytest.mark.parametrize("limit", WITHIN_KM)
def test_thresholds_are_inclusive(monkeypatch, limit):
    truth, predicted = guesses(4)
    distances = np.array([limit, np.nextafter(limit, np.inf), limit / 2, limit * 2])
    monkeypatch.setattr(metrics, "great_circle_km", lambda *_: distances)
    assert score_positions(truth, predicted, "degrees")[f"within_{limit}km"] == 0.5


@pytest.mark.parametrize("degrees", [0.0, 1.0, 13.0, 90.0, 180.0])
def test_geoscore_is_its_closed_form_along_the_equator(degrees):
    truth = np.array([[0.0, -100.0], [0.0, 20.0]])
    scores = score_positions(truth, truth + np.array([0.0, degrees]), "degrees")
    assert GEOSCORE_KM == 1492.7
    assert scores["geoscore"] == pytest.approx(5000 * np.exp(-degrees * KM_A_DEGREE / 1492.7))
    assert scores["median_km"] == pytest.approx(degrees * KM_A_DEGREE, abs=1e-6)


def test_longitudes_are_wrapped_and_latitudes_clipped_for_distances_only():
    truth = np.array([[90.0, 0.0], [0.0, -170.0], [-90.0, 0.0], [10.0, 30.0]])
    predicted = np.array([[95.0, 0.0], [0.0, 190.0], [-200.0, 0.0], [10.0, 750.0]])
    np.testing.assert_allclose(
        to_positions(predicted, "degrees"), [[90.0, 0.0], [0.0, -170.0], [-90.0, 0.0], [10.0, 30.0]]
    )
    scores = score_positions(truth, predicted, "degrees")
    assert scores["within_1km"] == 1.0
    assert scores["mae_degrees"] == pytest.approx((5 + 360 + 110 + 720) / 8)


def test_vectors_of_any_length_point_to_their_position():
    truth, _ = guesses()
    for length in (0.01, 1.0, 50.0):
        np.testing.assert_allclose(to_positions(length * vectors(truth), "sphere"), truth, atol=1e-9)


def test_the_targets_are_degrees_or_unit_vectors():
    truth, _ = guesses()
    np.testing.assert_array_equal(make_target(truth, "degrees"), truth)
    np.testing.assert_allclose(make_target(truth, "sphere"), vectors(truth), atol=1e-12)


def test_a_constant_prediction_has_no_rank_correlation():
    truth, predicted = guesses()
    predicted[:, 0] = 7.0
    scores = score_positions(truth, predicted, "degrees")
    assert np.isnan(scores["spearman_latitude"])
    assert np.isfinite(scores["spearman_longitude"])


def test_the_columns_of_the_probe_table_are_the_metrics_that_are_computed():
    truth, predicted = guesses()
    assert tuple(score_positions(truth, predicted, "degrees")) == METRICS

"""Metrics against scikit-learn, scipy and geopy, and against formulas in their closed form."""

import numpy as np
import pytest
from geopy.distance import great_circle
from oracles import kilometres
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from geoprobe.geodesy import EARTH_RADIUS_KM, draw_on_sphere
from geoprobe.probes import metrics
from geoprobe.probes.metrics import (
    GEOSCORE_KM,
    METRICS,
    PLACES,
    TARGETS,
    WITHIN_KM,
    make_target,
    r2,
    rank_correlations,
    score_positions,
    to_positions,
)

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


def circular(positions):
    """The circular target, written out for one position after the other."""
    return np.array([[np.radians(a), np.sin(np.radians(b)), np.cos(np.radians(b))] for a, b in positions])


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


@pytest.mark.parametrize("target", TARGETS)
def test_a_perfect_prediction_has_perfect_scores(target):
    truth, _ = guesses()
    scores = score_positions(truth, make_target(truth, target), target)
    for name in ("r2", "r2_latitude", "r2_longitude", "r2_haversine", "spearman_latitude", "spearman_longitude"):
        assert scores[name] == pytest.approx(1.0)
    assert scores["within_1km"] == 1.0
    assert (scores["proximity_error"], scores["clipped"], scores["wrapped"]) == (0.0, 0.0, 0.0)
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


def test_the_targets_are_degrees_unit_vectors_or_latitude_with_a_direction():
    truth, _ = guesses()
    assert TARGETS == ("degrees", "sphere", "circular")
    np.testing.assert_allclose(make_target(truth, "circular"), circular(truth), atol=1e-12)
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


def test_a_target_that_is_not_one_is_refused():
    truth, _ = guesses(3)
    for function in (make_target, to_positions):
        with pytest.raises(ValueError, match='the target is "radians"; allowed: degrees, sphere, circular'):
            function(truth, "radians")


def test_a_column_that_does_not_vary_but_for_the_rounding_of_its_mean_has_no_r2():
    truth = np.full((3, 1), 0.1)
    assert ((truth - truth.mean(axis=0)) ** 2).sum() > 0
    assert np.isnan(r2(truth, truth + 1))


def test_the_circular_target_has_no_edge_at_the_antimeridian():
    truth = np.array([[5.0, 179.9], [-5.0, -179.9], [80.0, -180.0], [0.0, 0.0]])
    assert np.ptp(make_target(truth, "circular")[:3, 1:], axis=0).max() < 0.01
    back = to_positions(make_target(truth, "circular"), "circular")
    np.testing.assert_allclose(kilometres(truth, back), 0, atol=1e-6)


def test_circular_predictions_are_a_direction_of_any_length_and_a_latitude_that_is_clipped():
    predicted = np.array([[np.pi, 3.0, 3.0], [-2.0, 0.0, -0.1], [0.5, -0.2, 0.0]])
    np.testing.assert_allclose(
        to_positions(predicted, "circular"), [[90.0, 45.0], [-90.0, 180.0], [np.degrees(0.5), -90.0]]
    )


def test_scores_of_the_circular_target_are_of_its_columns_and_of_its_positions():
    truth, _ = guesses()
    predicted = circular(truth) * 0.8 + np.random.default_rng(1).normal(0, 0.5, (len(truth), 3))
    assert (np.abs(predicted[:, 0]) > np.pi / 2).any()
    scores = score_positions(truth, predicted, "circular")
    latitude = np.clip(np.degrees(predicted[:, 0]), -90, 90)
    placed = np.column_stack([latitude, np.degrees(np.arctan2(predicted[:, 1], predicted[:, 2]))])
    assert scores["r2"] == pytest.approx(r2_score(circular(truth), predicted))
    axes = r2_score(truth, placed, multioutput="raw_values")
    assert (scores["r2_latitude"], scores["r2_longitude"]) == pytest.approx(tuple(axes))
    assert scores["spearman_latitude"] == pytest.approx(spearmanr(truth[:, 0], placed[:, 0]).statistic)
    assert scores["mae_degrees"] == pytest.approx(mean_absolute_error(truth, placed))
    assert scores["median_km"] == pytest.approx(np.median(kilometres(truth, placed)), rel=1e-6)


@pytest.mark.parametrize("target", ["sphere", "circular"])
def test_what_has_no_direction_counts_as_zero_degrees(target):
    for zero in (0.0, -0.0):
        placed = to_positions(np.full((1, 3), zero), target)
        np.testing.assert_array_equal(placed, [[0.0, 0.0]])
    truth = np.array([[0.0, 10.0], [0.0, -20.0], [0.0, 30.0]])
    scores = score_positions(truth, np.zeros((3, 3)), target)
    assert scores["median_km"] == pytest.approx(20 * KM_A_DEGREE)


def test_rank_correlations_are_scipys_with_ties_and_without():
    random = np.random.default_rng(3)
    truth = np.column_stack([random.integers(0, 5, 60), random.normal(size=60), random.integers(0, 2, 60)])
    predicted = np.column_stack([random.integers(0, 4, 60), random.integers(0, 9, 60), random.normal(size=60)])
    expected = [spearmanr(truth[:, axis], predicted[:, axis]).statistic for axis in range(3)]
    np.testing.assert_allclose(rank_correlations(truth.astype(float), predicted), expected, rtol=1e-12)


def test_a_single_row_has_no_ranks_no_spread_and_no_other_place():
    scores = score_positions(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), "degrees")
    nothing = {name for name, value in scores.items() if np.isnan(value)}
    assert nothing == {
        *("r2", "r2_latitude", "r2_longitude", "r2_haversine"),
        *("spearman_latitude", "spearman_longitude", "proximity_error"),
    }


def test_r2_on_the_sphere_compares_great_circles_with_those_to_the_mean_position():
    truth, predicted = guesses()
    x, y, z = vectors(truth).mean(axis=0)
    centre = np.degrees([np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)])
    spread = kilometres(truth, np.tile(centre, (len(truth), 1)))
    expected = 1 - (kilometres(truth, on_the_sphere(predicted)) ** 2).sum() / (spread**2).sum()
    assert score_positions(truth, predicted, "degrees")["r2_haversine"] == pytest.approx(expected, rel=1e-9)
    always = score_positions(truth, np.tile(centre, (len(truth), 1)), "degrees")
    assert always["r2_haversine"] == pytest.approx(0.0, abs=1e-12)


def test_r2_on_the_sphere_is_its_closed_form_along_the_equator_and_across_the_antimeridian():
    # the mean is at 180 degrees, 10 away from both; the predictions are 5 and 5 away
    truth = np.array([[0.0, 170.0], [0.0, -170.0]])
    scores = score_positions(truth, np.array([[0.0, 175.0], [0.0, 185.0]]), "degrees")
    assert scores["r2_haversine"] == pytest.approx(1 - 50 / 200)
    assert scores["r2_longitude"] < 0


def test_r2_on_the_sphere_is_no_number_without_a_mean_position_or_without_a_spread():
    antipodes = np.array([[30.0, 20.0], [-30.0, -160.0]])
    assert np.isnan(score_positions(antipodes, antipodes, "degrees")["r2_haversine"])
    same = np.tile([[48.1, 11.3]], (5, 1))
    assert np.isnan(score_positions(same, same + 1, "degrees")["r2_haversine"])


def proximity(truth, predicted, places):
    """Proximity error, a pair at a time."""
    shares = []
    for row in range(len(truth)):
        own = great_circle(tuple(truth[row]), tuple(predicted[row])).km
        others = [place for place in places if place != row]
        nearer = [great_circle(tuple(truth[place]), tuple(predicted[row])).km < own for place in others]
        shares.append(sum(nearer) / len(others))
    return np.mean(shares)


@pytest.mark.parametrize("spread", [1.0, 30.0, 300.0])
def test_the_proximity_error_is_that_of_all_pairs(spread):
    truth, predicted = guesses(60, spread=spread)
    score = score_positions(truth, predicted, "degrees")["proximity_error"]
    assert score == pytest.approx(proximity(truth, on_the_sphere(predicted), range(60)), abs=1e-12)
    assert 0 < score < 1


def test_the_proximity_error_compares_with_evenly_spaced_places_where_there_are_many(monkeypatch):
    assert PLACES == 500
    monkeypatch.setattr(metrics, "PLACES", 11)
    truth, predicted = guesses(61, spread=20.0)
    score = score_positions(truth, predicted, "degrees")["proximity_error"]
    assert score == pytest.approx(proximity(truth, on_the_sphere(predicted), range(0, 61, 6)), abs=1e-12)


def test_the_proximity_error_of_more_images_than_are_compared_at_a_time():
    truth, predicted = guesses(700, spread=20.0)
    places = np.linspace(0, 699, 500).round().astype(int)
    a, b = vectors(on_the_sphere(predicted)), vectors(truth)
    angle = 2 * np.arcsin(np.linalg.norm(a[:, None] - b[None], axis=2) / 2)
    shares = [
        np.mean([angle[row, place] < angle[row, row] for place in places if place != row]) for row in range(len(truth))
    ]
    score = score_positions(truth, predicted, "degrees")["proximity_error"]
    assert score == pytest.approx(np.mean(shares), abs=1e-12)


def test_the_proximity_error_is_half_by_chance_and_one_at_the_antipode():
    truth, _ = guesses(400, seed=5)
    chance, _ = guesses(400, seed=6)
    assert score_positions(truth, chance, "degrees")["proximity_error"] == pytest.approx(0.5, abs=0.05)
    antipode = truth * [-1, 1] + [0, 180]
    assert score_positions(truth, antipode, "degrees")["proximity_error"] == 1.0


def test_a_place_that_is_as_far_as_the_true_position_is_not_nearer():
    truth = np.array([[12.3, 45.6], [12.3, 45.6], [12.3, 45.6], [-60.0, 100.0]])
    predicted = np.tile([[20.1, 33.3]], (4, 1))
    # only the last image has other places that are nearer: all three
    assert score_positions(truth, predicted, "degrees")["proximity_error"] == pytest.approx(0.25)


def test_the_shares_that_were_clipped_and_wrapped():
    truth = np.zeros((8, 2)) + np.arange(8)[:, None]
    latitude = [90.0, -90.0, 90.1, -90.1, 1000.0, 0.0, 0.0, 0.0]
    longitude = [-180.0, 179.9, 180.0, -180.1, 720.0, 0.0, 500.0, 0.0]
    scores = score_positions(truth, np.column_stack([latitude, longitude]), "degrees")
    assert (scores["clipped"], scores["wrapped"]) == (3 / 8, 4 / 8)
    radians = np.column_stack([np.radians(latitude), np.full(8, 50.0), np.full(8, -50.0)])
    scores = score_positions(truth, radians, "circular")
    assert (scores["clipped"], scores["wrapped"]) == (3 / 8, 0.0)
    scores = score_positions(truth, np.full((8, 3), 7.0), "sphere")
    assert (scores["clipped"], scores["wrapped"]) == (0.0, 0.0)

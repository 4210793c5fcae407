"""Correlation of coefficients between clusters: numpy's, planted pairs, and intervals over clusters."""

import itertools

import h5py
import numpy as np
import pytest
from sklearn.metrics import r2_score
from tiny_fits import Files

from geoprobe.analysis.correlation import (
    correlate,
    correlate_clusters,
    mean_over_pairs,
    relate_coefficients,
    top_dimensions,
)
from geoprobe.geodesy import draw_on_sphere

D = 200


def draw(m, shared, seed=0, d=D):
    """Coefficients of m clusters whose expected correlation is `shared`, shape (m, d, 2)."""
    generator = np.random.default_rng(seed)
    common, own = generator.normal(size=(1, d, 2)), generator.normal(size=(m, d, 2))
    return np.sqrt(shared) * common + np.sqrt(1 - shared) * own


def relate(coefficients, deviations=None, scores=None, shares=(1.0,), resamples=300):
    m, d = coefficients.shape[:2]
    deviations = np.ones((m, d)) if deviations is None else deviations
    scores = np.full(m, 0.5) if scores is None else scores
    pairs, summary = correlate_clusters(
        coefficients, deviations, scores, [str(name) for name in range(m)], shares, resamples, 1
    )
    return pairs, {(row["share"], row["scaled"], row["axis"]): row for row in summary}


@pytest.mark.parametrize("scaled", ["raw", "standardised"])
def test_pairs_are_numpys(scaled):
    coefficients, deviations = draw(5, 0.4), np.random.default_rng(9).uniform(0.1, 10, (5, D))
    pairs, summary = relate(coefficients, deviations)
    for axis, name in enumerate(("latitude", "longitude")):
        values = coefficients[:, :, axis] * (deviations if scaled == "standardised" else 1)
        expected = np.corrcoef(values)
        found = [row for row in pairs if (row["scaled"], row["axis"]) == (scaled, name)]
        assert len(found) == 10
        for row in found:
            assert row["correlation"] == pytest.approx(expected[int(row["cluster_a"]), int(row["cluster_b"])])
        of_all = summary[1.0, scaled, name]
        assert of_all["correlation"] == pytest.approx(expected[np.triu_indices(5, 1)].mean())
        assert (of_all["clusters"], of_all["pairs"], of_all["dimensions"]) == (5, 10, D)


def test_a_planted_pair_stands_out():
    coefficients = draw(4, 0.0)
    coefficients[3, :, 0] = 2 * coefficients[1, :, 0] + 7
    coefficients[2, :, 1] = -coefficients[0, :, 1]
    found = {
        (row["axis"], row["cluster_a"], row["cluster_b"]): row["correlation"]
        for row in relate(coefficients)[0]
        if row["scaled"] == "raw"
    }
    assert found.pop(("latitude", "1", "3")) == pytest.approx(1)
    assert found.pop(("longitude", "0", "2")) == pytest.approx(-1)
    assert max(map(abs, found.values())) < 0.3


def test_a_constant_vector_has_no_correlation_and_is_left_out_of_the_mean():
    vectors = np.random.default_rng(0).normal(size=(4, 30))
    vectors[2] = 0.1 + 0.2
    matrix = correlate(vectors)
    assert np.isnan(matrix[2]).all()
    kept = np.corrcoef(vectors[[0, 1, 3]])
    assert mean_over_pairs(matrix, np.ones((1, 4)))[0] == pytest.approx(kept[np.triu_indices(3, 1)].mean())


def test_resampled_means_are_those_of_the_written_out_pairs():
    matrix = np.corrcoef(draw(6, 0.5)[:, :, 0])
    weights = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=50).astype(float)
    for drawn, value in zip(weights.astype(int), mean_over_pairs(matrix, weights), strict=True):
        names = np.repeat(np.arange(6), drawn)
        pairs = [matrix[a, b] for a, b in itertools.combinations(names, 2) if a != b]
        assert value == pytest.approx(np.mean(pairs))


def test_the_interval_holds_the_mean_and_widens_with_fewer_clusters():
    generator = np.random.default_rng(4)
    widths = {}
    for m in (5, 12, 40):
        common, own = generator.normal(size=(1, D, 2)), generator.normal(size=(m, D, 2))
        share = np.linspace(0.1, 0.9, m)[:, None, None]
        row = relate(np.sqrt(share) * common + np.sqrt(1 - share) * own)[1][1.0, "raw", "latitude"]
        assert row["low"] < row["correlation"] < row["high"]
        widths[m] = row["high"] - row["low"]
    assert widths[5] > widths[12] > widths[40]


def test_the_interval_is_wider_than_one_of_pairs():
    coefficients = draw(30, 0.3)
    coefficients[:10] = np.random.default_rng(8).normal(size=(10, D, 2))
    row = relate(coefficients)[1][1.0, "raw", "latitude"]
    values = np.corrcoef(coefficients[:, :, 0])[np.triu_indices(30, 1)]
    of_pairs = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert row["high"] - row["low"] > 3 * of_pairs


def test_two_clusters_have_a_correlation_and_no_interval():
    row = relate(draw(2, 0.5))[1][1.0, "raw", "latitude"]
    assert np.isfinite(row["correlation"])
    assert np.isnan(row["low"])
    assert row["reason"] == "no interval from fewer than 3 clusters"


def test_dimensions_are_ranked_for_each_axis_apart_by_what_is_correlated():
    values = np.random.default_rng(0).normal(0, 0.1, (3, 10))
    values[:, [2, 7]] = [[5, -6], [-5, 6], [5, 6]]
    np.testing.assert_array_equal(top_dimensions(values, 0.2), [2, 7])
    coefficients = np.random.default_rng(1).normal(0, 0.1, (3, 10, 2))
    coefficients[:, :2, 0] += 4
    coefficients[:, 5:7, 1] += 4
    deviations = np.ones((3, 10))
    deviations[:, 8:] = 1000
    pairs, summary = relate(coefficients, deviations, shares=(0.2,))
    expected = {
        ("raw", "latitude"): coefficients[:, :2, 0],
        ("raw", "longitude"): coefficients[:, 5:7, 1],
        ("standardised", "latitude"): coefficients[:, 8:, 0],
        ("standardised", "longitude"): coefficients[:, 8:, 1],
    }
    for row in pairs:
        a, b = (expected[row["scaled"], row["axis"]][int(row[name])] for name in ("cluster_a", "cluster_b"))
        assert row["correlation"] == pytest.approx(np.sign((a[0] - a[1]) * (b[0] - b[1])))
    assert {row["dimensions"] for row in summary.values()} == {2}


def test_choosing_the_top_makes_no_correlation_out_of_unrelated_coefficients():
    coefficients = draw(30, 0.0, seed=2, d=400) * np.random.default_rng(6).exponential(size=(1, 400, 1))
    row = relate(coefficients, shares=(0.1,))[1][0.1, "raw", "latitude"]
    assert abs(row["correlation"]) < 0.03


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    generator = np.random.default_rng(0)
    positions, n = draw_on_sphere(180, generator), 180
    features = positions @ generator.normal(0, 0.05, (2, 8)) + generator.normal(0, 1, (n, 8))
    layers = {("vision", "cls", 0): features[:, ::-1], ("vision", "cls", 3): features}
    files = Files(tmp_path_factory.mktemp("correlation"), positions, layers, np.arange(n) % 4, np.arange(n) // 4 % 3)
    files.fit()
    return files


def test_files_give_the_mean_coefficients_and_scores_of_clusters_alone(files):
    pairs, summary = relate_coefficients(files.fits, ["random"], ["cls"], "last", [1.0, 0.5], 50, 1)
    with h5py.File(files.fits, "r") as file:
        means = np.array([file[f"vision/cls/3/{c}/degrees/random/none/coefficients"][:].mean(axis=0) for c in range(4)])
        deviations = np.array([file[f"deviations/vision/cls/3/{c}"][:] for c in range(4)])
    assert set(pairs["cluster_a"]) | set(pairs["cluster_b"]) == {"0", "1", "2", "3"}
    assert len(pairs) == 6 * 2 * 2 * 2
    keys = ["share", "scaled", "axis", "cluster_a", "cluster_b"]
    found = pairs.set_index(keys)["correlation"]
    expected = np.corrcoef(means[:, :, 1] * deviations)
    assert found[1.0, "standardised", "longitude", "0", "3"] == pytest.approx(expected[0, 3], abs=1e-5)
    members = files.members()
    scores = [
        r2_score(files.positions[members[str(c)]], files.predictions(("vision", "cls", 3), str(c))) for c in range(4)
    ]
    assert summary["r2"].to_numpy() == pytest.approx(np.mean(scores), abs=1e-5)
    assert set(summary["layer"]) == {3}
    assert (summary["r2_low"] <= summary["r2"]).all()


def test_an_impossible_cross_validation_has_a_reason(files):
    pairs, summary = relate_coefficients(files.fits, ["countries"], ["cls"], "last", [1.0], 50, 1)
    assert pairs.empty
    assert summary["reason"].tolist() == ["0 clusters were fitted, and a correlation is between two"]

"""Tables of clusters and sampling: closed forms of spreads, equal numbers, draws by ids and seed alone."""

import statistics

import numpy as np
import pandas as pd
import pytest
from geopy.distance import great_circle
from hypothesis import given, settings
from hypothesis import strategies as st

from geoprobe.clusters.sampling import match_clusters
from geoprobe.clusters.table import cluster_table, spread_km, summarise_clusters, typical_rows
from geoprobe.geodesy import EARTH_RADIUS_KM, draw_on_sphere

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
DEGREE_KM = np.pi * EARTH_RADIUS_KM / 180


def table(clusters, distances, names=("ice", "sand")):
    ids = [f"image {k}" for k in range(len(clusters))]
    return cluster_table(ids, np.array(clusters), np.array(distances), dict(enumerate(names)))


def test_the_table_has_a_row_an_image_with_its_clusters_name():
    frame = table([1, 0, -1], [0.5, 0.25, 0.1])
    assert frame.to_dict("list") == {
        "id": ["image 0", "image 1", "image 2"],
        "cluster": [1, 0, -1],
        "name": ["sand", "ice", "not sampled"],
        "distance": [0.5, 0.25, 0.1],
    }


def test_the_summary_counts_images_and_spreads_of_each_cluster():
    frame = table([0, 1, 0, 1, 0, 2], [1.0, 2.0, 3.0, 5.0, 8.0, 0.5], ["ice", "sand", "sea"])
    positions = np.array([(0, 1), (10, 20), (5, 4), (30, -20), (1, 9), (7, 7)], dtype=float)
    summary = summarise_clusters(frame, positions)
    assert summary["name"].tolist() == ["ice", "sand", "sea"]
    assert summary["images"].tolist() == [3, 2, 1]
    assert summary["distance"].tolist() == [4, 3.5, 0.5]
    for column, values in (
        ("latitude_variance", [(0, 5, 1), (10, 30)]),
        ("longitude_variance", [(1, 4, 9), (20, -20)]),
    ):
        assert summary[column].tolist()[:2] == pytest.approx([statistics.variance(map(float, row)) for row in values])
        assert np.isnan(summary[column][2])
    # of two positions both are half their distance from the mean
    half = great_circle((10, 20), (30, -20)).km / 2
    assert summary["spread_km"][1] == pytest.approx(half, rel=1e-6)
    assert summary["spread_km"][2] == pytest.approx(0, abs=1e-6)


def test_the_summary_accounts_for_images_that_were_not_sampled():
    summary = summarise_clusters(table([0, -1, 1, -1], [1.0, 2.0, 3.0, 4.0]), np.zeros((4, 2)))
    assert summary["cluster"].tolist() == [-1, 0, 1]
    assert summary["name"].tolist() == ["not sampled", "ice", "sand"]
    assert summary["images"].tolist() == [2, 1, 1]


def test_clusters_of_one_name_are_summarised_apart():
    summary = summarise_clusters(table([0, 1, 0], [1, 1, 1], ["ice", "ice"]), np.zeros((3, 2)))
    assert summary["images"].tolist() == [2, 1]
    assert summary["cluster"].tolist() == [0, 1]


# spread


@PROPERTY
@given(st.floats(-89, 89), st.floats(-180, 180), st.floats(1, 80))
def test_the_spread_of_a_ring_is_its_radius(latitude, longitude, radius):
    # north, south, east, west of a centre at the same distance
    bearings = np.radians([0, 90, 180, 270])
    c, phi = np.radians(radius), np.radians(latitude)
    phis = np.arcsin(np.sin(phi) * np.cos(c) + np.cos(phi) * np.sin(c) * np.cos(bearings))
    turns = np.arctan2(np.sin(bearings) * np.sin(c) * np.cos(phi), np.cos(c) - np.sin(phi) * np.sin(phis))
    ring = np.degrees(np.stack([phis, np.radians(longitude) + turns], axis=1))
    assert spread_km(ring) == pytest.approx(radius * DEGREE_KM, rel=1e-6)


def test_the_spread_crosses_the_antimeridian_and_the_pole():
    assert spread_km(np.array([[0, 179], [0, -179]])) == pytest.approx(DEGREE_KM)
    assert spread_km(np.array([[89, 0], [89, 180]])) == pytest.approx(DEGREE_KM)


def test_the_spread_is_the_median_so_that_one_far_image_does_not_make_it():
    near = np.column_stack([np.linspace(-1, 1, 101), np.zeros(101)])
    assert spread_km(np.vstack([near, [[0, 120]]])) < 2 * spread_km(near)


def test_the_spread_of_positions_all_over_the_globe_is_a_quarter_of_its_circumference():
    positions = draw_on_sphere(20_000, np.random.default_rng(0))
    assert spread_km(positions) == pytest.approx(90 * DEGREE_KM, rel=0.05)


def test_of_antipodes_there_is_no_spread():
    assert np.isnan(spread_km(np.array([[0, 0], [0, 180]])))


# typical images


def test_typical_images_are_the_nearest_to_the_centroid():
    frame = table([0, 1, 0, 0, 1, 0], [0.9, 0.1, 0.2, 0.7, 0.05, 0.2])
    assert typical_rows(frame, 0, 3).tolist() == [2, 5, 3]
    assert typical_rows(frame, 1, 9).tolist() == [4, 1]
    assert typical_rows(frame, 7, 3).tolist() == []


def test_typical_images_are_row_numbers_whatever_the_index():
    frame = table([0, 1, 0], [0.9, 0.1, 0.2]).set_index(pd.Index([30, 10, 20]))
    assert typical_rows(frame, 0, 2).tolist() == [2, 0]


# as many images from each


def ids_of(count):
    return [f"photo {number}" for number in range(count)]


@PROPERTY
@given(st.lists(st.integers(-1, 5), min_size=1, max_size=80).filter(lambda row: max(row) >= 0), st.integers(0, 99))
def test_matched_clusters_have_as_many_images_as_the_smallest_and_no_image_moves(clusters, seed):
    clusters = np.array(clusters)
    matched = match_clusters(ids_of(len(clusters)), clusters, "smallest", seed)
    sizes = np.bincount(clusters[clusters >= 0])
    np.testing.assert_array_equal(np.bincount(matched[matched >= 0])[sizes > 0], sizes[sizes > 0].min())
    assert ((matched == clusters) | (matched == -1)).all()


def test_a_cluster_with_too_few_images_is_left_out_whole_and_named(capsys):
    clusters = np.repeat([0, 1, 2, -1], [9, 3, 5, 2])
    matched = match_clusters(ids_of(19), clusters, 4, 1)
    assert {number: int((matched == number).sum()) for number in range(3)} == {0: 4, 1: 0, 2: 4}
    assert capsys.readouterr().out == "cluster 1: 3 images, fewer than clusters.matched.images (4); not sampled\n"


def test_where_no_cluster_is_large_enough_it_is_an_error():
    with pytest.raises(ValueError, match=r"images is 10, but the largest cluster has 9 images\. Ask for fewer, or for"):
        match_clusters(ids_of(12), np.repeat([0, 1], [9, 3]), 10, 1)


def test_the_draw_is_the_seeds_and_hangs_on_ids_not_on_order():
    clusters, ids = np.repeat([0, 1], [40, 12]), np.array(ids_of(52))
    matched = match_clusters(ids, clusters, "smallest", 1)
    np.testing.assert_array_equal(matched, match_clusters(ids, clusters, "smallest", 1))
    assert (matched != match_clusters(ids, clusters, "smallest", 2)).any()
    order = np.random.default_rng(0).permutation(52)
    np.testing.assert_array_equal(match_clusters(ids[order], clusters[order], "smallest", 1), matched[order])


def test_every_image_of_a_cluster_is_as_likely_to_be_drawn():
    clusters, draws = np.repeat([0, 1], [30, 10]), 200
    drawn = sum(match_clusters(ids_of(40), clusters, "smallest", seed) == 0 for seed in range(draws))[:30]
    # binomial with p = 1/3: five standard deviations
    assert np.abs(drawn - draws / 3).max() < 5 * np.sqrt(draws * (1 / 3) * (2 / 3))

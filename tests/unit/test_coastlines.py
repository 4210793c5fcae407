"""Coastlines: where the sea is known to meet the land, and nowhere else."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

from geoprobe.figures.coastlines import draw_coastlines, load_coastlines
from geoprobe.geodesy import great_circle_km

# The crude resolution keeps coasts within about 25 km.
CAPES = {
    "Cabo da Roca": (38.78, -9.50),
    "Cape Agulhas": (-34.83, 20.00),
    "Cape York": (-10.69, 142.53),
    "Cape Comorin": (8.08, 77.55),
    "Point Barrow": (71.39, -156.48),
    "Dakar": (14.75, -17.53),
    "Cape Byron": (-28.63, 153.64),
    "Cape Chelyuskin": (77.72, 104.25),
    "Cape Dezhnev": (66.08, -169.65),
    "Cape Reinga": (-34.42, 172.68),
}
ANTARCTICA = {"Cape Adare": (-71.28, 170.23), "Hope Bay": (-63.40, -57.00), "Cape Darnley": (-67.72, 69.50)}
# Continental poles of inaccessibility and their distance to the sea (Garcia-Castellanos and Lombardo 2007).
INLAND = {
    "Eurasia": (44.29, 82.19, 2510),
    "Africa": (5.65, 26.17, 1814),
    "North America": (43.36, -101.97, 1650),
    "South America": (-14.05, -56.85, 1504),
    "Australia": (-23.17, 132.27, 920),
}


@pytest.fixture(scope="module")
def lines():
    return load_coastlines()


@pytest.fixture(scope="module")
def points(lines):
    """Points along the lines a few kilometres apart, latitude and longitude."""
    dense = [np.linspace(a, b, 12) for line in lines for a, b in itertools.pairwise(line)]
    return np.concatenate(dense)[:, ::-1]


def distance(points, latitude, longitude):
    return great_circle_km(np.array([latitude, longitude]), points).min()


@pytest.mark.parametrize("name", CAPES)
def test_a_coast_runs_by_every_well_known_cape(points, name):
    assert distance(points, *CAPES[name]) < 30


@pytest.mark.parametrize("name", ANTARCTICA)
def test_antarctica_has_a_coast(points, name):
    assert distance(points, *ANTARCTICA[name]) < 150


@pytest.mark.parametrize("name", INLAND)
def test_the_points_farthest_inland_are_as_far_from_a_line_as_they_are_from_the_sea(points, name):
    latitude, longitude, kilometres = INLAND[name]
    assert distance(points, latitude, longitude) == pytest.approx(kilometres, rel=0.05)


def test_no_line_runs_through_the_open_sea(points):
    assert distance(points, -48.88, -123.39) > 2600  # Point Nemo, 2688 km from land
    assert distance(points, 0.0, -25.0) > 900


def test_no_line_runs_through_the_inside_of_antarctica(points):
    # the file parts the continent along 0 and 180 degrees, and closes it at the pole
    for longitude in (0.0, 90.0, 179.9):
        assert distance(points, -85.5, longitude) > 100


def test_longitudes_and_latitudes_are_degrees(lines):
    for line in lines:
        assert line.shape[1] == 2
        assert len(line) > 1
        assert (np.abs(line[:, 0]) <= 180).all()
        assert (np.abs(line[:, 1]) <= 90).all()


def test_no_segment_crosses_the_map_at_the_antimeridian(lines):
    assert max(np.abs(np.diff(line[:, 0])).max() for line in lines) < 180


def test_the_lines_reach_both_edges_of_the_map(points):
    assert points[:, 1].max() > 179
    assert points[:, 1].min() < -179


def test_lines_are_drawn_where_the_axes_place_their_radians(lines):
    _, axes = plt.subplots(subplot_kw={"projection": "mollweide"})
    draw_coastlines(axes)
    [collection] = axes.collections
    segments = collection.get_segments()
    assert len(segments) == len(lines)
    for segment, line in zip(segments, lines, strict=True):
        drawn, wanted = collection.get_transform().transform(segment), axes.transData.transform(np.radians(line))
        np.testing.assert_allclose(drawn, wanted, atol=1e-6)  # pixels

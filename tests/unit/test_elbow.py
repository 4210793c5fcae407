"""The elbow: closed forms of the farthest point from the chord, what leaves it in place, and its figure."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from geoprobe.clusters.kmeans import find_elbow
from geoprobe.figures.elbow import draw
from geoprobe.figures.style import PALETTE, save_figure

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
RISING = st.lists(st.integers(2, 400), min_size=3, max_size=20, unique=True).map(sorted)


@pytest.mark.parametrize(("low", "high", "step"), [(4, 36, 4), (4, 64, 4), (2, 50, 1), (9, 100, 1)])
def test_of_inertia_in_inverse_proportion_the_elbow_is_the_geometric_mean_of_the_ends(low, high, step):
    # the tangent of 1/k is parallel to the chord, slope -1 / (low high), where k^2 = low high
    counts = np.arange(low, high + 1, step)
    assert find_elbow(counts, 1 / counts) == math.isqrt(low * high)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_of_inertia_that_falls_exponentially_the_elbow_is_where_its_slope_is_the_chords(rate):
    counts = np.arange(2, 61)
    slope = (np.exp(-rate * 60) - np.exp(-rate * 2)) / 58
    assert find_elbow(counts, np.exp(-rate * counts)) == pytest.approx(-np.log(-slope / rate) / rate, abs=0.5)


@PROPERTY
@given(RISING, st.data())
def test_of_two_straight_pieces_the_elbow_is_where_they_meet(counts, data):
    corner = data.draw(st.integers(1, len(counts) - 2))
    x = np.array(counts, dtype=float)
    inertia = np.where(x <= x[corner], 100 - 9 * (x - x[corner]), 100 - 2 * (x - x[corner]))
    assert find_elbow(counts, inertia) == counts[corner]


@PROPERTY
@given(RISING, st.integers(0, 2**32 - 1), st.floats(1e-3, 1e6), st.floats(-1e3, 1e3), st.integers(1, 9))
def test_neither_the_unit_nor_the_origin_of_an_axis_moves_the_elbow(counts, seed, scale, shift, factor):
    inertia = np.sort(np.random.default_rng(seed).uniform(0, 10, len(counts)))[::-1]
    depths = np.sort(depths_below_the_chord(counts, inertia))
    assume(depths[-1] - depths[-2] > 1e-6)  # one point is clearly the farthest
    elbow = find_elbow(counts, inertia)
    assert find_elbow(counts, scale * inertia + shift) == elbow
    assert find_elbow(factor * np.array(counts), inertia) == factor * elbow


def depths_below_the_chord(counts, inertia):
    """Perpendicular distance from the chord in the unit square, positive below it, by the cross product."""
    x = (np.array(counts) - counts[0]) / (counts[-1] - counts[0])
    y = (inertia - inertia.min()) / (inertia.max() - inertia.min())
    chord = np.array([1.0, -1.0]) / math.sqrt(2)
    return np.array([(b - 1) * chord[0] - a * chord[1] for a, b in zip(x, y, strict=True)]) * -1


@PROPERTY
@given(RISING, st.integers(0, 2**32 - 1))
def test_the_elbow_is_the_point_farthest_below_the_chord(counts, seed):
    inertia = np.sort(np.random.default_rng(seed).uniform(0, 10, len(counts)))[::-1]
    depths = depths_below_the_chord(counts, inertia)
    assert depths[counts.index(find_elbow(counts, inertia))] == pytest.approx(depths.max(), abs=1e-9)


@pytest.mark.parametrize("inertia", [[5, 4, 3, 2], [5, 5, 5, 5], [0, 0, 0, 0], [2, 3, 4, 5]])
def test_where_nothing_bends_the_fewest_clusters_are_chosen(inertia):
    assert find_elbow([2, 4, 6, 8], inertia) == 2


# the figure


@pytest.fixture
def curve():
    counts = np.arange(4, 61, 4)
    return pd.DataFrame({"k": counts, "inertia": 9000.5 / counts, "chosen": counts == 16})


def test_the_figure_shows_the_curve_its_chord_and_the_chosen_number(curve):
    (axes,) = draw(curve).axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["k-means"].get_xydata(), curve[["k", "inertia"]])
    np.testing.assert_array_equal(lines["chord"].get_xydata(), [[4, 9000.5 / 4], [60, 9000.5 / 60]])
    np.testing.assert_array_equal(lines["chosen: 16 clusters"].get_xydata(), [[16, 9000.5 / 16]])
    (mark,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert set(mark.get_xdata()) == {16}
    assert axes.get_xlabel() == "Number of clusters"
    assert axes.get_ylabel() == "Inertia (sum of squared distances)"
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["chord", "k-means", "chosen: 16 clusters"]
    plt.close("all")


def test_the_figure_is_written_as_a_picture_with_the_mark_and_as_pdf(curve, tmp_path):
    # as a job reads it
    curve.to_csv(tmp_path / "elbow.csv", index=False)
    paths = [tmp_path / "elbow.png", tmp_path / "elbow.pdf"]
    save_figure(draw(pd.read_csv(tmp_path / "elbow.csv")), paths, 100)
    colour = tuple(int(PALETTE[3][start : start + 2], 16) for start in (1, 3, 5))
    with Image.open(paths[0]) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels == colour).all(axis=2).sum() > 20
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert plt.get_fignums() == []

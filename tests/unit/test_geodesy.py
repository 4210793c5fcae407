"""Positions on the sphere against geopy, pyproj and scipy, and by their properties."""

import geopy.distance
import numpy as np
import pyproj
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from geoprobe.geodesy import (
    EARTH_RADIUS_KM,
    azimuthal_positions,
    block_of,
    check_positions,
    draw_on_sphere,
    from_sphere,
    great_circle_km,
    to_sphere,
    wrap_longitude,
)

TO_GEOPY = EARTH_RADIUS_KM / geopy.distance.EARTH_RADIUS
PROPERTY = settings(max_examples=200, deadline=None, derandomize=True, database=None)
# Multiples of 1/64 degree: whole turns and halves can be added without rounding.
POSITION = st.tuples(st.integers(-90 * 64, 90 * 64), st.integers(-180 * 64, 180 * 64)).map(
    lambda steps: (steps[0] / 64, steps[1] / 64)
)
CENTRES = {
    "north pole": (90, 0),
    "north pole, turned": (90, 130),
    "south pole": (-90, 0),
    "south pole, turned": (-90, -75),
    "beside a pole": (89.7, 20),
    "antimeridian": (10, 180),
    "west of the antimeridian": (-17, 179.6),
    "east of the antimeridian": (66, -179.8),
    "Greenwich": (0, 0),
    "mid-latitude": (47.3, 8.5),
    "south": (-54.8, -68.3),
}
DEGREES = [1, 2.5, 5, 7, 10, 30, 45]


def oracle_km(a, b):
    """Great-circle distances by geopy, on our radius."""
    return np.array([geopy.distance.great_circle(p, q).km * TO_GEOPY for p, q in zip(a, b, strict=True)])


def random_positions(count, seed=0):
    generator = np.random.default_rng(seed)
    return np.column_stack([generator.uniform(-90, 90, count), generator.uniform(-180, 180, count)])


def projected(centre, x_km, y_km):
    """Positions by pyproj."""
    projection = pyproj.Proj(proj="aeqd", lat_0=centre[0], lon_0=centre[1], R=EARTH_RADIUS_KM * 1000)
    longitude, latitude = projection(x_km * 1000, y_km * 1000, inverse=True)
    return np.column_stack([latitude, longitude])


def cells_by_band(degrees):
    """Block numbers met along the middle of each band of latitude, from south to north, and the bands' edges."""
    bands = round(180 / degrees)
    edges = np.linspace(-90, 90, bands + 1)
    longitudes = np.arange(-180, 180, 0.05) + 0.013
    middles = (edges[:-1] + edges[1:]) / 2
    return [block_of(np.column_stack([np.full_like(longitudes, at), longitudes]), degrees) for at in middles], edges


# distances


def test_distances_are_those_of_geopy():
    a, b = random_positions(1000, 1), random_positions(1000, 2)
    np.testing.assert_allclose(great_circle_km(a, b), oracle_km(a, b), rtol=1e-9, atol=1e-6)


def test_small_distances_are_those_of_geopy():
    a = random_positions(300, 3) * [0.99, 1]
    b = a + np.random.default_rng(4).uniform(-1e-5, 1e-5, a.shape)
    np.testing.assert_allclose(great_circle_km(a, b), oracle_km(a, b), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "turns"),
    [
        ((0, 0), (0, 1), 1 / 360),
        ((0, 179.5), (0, -179.5), 1 / 360),
        ((90, 0), (-90, 0), 1 / 2),
        ((90, -170), (90, 35), 0),
        ((30, 12), (-30, -168), 1 / 2),
        ((0, 10), (90, 77), 1 / 4),
    ],
)
def test_distance_is_the_arc_times_the_circumference(a, b, turns):
    expected = turns * 2 * np.pi * 6371.0088
    assert great_circle_km(np.array(a), np.array(b)) == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_distances_broadcast():
    a, b = random_positions(4, 5), random_positions(3, 6)
    table = great_circle_km(a[:, None], b[None])
    assert table.shape == (4, 3)
    for row in range(4):
        np.testing.assert_array_equal(table[row], great_circle_km(a[row], b))


@PROPERTY
@given(POSITION, POSITION, st.integers(-2, 2))
def test_distance_is_symmetric_and_periodic_in_longitude(a, b, turns):
    a, b = np.array(a), np.array(b)
    assert great_circle_km(a, b) == great_circle_km(b, a)
    assert great_circle_km(a, b + np.array([0, 360 * turns])) == pytest.approx(great_circle_km(a, b), abs=1e-3)


@PROPERTY
@given(POSITION, POSITION, POSITION)
def test_no_detour_is_shorter(a, b, c):
    a, b, c = np.array(a), np.array(b), np.array(c)
    assert great_circle_km(a, c) <= great_circle_km(a, b) + great_circle_km(b, c) + 1e-3


@pytest.mark.parametrize("bad", [(90.5, 0), (np.nan, 0), (0, np.nan), (0, np.inf)])
@pytest.mark.parametrize("argument", ["a", "b"])
def test_a_distance_from_nowhere_is_refused_with_its_row(argument, bad):
    good = random_positions(4, 7)
    wrong = good.copy()
    wrong[2] = bad
    points = {"a": good, "b": good, argument: wrong}
    with pytest.raises(ValueError, match=f"great_circle_km: {argument}, row 2"):
        great_circle_km(**points)


# coordinates that can be none


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((142.7, 35.7), r"row 3: latitude 142\.7 is outside \[-90, 90\] \(longitude 35\.7\)\. Are the .* swapped"),
        ((-90.01, 0), r"row 3: latitude -90\.01 is outside"),
        ((10, 200.5), r"row 3: longitude 200\.5 is outside \[-180, 180\].*Subtract 360"),
        ((np.nan, 5), "row 3: latitude nan, longitude 5.0: a coordinate is missing"),
        ((5, np.nan), "row 3: latitude 5.0, longitude nan: a coordinate is missing"),
        ((np.inf, 5), "row 3: .*a coordinate is missing"),
    ],
)  # fmt: skip
def test_a_bad_coordinate_is_named_with_its_origin_row_and_fix(bad, says):
    positions = random_positions(6, 8)
    positions[3] = bad
    with pytest.raises(ValueError, match=f"^photos.csv, {says}"):
        check_positions(positions, origin="photos.csv")


def test_the_first_bad_row_is_the_one_named():
    with pytest.raises(ValueError, match="row 1: latitude 91"):
        check_positions([(0, 0), (91, 0), (92, 0)])


def test_the_limits_of_latitude_and_longitude_are_allowed():
    check_positions([(90, 180), (-90, -180), (0, 0)])


def test_a_table_without_rows_has_no_bad_row():
    check_positions(np.empty((0, 2)))


# unit vectors


def test_axes_point_where_they_should():
    corners = np.array([(0, 0), (0, 90), (90, 0), (0, 180), (-90, 0), (0, -90)])
    expected = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, 0, -1), (0, -1, 0)]
    np.testing.assert_allclose(to_sphere(corners), expected, atol=1e-15)


@PROPERTY
@given(POSITION, st.floats(1e-3, 1e3))
def test_positions_come_back_from_vectors_of_any_length(position, length):
    vector = to_sphere(np.array(position))
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-14)
    latitude, longitude = from_sphere(length * vector)
    assert latitude == pytest.approx(position[0], abs=1e-6)
    if abs(position[0]) < 90:
        turn = (longitude - position[1] + 180) % 360 - 180
        assert abs(turn) * np.cos(np.radians(position[0])) < 1e-9


def test_the_angle_between_vectors_is_the_distance_by_geopy():
    a, b = random_positions(300, 9), random_positions(300, 10)
    cosine = (to_sphere(a) * to_sphere(b)).sum(axis=1)
    np.testing.assert_allclose(np.arccos(cosine) * EARTH_RADIUS_KM, oracle_km(a, b), rtol=1e-7, atol=1e-2)


def test_any_leading_shape_is_kept():
    positions = random_positions(24, 11).reshape(2, 3, 4, 2)
    assert to_sphere(positions).shape == (2, 3, 4, 3)
    assert from_sphere(to_sphere(positions)).shape == positions.shape


# longitudes


@settings(PROPERTY, max_examples=500)
@given(st.floats(-1e4, 1e4))
@example(180.0)
@example(-180.0)
@example(np.nextafter(180.0, 0))
@example(np.nextafter(-180.0, -1000))
@example(-1e-300)
def test_a_wrapped_longitude_lies_in_its_range_and_is_the_same_meridian(longitude):
    wrapped = float(wrap_longitude(longitude))
    assert -180 <= wrapped < 180
    turns = (wrapped - longitude) / 360
    assert turns == pytest.approx(round(turns), abs=1e-10)


def test_a_longitude_in_range_is_left_as_it_is():
    longitudes = np.arange(-180, 180, 0.125)
    np.testing.assert_array_equal(wrap_longitude(longitudes), longitudes)


# draws


@pytest.fixture(scope="module")
def drawn():
    return draw_on_sphere(20_000, np.random.default_rng(12))


def test_draws_are_uniform_by_area(drawn):
    heights = np.sin(np.radians(drawn[:, 0]))
    assert stats.kstest(heights, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert stats.kstest(drawn[:, 1], stats.uniform(-180, 360).cdf).pvalue > 1e-3
    assert stats.spearmanr(heights, drawn[:, 1]).pvalue > 1e-3


def test_draws_have_no_preferred_direction(drawn):
    # of n uniform unit vectors, 3 n |mean|^2 is chi-squared with 3 degrees of freedom (Rayleigh)
    mean = to_sphere(drawn).mean(axis=0)
    assert stats.chi2(3).sf(3 * len(drawn) * (mean**2).sum()) > 1e-3


def test_draws_are_the_generators():
    first, again, other = (draw_on_sphere(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    check_positions(first)


# the azimuthal equidistant projection


@pytest.mark.parametrize("reach_km", [5, 300, 8000])
@pytest.mark.parametrize("name", CENTRES)
def test_projected_positions_are_those_of_pyproj(name, reach_km):
    x, y = np.random.default_rng(13).uniform(-reach_km, reach_km, (2, 200))
    ours = azimuthal_positions(np.array([CENTRES[name]], dtype=float), x, y)[0]
    theirs = projected(CENTRES[name], x, y)
    assert oracle_km(ours, theirs).max() < 1e-4
    assert (np.abs(ours[:, 0]) <= 90).all()
    assert ((ours[:, 1] >= -180) & (ours[:, 1] < 180)).all()


@pytest.mark.parametrize("name", CENTRES)
def test_a_projected_point_lies_at_its_distance_from_the_centre(name):
    x, y = np.random.default_rng(14).uniform(-2000, 2000, (2, 100))
    points = azimuthal_positions(np.array([CENTRES[name]], dtype=float), x, y)[0]
    np.testing.assert_allclose(oracle_km(points, [CENTRES[name]] * 100), np.hypot(x, y), rtol=1e-8)


def test_many_centres_are_projected_as_each_alone():
    centres = np.array(list(CENTRES.values()), dtype=float)
    x, y = np.random.default_rng(15).uniform(-500, 500, (2, 7))
    together = azimuthal_positions(centres, x, y)
    assert together.shape == (len(centres), 7, 2)
    for row, centre in enumerate(centres):
        np.testing.assert_array_equal(together[row], azimuthal_positions(centre[None], x, y)[0])


@pytest.mark.parametrize("name", CENTRES)
def test_the_centre_projects_to_itself(name):
    centre = np.array([CENTRES[name]], dtype=float)
    point = azimuthal_positions(centre, np.zeros(1), np.zeros(1))[0]
    assert oracle_km(point, centre)[0] < 1e-6


# blocks


@pytest.mark.parametrize("degrees", DEGREES)
def test_cells_have_about_the_same_area(degrees):
    bands, edges = cells_by_band(degrees)
    zones = np.diff(np.sin(np.radians(edges)))
    areas = np.array([zone / len(set(cells)) for zone, cells in zip(zones, bands, strict=True)])
    assert areas.max() / areas.min() < 1.15


@pytest.mark.parametrize("degrees", DEGREES)
def test_cells_are_numbered_without_a_gap_from_the_south_west(degrees):
    bands, _ = cells_by_band(degrees)
    rows = np.concatenate(bands)
    assert rows[0] == 0
    assert set(np.diff(rows)) <= {0, 1}
    assert block_of(np.array([(-90.0, -180.0)]), degrees)[0] == 0
    assert block_of(np.array([(90.0, 179.999)]), degrees)[0] == rows[-1]


@pytest.mark.parametrize("degrees", DEGREES)
def test_cells_of_a_band_are_equally_wide_and_as_wide_as_the_band_is_high(degrees):
    bands, edges = cells_by_band(degrees)
    height = edges[1] - edges[0]
    for cells, low in zip(bands, edges, strict=False):
        _, counts = np.unique(cells, return_counts=True)
        assert np.ptp(counts) <= 1
        width = counts.mean() * 0.05 * np.cos(np.radians(low + height / 2))
        assert width == pytest.approx(height, rel=0.15)


@PROPERTY
@given(POSITION, st.sampled_from(DEGREES), st.integers(-2, 2))
def test_whole_turns_do_not_change_the_block(position, degrees, turns):
    here = np.array([position])
    assert block_of(here, degrees) == block_of(here + np.array([0, 360 * turns]), degrees)


@pytest.mark.parametrize("degrees", DEGREES)
def test_both_names_of_the_antimeridian_are_one_block_and_its_sides_are_two(degrees):
    latitudes = np.linspace(-80, 80, 33) + 0.01
    named = [block_of(np.column_stack([latitudes, np.full(33, lon)]), degrees) for lon in (-180.0, 180.0)]
    west = block_of(np.column_stack([latitudes, np.full(33, 179.999)]), degrees)
    np.testing.assert_array_equal(*named)
    assert (west != named[0]).all()


@PROPERTY
@given(st.lists(POSITION, min_size=1, max_size=20), st.sampled_from(DEGREES), st.randoms(use_true_random=False))
def test_a_block_hangs_on_the_position_alone(positions, degrees, random):
    together = block_of(np.array(positions), degrees)
    order = random.sample(range(len(positions)), len(positions))
    np.testing.assert_array_equal(block_of(np.array(positions)[order], degrees), together[order])
    alone = [block_of(np.array([position]), degrees)[0] for position in positions]
    np.testing.assert_array_equal(together, alone)


@PROPERTY
@given(POSITION, POSITION, st.sampled_from(DEGREES))
def test_positions_of_one_block_are_near_each_other(a, b, degrees):
    a, b = np.array([a]), np.array([b])
    height = 180 / round(180 / degrees)
    far = great_circle_km(a, b)[0] > 3.2 * np.radians(height) * EARTH_RADIUS_KM
    assert not (far and block_of(a, degrees) == block_of(b, degrees))

"""Errors by group: hand-computed medians and biases, counts that add up, resampled medians written out."""

import h5py
import numpy as np
import pytest
from geopy.distance import great_circle
from tiny_fits import Files

from geoprobe.analysis.fairness import (
    COLUMNS,
    count_neighbours,
    density_thirds,
    image_countries,
    resampled_medians,
    score_fairness,
    score_group,
)
from geoprobe.geodesy import EARTH_RADIUS_KM, draw_on_sphere, to_sphere

WHERE = ("vision", "cls", 2)
DEGREE = np.radians(1) * EARTH_RADIUS_KM


@pytest.fixture
def files(tmp_path):
    """Twelve images; three in Kenya are placed 1 degree too far north, five in Brazil 10 too far east."""
    positions = np.array(
        [[0.0, 37.0], [0.2, 37.0], [0.4, 37.0]]
        + [[-60.0, -50.0 + step] for step in range(5)]
        + [[50.0, 2.0], [50.0, 3.0], [10.0, 179.0], [0.0, -120.0]]
    )
    cells = ["KE/a/b"] * 3 + ["BR/a/*"] * 5 + ["FR/*", "DE/*", "FJ/*", "/*"]
    names = ["Kenya"] * 3 + ["Brazil"] * 5 + ["France", "Germany", "Fiji", ""]
    features = {WHERE: np.zeros((12, 2))}
    files = Files(tmp_path, positions, features, np.zeros(12), np.arange(12) % 3, countries=names, geocells=cells)
    files.fit()
    predicted = positions.copy()
    predicted[:3, 0] += 1
    predicted[3:8, 1] += 10
    predicted[8:10] += [[2.0, 0.0], [-2.0, 0.0]]
    predicted[10, 1] = -177.0  # across the antimeridian
    files.predicted = predicted
    write(files, predicted)
    return files


def write(files, predicted, target="degrees"):
    with h5py.File(files.fits, "r+") as file:
        for cv in ("random", "blocked"):
            place = f"vision/cls/2/all/{target}/{cv}/none/predictions"
            file.pop(place, None)
            file[place] = predicted


def run(files, target="degrees", cvs=("random",)):
    frame = score_fairness(files.fits, files.store, files.fold_table, target, cvs, ["cls"], "last", 50, 5)
    assert list(frame.columns) == COLUMNS
    return frame


def test_errors_of_each_continent_are_those_computed_by_hand(files):
    found = run(files).set_index(["by", "group"])
    africa, america = found.loc[("continent", "Africa")], found.loc[("continent", "South America")]
    europe, oceania = found.loc[("continent", "Europe")], found.loc[("continent", "Oceania")]
    assert africa["median_km"] == pytest.approx(DEGREE, rel=1e-6)
    assert (africa["north_km"], africa["east_km"]) == pytest.approx((DEGREE, 0))
    assert america["median_km"] == pytest.approx(great_circle((-60, 0), (-60, 10), radius=EARTH_RADIUS_KM).km)
    assert (america["north_km"], america["east_km"]) == pytest.approx((0, 10 * DEGREE * 0.5))
    assert america["bias_km"] == pytest.approx(5 * DEGREE)
    assert (europe["median_km"], europe["north_km"], europe["bias_km"]) == pytest.approx((2 * DEGREE, 0, 0), abs=1e-9)
    assert oceania["east_km"] == pytest.approx(4 * DEGREE * np.cos(np.radians(10)))
    assert (africa["countries"], europe["countries"], america["countries"]) == (1, 2, 1)
    assert found.loc[("continent", "unknown"), "median_km"] == 0


def test_shares_and_geoscores_follow_from_the_distances(files):
    found = run(files).set_index(["by", "group"])
    distances = [
        great_circle(*pair, radius=EARTH_RADIUS_KM).km for pair in zip(files.positions, files.predicted, strict=True)
    ]
    row = found.loc[("all", "all")]
    assert row["within_750km"] == pytest.approx(np.mean(np.array(distances) <= 750))
    assert row["geoscore"] == pytest.approx(np.mean(5000 * np.exp(-np.array(distances) / 1492.7)), rel=1e-6)
    assert row["median_km"] == pytest.approx(np.median(distances))


def test_the_groups_of_each_kind_add_up_to_all_images_that_were_predicted(files):
    predicted = files.predicted.copy()
    predicted[[0, 11]] = np.nan
    write(files, predicted)
    sums = run(files, cvs=("random", "blocked")).groupby(["cv", "by"])["images"].sum()
    assert sums.to_dict() == {(cv, by): 10 for cv in ("random", "blocked") for by in ("all", "continent", "density")}
    groups = run(files)
    assert "unknown" not in set(groups["group"])  # its only image was not predicted
    assert groups[groups["by"] == "continent"]["images"].is_monotonic_decreasing


def test_on_the_sphere_the_position_is_the_direction_of_the_vector(files):
    with h5py.File(files.fits, "r+") as file:
        file.move("vision/cls/2/all/degrees", "vision/cls/2/all/sphere")
    write(files, 0.3 * to_sphere(files.predicted), "sphere")
    row = run(files, "sphere").set_index("group").loc["Africa"]
    assert row["north_km"] == pytest.approx(DEGREE, rel=1e-5)


def test_an_impossible_cross_validation_has_its_reason(files):
    [row] = run(files, cvs=("countries",)).to_dict("records")
    assert (row["images"], row["reason"]) == (0, "all images are of one country")


def test_fits_of_images_in_another_order_are_refused(files):
    files.swap_ids()
    with pytest.raises(ValueError, match="the probes are of other images than the image store"):
        run(files)


def test_neighbours_are_counted_on_the_great_circle():
    positions = draw_on_sphere(60, np.random.default_rng(0))
    positions[:20] = [[88.0, -180 + 18 * k] for k in range(20)]  # around the pole
    positions[20:23] = [[10, 179.5], [10, -179.5], [10, 178.0]]
    expected = [sum(great_circle(a, b, radius=EARTH_RADIUS_KM).km <= 250 for b in positions) - 1 for a in positions]
    assert count_neighbours(positions).tolist() == expected
    assert expected[20] >= 2


def test_thirds_are_by_neighbours_and_ties_stay_together():
    assert density_thirds(np.arange(9)).tolist() == ["sparse"] * 3 + ["middle"] * 3 + ["dense"] * 3
    tied = density_thirds(np.array([0, 0, 0, 0, 0, 0, 5, 5, 9]))
    assert tied.tolist() == ["sparse"] * 6 + ["dense"] * 3
    assert density_thirds(np.array([4, 4, 1, 4])).tolist() == ["middle", "middle", "sparse", "middle"]
    assert density_thirds(np.zeros(4)).tolist() == ["middle"] * 4


def test_the_density_of_a_group_is_its_median_number_of_neighbours(files):
    found = run(files).set_index("group")
    assert found.loc["Africa", "neighbours"] == 2
    assert found.loc["Europe", "neighbours"] == 1
    assert [found.loc[name, "neighbours"] for name in ("sparse", "middle", "dense")] == [0.5, 2, 4]


@pytest.mark.parametrize("n", [1, 7, 40])
def test_resampled_medians_are_those_of_the_values_written_out(n):
    generator = np.random.default_rng(n)
    values, units = generator.exponential(size=n), generator.integers(6, size=n) * 3
    numbers, index = np.unique(units, return_inverse=True)
    counts = np.random.default_rng(5).multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=80)
    expected = [np.median(np.repeat(values, drawn[index])) for drawn in counts]
    np.testing.assert_allclose(resampled_medians(values, units, 80, 5), expected)


def test_the_interval_of_the_median_widens_where_images_share_a_block():
    generator = np.random.default_rng(0)
    block = np.arange(300) // 30
    truth = np.zeros((300, 2))
    at = np.column_stack([np.abs(generator.normal(0, 1, 300)) + 5 * generator.random(10)[block], np.zeros(300)])
    arguments = (truth, at, ["FR"] * 300, np.zeros(300))
    alone, together = (score_group(*arguments, units, 400, 1) for units in (np.arange(300), block))
    assert together["low"] < alone["low"] < alone["median_km"] < alone["high"] < together["high"]
    assert (alone["units"], together["units"]) == (300, 10)


def test_the_country_is_that_of_the_geocell_or_else_of_the_name():
    codes = image_countries(["Russian Federation", "Kenya", "", "Congo"], ["RU/a/b", "cell 1", "/*", "CG/*"])
    assert codes.tolist() == ["RU", "KE", "", "CG"]

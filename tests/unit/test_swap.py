"""Whether latitude and longitude are exchanged: real towns, moved a little, in both orders."""

import numpy as np
import pytest
from real_towns import on_the_diagonal, towns

from geoprobe.images.swap import detect_swap

PLACES = {
    "the whole Earth": {},
    "Europe": {"countries": ["FR", "DE", "IT", "ES", "GB", "PL", "NO", "SE"]},
    "Africa": {"countries": ["NG", "KE", "TZ", "ZA", "EG", "ET"]},
    "South America": {"countries": ["BR", "AR", "CL", "PE"]},
    "eastern North America": {"where": lambda frame: frame["country_code"].eq("US") & (frame["longitude"] > -90)},
    "western hemisphere, no value above 90": {"where": lambda frame: frame["longitude"].between(-90, 0)},
    "southern hemisphere, no value above 90": {
        "where": lambda frame: (frame["latitude"] < 0) & (frame["longitude"].abs() < 90)
    },
    "India": {"countries": ["IN"]},
    "Turkey": {"countries": ["TR"]},
    "Japan": {"countries": ["JP"]},
    "Iceland": {"countries": ["IS"]},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("count", [40, 3000])
def test_real_towns_are_told_in_either_order(place, count):
    positions, _ = towns(count, **PLACES[place])
    assert not detect_swap(positions[:, 0], positions[:, 1])
    assert detect_swap(positions[:, 1], positions[:, 0])


def test_what_cannot_be_told_is_an_error_with_both_medians_and_the_way_out():
    positions, _ = on_the_diagonal(200)
    with pytest.raises(
        ValueError, match=r"^list\.csv: .* is \d+\.\d km as they are named and \d+\.\d km exchanged"
    ) as caught:
        detect_swap(positions[:, 0], positions[:, 1], origin="list.csv")
    assert "`swapped: true` or `swapped: false`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_few_rows_for_which_nothing_is_clear_are_taken_as_they_are():
    positions, _ = on_the_diagonal(20)
    assert not detect_swap(positions[:, 0], positions[:, 1])
    assert not detect_swap(positions[:, 1], positions[:, 0])


def test_declared_countries_tell_what_distances_do_not():
    positions, frame = towns(400, where=lambda frame: (frame["latitude"] - frame["longitude"]).abs().between(1, 2))
    with pytest.raises(ValueError, match="cannot be told"):
        detect_swap(positions[:, 0], positions[:, 1])
    countries = frame["country_code"].to_numpy(str)
    countries[300:] = ""
    for written in (countries, np.char.lower(countries)):
        assert not detect_swap(positions[:, 0], positions[:, 1], written)
        assert detect_swap(positions[:, 1], positions[:, 0], written)


def test_a_typing_error_does_not_turn_a_table_round():
    positions, _ = towns(500, countries=["FR", "DE", "IT"])
    positions[3, 0] = 142.7
    assert not detect_swap(positions[:, 0], positions[:, 1])
    assert detect_swap(positions[:, 1], positions[:, 0])


def test_a_table_with_impossible_values_in_both_columns_is_told_by_the_rest():
    positions, _ = towns(1000)
    positions[::30, 0] += 100
    assert not detect_swap(positions[:, 0], positions[:, 1])
    assert detect_swap(positions[:, 1], positions[:, 0])


@pytest.mark.parametrize("countries", [["JP"], ["FR"]])
def test_rows_without_a_position_say_nothing(countries):
    positions, _ = towns(100, countries=countries)
    nothing = [(0, 0), (np.nan, 5), (5, np.nan), (np.inf, 5), (5, 360), (1e9, 1e9)]
    positions = np.vstack([positions, np.repeat(nothing, 300, axis=0)])
    assert not detect_swap(positions[:, 0], positions[:, 1])
    assert detect_swap(positions[:, 1], positions[:, 0])
    assert not detect_swap(*np.array(nothing).T)
    assert not detect_swap([], [])

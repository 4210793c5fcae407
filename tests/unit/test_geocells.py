"""Merging units into geocells and capping them: by hand, and by what must hold for any units."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from geoprobe.images.gazetteer import load_towns
from geoprobe.images.geocells import cap_geocells, merge_units

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True, database=None)
NAMES = ["country_code", "region", "district"]
UNIT = st.tuples(st.sampled_from(["FR", "DE", "NA"]), st.sampled_from(["", "Nord", "Süd"]), st.sampled_from("abcd"))
UNITS = st.lists(UNIT, min_size=1, max_size=80)
CELLS = st.lists(st.sampled_from(["FR/*", "DE/Süd/a", "NA//x"]), max_size=60)


def merged(units, minimum):
    return merge_units(pd.DataFrame(units, columns=NAMES), minimum).tolist()


def capped(cells, maximum, seed=0):
    return cap_geocells(range(len(cells)), np.array(cells, dtype=object), maximum, seed)


def test_small_units_are_merged_within_their_region_and_then_within_their_country():
    units = [
        *[("FR", "Paris", "Centre")] * 3,  # large enough alone
        ("FR", "Paris", "Versailles"),  # these two are merged within the region
        ("FR", "Paris", "Évry"),
        ("FR", "Riviera", "Nice"),  # these two are each alone in a region: merged within the country
        ("FR", "Corsica", "Ajaccio"),
        *[("DE", "Bavaria", "Munich")] * 2,
        ("DE", "Saxony", "Leipzig"),  # the rest of a country stays small
        ("AQ", "", ""),  # a whole country below the minimum
    ]
    assert merged(units, 2) == [
        *["FR/Paris/Centre"] * 3,
        *["FR/Paris/*"] * 2,
        *["FR/*"] * 2,
        *["DE/Bavaria/Munich"] * 2,
        "DE/*",
        "AQ/*",
    ]


def test_what_is_merged_within_a_region_and_still_too_small_goes_to_the_country():
    units = [("FR", "Paris", "a"), ("FR", "Paris", "b"), ("FR", "Nord", "c"), *[("FR", "Sud", "d")] * 3]
    assert merged(units, 3) == ["FR/*", "FR/*", "FR/*", *["FR/Sud/d"] * 3]


def test_regions_of_one_name_in_two_countries_are_two():
    assert len(set(merged([("AR", "Central", "a"), ("GH", "Central", "a")], 1))) == 2


def test_no_two_units_of_the_gazetteer_share_a_geocell_of_their_own():
    # names do hold slashes: Biel/Bienne, Zanzibar Urban/West
    units = load_towns()[NAMES].drop_duplicates()
    assert len(set(merge_units(units, 1))) == len(units)


@PROPERTY
@given(UNITS, st.integers(1, 8))
def test_a_geocell_holds_the_minimum_unless_it_is_what_remains_of_a_country(units, minimum):
    cells = merged(units, minimum)
    for cell, count in Counter(cells).items():
        assert count >= minimum or cell.count("/") == 1
        assert count >= minimum or cell.endswith("/*")


@PROPERTY
@given(UNITS, st.integers(1, 8))
def test_a_geocell_never_crosses_a_country(units, minimum):
    for unit, cell in zip(units, merged(units, minimum), strict=True):
        assert cell.split("/")[0] == unit[0]


@PROPERTY
@given(UNITS, st.integers(1, 8))
def test_a_unit_is_whole_and_alone_where_it_has_the_minimum(units, minimum):
    cells, sizes = merged(units, minimum), Counter(units)
    homes = {}
    for unit, cell in zip(units, cells, strict=True):
        assert homes.setdefault(unit, cell) == cell
    for unit, cell in homes.items():
        alone = Counter(cells)[cell] == sizes[unit] and cell == "/".join(unit)
        assert alone == (sizes[unit] >= minimum)


@PROPERTY
@given(UNITS, st.integers(1, 8))
def test_a_country_below_the_minimum_is_one_geocell(units, minimum):
    cells = merged(units, minimum)
    for country, count in Counter(unit[0] for unit in units).items():
        if count < minimum:
            assert {cell for unit, cell in zip(units, cells, strict=True) if unit[0] == country} == {f"{country}/*"}


@PROPERTY
@given(UNITS, st.integers(1, 8), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(units, minimum, random):
    cells = merged(units, minimum)
    order = random.sample(range(len(units)), len(units))
    assert merged([units[k] for k in order], minimum) == [cells[k] for k in order]


@PROPERTY
@given(CELLS, st.integers(1, 70), st.integers(0, 5))
def test_a_geocell_keeps_the_cap_or_all_it_has(cells, maximum, seed):
    kept = capped(cells, maximum, seed)
    assert kept.dtype == bool
    expected = {cell: min(count, maximum) for cell, count in Counter(cells).items()}
    assert Counter(np.array(cells, dtype=object)[kept]) == expected
    if maximum >= len(cells):
        assert kept.all()


@PROPERTY
@given(CELLS, st.integers(1, 9), st.integers(0, 5))
def test_the_choice_does_not_hang_on_the_order_of_the_images(cells, maximum, seed):
    order = np.random.default_rng(seed).permutation(len(cells))
    again = cap_geocells(order, np.array(cells, dtype=object)[order], maximum, seed)
    np.testing.assert_array_equal(again, capped(cells, maximum, seed)[order])


def test_another_seed_makes_another_choice():
    cells = ["FR/*"] * 100
    assert (capped(cells, 20, 0) != capped(cells, 20, 1)).any()


@pytest.mark.parametrize("maximum", [1, 4])
def test_each_image_of_a_geocell_is_equally_likely_to_stay(maximum):
    cells = ["FR/*", "DE/*"] * 8
    times = np.sum([capped(cells, maximum, seed)[::2] for seed in range(800)], axis=0)
    assert times.sum() == 800 * maximum
    assert stats.chisquare(times).pvalue > 1e-3

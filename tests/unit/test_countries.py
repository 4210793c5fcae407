"""Country codes, names and continents, as people write them."""

import pytest

from geoprobe.images.countries import CONTINENTS, continent_of, country_code, country_name
from geoprobe.images.gazetteer import load_towns


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("FR", "FR"),
        ("fr", "FR"),
        ("FRA", "FR"),
        ("France", "FR"),
        (" germany ", "DE"),
        ("UK", "GB"),
        ("GBR", "GB"),
        ("USA", "US"),
        ("XKO", "XK"),
        ("Namibia", "NA"),
        ("NA", "NA"),
        ("", ""),
        ("Atlantis", ""),
    ],
)
def test_a_country_is_known_by_code_or_name(text, code):
    assert country_code(text) == code


def test_every_country_of_the_gazetteer_has_a_name_and_a_continent():
    codes = load_towns()["country_code"].unique()
    assert all(country_code(code) == code for code in codes)
    assert {continent_of(code) for code in codes} <= set(CONTINENTS.values())
    assert all(country_name(code) != code for code in codes)


@pytest.mark.parametrize(
    ("code", "continent"),
    [
        ("KE", "Africa"),
        ("AQ", "Antarctica"),
        ("JP", "Asia"),
        ("IS", "Europe"),
        ("CU", "North America"),
        ("FJ", "Oceania"),
    ],
)
def test_a_country_lies_on_its_continent(code, continent):
    assert continent_of(code) == continent


def test_what_is_no_country_stays_as_it_is():
    assert country_name("Z01") == "Z01"
    assert continent_of("Z01") == continent_of("") == "unknown"

"""Countries, regions and districts of positions: known places, borders, the antimeridian, Antarctica."""

import geopy.distance
import numpy as np
import pytest

from geoprobe.geodesy import EARTH_RADIUS_KM, draw_on_sphere, great_circle_km
from geoprobe.images.gazetteer import administrative_units, load_towns

PLACES = {
    "Paris": ((48.8566, 2.3522), "FR", "France", "Île-de-France"),
    "Nairobi": ((-1.2864, 36.8172), "KE", "Kenya", "Nairobi County"),
    "Auckland": ((-36.8485, 174.7633), "NZ", "New Zealand", "Auckland"),
    "Windhoek": ((-22.5609, 17.0658), "NA", "Namibia", "Khomas Region"),
    "Chicago": ((41.8781, -87.6298), "US", "United States", "Illinois"),
    "Ushuaia": ((-54.8019, -68.3030), "AR", "Argentina", "Tierra del Fuego"),
    "Manaus": ((-3.1190, -60.0217), "BR", "Brazil", "Amazonas"),
    "Perth": ((-31.9523, 115.8613), "AU", "Australia", "Western Australia"),
    "Kyoto": ((35.0116, 135.7681), "JP", "Japan", "Kyoto"),
}
COLUMNS = ["country_code", "country", "region", "district", "town_km", "border_uncertain"]


def unit(latitude, longitude):
    return administrative_units(np.array([(latitude, longitude)])).iloc[0]


@pytest.fixture(scope="module")
def scattered():
    """Positions all over the globe north of Antarctica, and at its corners; with the distances to all towns."""
    positions = draw_on_sphere(60, np.random.default_rng(0))
    corners = np.array([(90.0, 0.0), (0.0, 180.0), (-17.0, 179.99), (-17.0, -179.99), (66.0, -179.9)])
    positions = np.vstack([positions[positions[:, 0] > -60], corners])
    towns = load_towns()
    return positions, great_circle_km(positions[:, None], towns[["latitude", "longitude"]].to_numpy()[None])


@pytest.mark.parametrize("name", PLACES)
def test_a_known_city_is_in_its_country_and_region(name):
    position, code, country, region = PLACES[name]
    found = unit(*position)
    assert (found["country_code"], found["country"]) == (code, country)
    assert region in found["region"]
    assert found["district"]
    assert found["town_km"] < 6


def test_the_nearest_town_of_all_names_the_unit(scattered):
    positions, distances = scattered
    expected = load_towns().iloc[distances.argmin(axis=1)]
    units = administrative_units(positions)
    for column in ("country_code", "country", "region", "district"):
        assert units[column].tolist() == expected[column].tolist()


def test_the_distance_to_the_nearest_town_is_that_of_geopy(scattered):
    positions, distances = scattered
    towns = load_towns().iloc[distances.argmin(axis=1)]
    scale = EARTH_RADIUS_KM / geopy.distance.EARTH_RADIUS
    places = towns[["latitude", "longitude"]].to_numpy()
    expected = [geopy.distance.great_circle(p, q).km * scale for p, q in zip(positions, places, strict=True)]
    np.testing.assert_allclose(administrative_units(positions)["town_km"], expected, rtol=1e-6)


def test_a_border_is_uncertain_where_the_three_nearest_towns_disagree(scattered):
    positions, distances = scattered
    borders = np.array([(47.5596, 7.5886), (48.573, 7.81), (31.75, -106.48), (-25.6, -54.57)])
    towns = load_towns()
    places = towns[["latitude", "longitude"]].to_numpy()
    distances = np.vstack([distances, great_circle_km(borders[:, None], places[None])])
    codes = towns["country_code"].to_numpy()[np.argsort(distances, axis=1)[:, :3]]
    expected = [len(set(row)) > 1 for row in codes]
    assert {True, False} == set(expected)
    assert administrative_units(np.vstack([positions, borders]))["border_uncertain"].tolist() == expected


@pytest.mark.parametrize(
    ("place", "position", "uncertain"),
    [
        ("Basel, beside France and Germany", (47.57, 7.585), True),
        ("Kehl, across the Rhine from Strasbourg", (48.573, 7.81), True),
        ("the middle of Kansas", (38.5, -98.4), False),
        ("Alice Springs", (-23.7, 133.88), False),
    ],
)
def test_borders_are_uncertain_and_interiors_are_not(place, position, uncertain):
    assert unit(*position)["border_uncertain"] == uncertain


@pytest.mark.parametrize("latitude", [-60.001, -65.0, -77.85, -90.0])
@pytest.mark.parametrize("longitude", [-180.0, -63.0, 0.0, 166.7])
def test_south_of_60_degrees_is_antarctica(latitude, longitude):
    found = unit(latitude, longitude)
    assert found[["country_code", "country", "region", "district"]].tolist() == ["AQ", "Antarctica", "", ""]
    assert not found["border_uncertain"]


def test_the_treaty_area_begins_beyond_60_degrees():
    assert unit(-60.0, -45.0)["country_code"] != "AQ"
    assert unit(-54.28, -36.5)["country_code"] == "GS"


@pytest.mark.parametrize("latitude", [-16.85, 66.0, -45.0])
def test_both_sides_of_the_antimeridian_have_the_same_nearest_town(latitude):
    west, east = unit(latitude, 179.999), unit(latitude, -179.999)
    assert (
        west[["country_code", "region", "district"]].tolist() == east[["country_code", "region", "district"]].tolist()
    )
    assert abs(west["town_km"] - east["town_km"]) < 0.3
    assert unit(latitude, 180.0)["town_km"] == pytest.approx(unit(latitude, -180.0)["town_km"], rel=1e-9)


@pytest.mark.parametrize("longitude", [179.99, -179.99])
def test_taveuni_is_fiji_on_either_side(longitude):
    found = unit(-16.85, longitude)
    assert (found["country_code"], found["country"]) == ("FJ", "Fiji")


def test_rows_and_columns_are_those_promised_whatever_the_order():
    positions = np.array([position for position, *_ in PLACES.values()])
    together, reverse = administrative_units(positions), administrative_units(positions[::-1])
    assert together.columns.tolist() == COLUMNS
    assert together.index.tolist() == list(range(len(positions)))
    for column in COLUMNS:
        assert together[column].tolist() == reverse[column].tolist()[::-1]


def test_the_callers_towns_are_not_changed():
    before = load_towns().copy()
    administrative_units(np.array([(-80.0, 0.0), (48.86, 2.35)]))
    assert load_towns().equals(before)


def test_every_town_has_a_country_by_name_and_no_text_is_missing():
    towns = load_towns()
    texts = towns[["country_code", "country", "region", "district"]]
    assert not texts.isna().any(axis=None)
    assert texts["country_code"].str.fullmatch("[A-Z]{2}").all()
    assert (texts["country"].str.len() > 2).all()
    assert (texts["district"] != "").all()
    assert (towns["latitude"].abs() <= 90).all()
    assert (towns["longitude"].abs() <= 180).all()

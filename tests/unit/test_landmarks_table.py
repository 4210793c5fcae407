"""The table of landmarks, row by row, and how a table is read."""

import collections
import csv
from pathlib import Path

import numpy as np
import pytest

from geoprobe.geodesy import great_circle_km
from geoprobe.images.countries import CONTINENTS, continent_of
from geoprobe.images.gazetteer import administrative_units
from geoprobe.interventions.landmarks import COLUMNS, read_landmarks
from geoprobe.interventions.matching import fold, landmark_names, place_names

TABLE = Path(__file__).resolve().parents[2] / "config" / "landmarks.csv"
LANDMARKS = read_landmarks(TABLE)
# the nearest town is across the border: Oloitokitok in Kenya, and Vatican City
ACROSS = {"Mount Kilimanjaro": "KE", "Trevi Fountain": "VA"}
EIFFEL = {
    "name": "Eiffel Tower", "aliases": "La Tour Eiffel | Tour Eiffel", "city": "Paris", "city_aliases": "",
    "region": "Île-de-France", "region_aliases": "", "country": "FR", "latitude": "48.8584", "longitude": "2.2945",
    "category": "Eiffel Tower",
}  # fmt: skip
BIG_BEN = EIFFEL | {"name": "Big Ben", "aliases": "", "city": "London", "country": "GB", "category": "Big Ben"}


def test_coordinates_lie_in_the_country():
    units = administrative_units([(landmark.latitude, landmark.longitude) for landmark in LANDMARKS])
    found = dict(zip([landmark.name for landmark in LANDMARKS], units["country_code"], strict=True))
    stated = {landmark.name: landmark.country for landmark in LANDMARKS}
    assert {name: code for name, code in found.items() if code != stated[name]} == ACROSS


def test_no_two_landmarks_are_at_one_place():
    positions = np.array([(landmark.latitude, landmark.longitude) for landmark in LANDMARKS])
    distances = great_circle_km(positions[:, None], positions[None])
    assert distances[~np.eye(len(positions), dtype=bool)].min() > 0.05


def test_every_continent_is_there():
    counts = collections.Counter(continent_of(landmark.country) for landmark in LANDMARKS)
    assert len(LANDMARKS) >= 100
    assert set(counts) == set(CONTINENTS.values())
    assert min(count for name, count in counts.items() if name != "Antarctica") >= 8


def test_names_and_aliases_of_two_landmarks_never_coincide():
    owners = collections.defaultdict(set)
    for landmark in LANDMARKS:
        for name in landmark_names(landmark):
            owners[fold(name)].add(landmark.name)
    assert {name: names for name, names in owners.items() if len(names) > 1} == {}
    assert len({landmark.category for landmark in LANDMARKS}) == len(LANDMARKS)


def test_no_name_of_a_landmark_is_that_of_a_place():
    # such a place could never be named: the landmark's name would hide it
    places = {fold(name) for one in LANDMARKS for names in place_names(one).values() for name in names}
    assert {name for one in LANDMARKS for name in landmark_names(one) if fold(name) in places} == set()


def test_a_landmark_outside_of_a_city_has_no_aliases_of_one():
    for landmark in LANDMARKS:
        assert landmark.city or not landmark.city_aliases
        assert landmark.region or not landmark.region_aliases


def write(folder, *rows, columns=COLUMNS):
    path = folder / "landmarks.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_row_is_read_as_it_stands(tmp_path):
    (landmark,) = read_landmarks(write(tmp_path, EIFFEL))
    assert landmark.aliases == ("La Tour Eiffel", "Tour Eiffel")
    assert landmark.city_aliases == ()
    assert (landmark.latitude, landmark.longitude, landmark.country) == (48.8584, 2.2945, "FR")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "line 3: name is empty"),
        ({"category": ""}, "line 3: category is empty"),
        ({"category": "Category:Big Ben"}, 'line 3: category is "Category:Big Ben"; leave out'),
        ({"country": "UK"}, 'line 3: country is "UK"; give an ISO 3166'),
        ({"country": ""}, 'line 3: country is ""'),
        ({"latitude": "91"}, 'line 3: latitude is "91"; give degrees between -90 and 90'),
        ({"longitude": "nan"}, 'line 3: longitude is "nan"'),
        ({"longitude": "0° W"}, 'line 3: longitude is "0° W"'),
        ({"aliases": "The Clock |  | Bell"}, 'line 3: aliases holds ""'),
        ({"aliases": "tour-eiffel"}, 'line 3: "tour-eiffel" is a name of "Eiffel Tower" as well'),
        ({"name": "Eiffel Tower"}, 'line 3: "Eiffel Tower" is a name of "Eiffel Tower" as well'),
    ],
    ids=["name", "category", "prefix", "country", "no-country", "latitude", "nan", "text", "alias", "shared", "twice"],
)
def test_a_wrong_value_is_named_with_file_and_line(tmp_path, change, words):
    path = write(tmp_path, EIFFEL, BIG_BEN | change)
    with pytest.raises(ValueError, match=r"landmarks\.csv, line 3") as caught:
        read_landmarks(path)
    assert words in str(caught.value)


def test_a_missing_column_an_empty_table_and_a_broken_row_are_refused(tmp_path):
    with pytest.raises(ValueError, match="line 1: no column region, category; the columns"):
        read_landmarks(write(tmp_path, EIFFEL, columns=[c for c in COLUMNS if c not in ("region", "category")]))
    with pytest.raises(ValueError, match="lists no landmark"):
        read_landmarks(write(tmp_path))
    path = write(tmp_path, EIFFEL)
    path.write_text(path.read_text(encoding="utf-8") + "Big Ben,,London,,\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 3: not 10 fields"):
        read_landmarks(path)

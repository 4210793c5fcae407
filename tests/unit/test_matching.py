"""Whether a text names a landmark and its place."""

import unicodedata
from pathlib import Path

import pytest

from geoprobe.images.countries import country_code
from geoprobe.interventions.landmarks import Landmark, read_landmarks
from geoprobe.interventions.matching import (
    SHORT_FORMS,
    Lexicon,
    Name,
    country_names,
    fold,
    landmark_names,
    names_landmark,
    names_place,
    place_names,
)

TABLE = Path(__file__).resolve().parents[2] / "config" / "landmarks.csv"
LANDMARKS = read_landmarks(TABLE)
BY_NAME = {landmark.name: landmark for landmark in LANDMARKS}
LEXICON = Lexicon(LANDMARKS)


def named_levels(text, name):
    """The levels of a landmark's place that a text names."""
    return {level for level, named in names_place(text, BY_NAME[name], LEXICON).items() if named}


def make(**fields):
    """A landmark of the given fields, empty in all others."""
    empty = dict.fromkeys(("name", "city", "region", "country", "category"), "")
    empty |= dict.fromkeys(("aliases", "city_aliases", "region_aliases"), ()) | {"latitude": 0.0, "longitude": 0.0}
    return Landmark(**(empty | fields))


@pytest.mark.parametrize("name", [landmark.name for landmark in LANDMARKS])
def test_each_name_and_alias_names_its_landmark_and_no_other(name):
    for text in landmark_names(BY_NAME[name]):
        assert [other.name for other in LANDMARKS if names_landmark(text, other, LEXICON)] == [name]
        for sentence in (f"This is **{text}**.", text.upper(), unicodedata.normalize("NFD", text)):
            assert names_landmark(sentence, BY_NAME[name], LEXICON), sentence


@pytest.mark.parametrize("name", [landmark.name for landmark in LANDMARKS])
def test_a_landmarks_name_alone_names_no_place_of_it(name):
    for text in landmark_names(BY_NAME[name]):
        assert named_levels(text, name) == set(), text


@pytest.mark.parametrize("name", [landmark.name for landmark in LANDMARKS])
def test_each_name_of_a_place_names_it(name):
    for level, texts in place_names(BY_NAME[name]).items():
        for text in texts:
            assert level in named_levels(f"It stands in {text}, I think.", name)


@pytest.mark.parametrize(
    ("text", "name", "levels"),
    [
        # a place's name inside of a landmark's own
        ("The Palace of Versailles.", "Palace of Versailles", set()),
        ("The palace of Versailles in Versailles", "Palace of Versailles", {"city"}),
        ("the Sydney Opera House", "Sydney Opera House", set()),
        ("the Sydney Opera House in Sydney", "Sydney Opera House", {"city"}),
        ("Sydney: the Sydney Opera House", "Sydney Opera House", {"city"}),
        # or of another's
        ("the Sydney Harbour Bridge", "Sydney Opera House", set()),
        ("Notre-Dame de Paris", "Eiffel Tower", set()),
        ("Great Zimbabwe", "Great Zimbabwe", set()),
        ("Great Zimbabwe is in Zimbabwe", "Great Zimbabwe", {"country"}),
        ("the U.S. Capitol", "Space Needle", set()),
        # or of another place
        ("New Mexico", "Chichen Itza", set()),
        ("Mexico City", "Chichen Itza", set()),
        ("Mexico City, Mexico", "Palacio de Bellas Artes", {"city", "country"}),
        ("El Salvador", "Lacerda Elevator", set()),
        ("Northern Ireland", "Cliffs of Moher", set()),
        ("New South Wales, Australia", "Sydney Opera House", {"region", "country"}),
        # capitals
        ("It is in the USA.", "Space Needle", {"country"}),
        ("It is in the US.", "Space Needle", {"country"}),
        ("It is in the U.S.", "Space Needle", {"country"}),
        ("a U.S.-built tower", "Space Needle", {"country"}),
        ("the U.S.A. and others", "Space Needle", {"country"}),
        ("The United States of America", "Space Needle", {"country"}),
        ("It tells us little", "Space Needle", set()),
        ("Usa", "Space Needle", set()),
        ("the UK", "Big Ben", {"country"}),
        ("U.K.", "Big Ben", {"country"}),
        ("Britain", "Big Ben", {"country"}),
        ("the UAE", "Burj Khalifa", {"country"}),
        ("United Arab Emirates", "Burj Khalifa", {"country"}),
        ("Turkey", "Hagia Sophia", {"country"}),
        ("Türkiye", "Hagia Sophia", {"country"}),
        ("TÜRKIYE", "Hagia Sophia", {"country"}),
        ("the Czech Republic", "Charles Bridge", {"country"}),
        ("Czechia", "Charles Bridge", {"country"}),
        ("Cote d’Ivoire", "Basilica of Our Lady of Peace", {"country"}),
        ("Washington, D.C.", "White House", {"city"}),
        ("Washington DC", "White House", {"city"}),
        ("washington d.c", "White House", {"city"}),
        ("Washington, D. C.", "White House", {"city"}),
        ("D.C.", "White House", {"city"}),
        ("It is in D.C. A tall house", "White House", {"city"}),
        ("dc current", "White House", set()),
        ("Washington", "White House", set()),
        ("Washington, D.C.", "Space Needle", set()),
        ("George Washington", "Space Needle", set()),
        ("Seattle, Washington", "Space Needle", {"city", "region"}),
        # accents, hyphens, apostrophes
        ("Sao Paulo", "São Paulo Museum of Art", {"city"}),
        ("SÃO PAULO", "São Paulo Museum of Art", {"city"}),
        ("Ile de France", "Eiffel Tower", {"region"}),
        ("Xian", "Terracotta Army", {"city"}),
        ("Xi’an", "Terracotta Army", {"city"}),
        ("Xi'an's walls", "Terracotta Army", {"city"}),
        ("Malmo", "Turning Torso", {"city"}),
        ("İstanbul", "Hagia Sophia", {"city"}),
        # possessives and word boundaries
        ("Paris's", "Eiffel Tower", {"city"}),
        ("Paris’ roofs", "Eiffel Tower", {"city"}),
        ("PARIS'S", "Eiffel Tower", {"city"}),
        ("a Parisian view", "Eiffel Tower", set()),
        ("comparison", "Eiffel Tower", set()),
        ("Romeo", "Colosseum", set()),
        ("Rome", "Colosseum", {"city"}),
        ("Niger", "Eiffel Tower", set()),
        ("Indiana", "Taj Mahal", set()),
        # marks of lines and emphasis
        ("**Paris**, *France*", "Eiffel Tower", {"city", "country"}),
        ("- City:\n  __New\nDelhi__", "India Gate", {"city"}),
        ("Pa\u00adris", "Eiffel Tower", {"city"}),
        ("Ｐａｒｉｓ", "Eiffel Tower", {"city"}),
        # scripts
        ("パリにあります", "Eiffel Tower", {"city"}),
        ("서울에 있습니다", "Gyeongbokgung", {"city"}),
        ("อยู่ในกรุงเทพมหานคร", "Wat Arun", {"city"}),
        ("в городе Париж.", "Eiffel Tower", {"city"}),
        ("Парижский", "Eiffel Tower", set()),
        ("", "Eiffel Tower", set()),
    ],
)
def test_a_place_is_named(text, name, levels):
    assert named_levels(text, name) == levels


@pytest.mark.parametrize(
    ("text", "name", "named"),
    [
        ("エッフェル塔の写真です", "Eiffel Tower", True),
        ("Это Эйфелева башня.", "Eiffel Tower", True),
        ("هذا برج إيفل في باريس", "Eiffel Tower", True),
        ("هذا برج ايفل", "Eiffel Tower", True),
        ("LA TOUR EIFFEL", "Eiffel Tower", True),
        ("the eiffel-tower", "Eiffel Tower", True),
        ("an Eiffel Towering thing", "Eiffel Tower", False),
        ("the Eiffel", "Eiffel Tower", False),
        ("サグラダファミリア", "Sagrada Família", True),
        ("St. Pauls Cathedral", "St Paul's Cathedral", True),
        ("ST. PAUL’S CATHEDRAL", "St Paul's Cathedral", True),
        ("the MASP", "São Paulo Museum of Art", True),
        ("masp", "São Paulo Museum of Art", False),
        ("Sultan Ahmet Camii", "Blue Mosque", False),
        ("Basilique Notre-Dame de la Paix", "Notre-Dame de Paris", False),
        ("Basilique Notre-Dame de la Paix", "Basilica of Our Lady of Peace", True),
    ],
)
def test_a_landmark_is_named(text, name, named):
    assert names_landmark(text, BY_NAME[name], LEXICON) is named


def test_without_a_table_only_the_landmarks_own_names_count():
    assert names_landmark("Basilique Notre-Dame de la Paix", BY_NAME["Notre-Dame de Paris"])


@pytest.mark.parametrize("text", ["", " ", "Georgia", "\n", "'", "."])
def test_empty_fields_match_nothing(text):
    nowhere = make()
    assert not names_landmark(text, nowhere, [nowhere])
    assert names_place(text, nowhere, [nowhere]) == {"city": False, "region": False, "country": False}


@pytest.mark.parametrize("text", ["", "'", "—", "\u200b"])
def test_a_name_of_which_nothing_is_left_is_never_found(text):
    assert Name(text).spans("any text", "any text") == []


def test_georgia_names_the_country_and_the_state_alike():
    state = make(name="Fox Theatre", city="Atlanta", region="Georgia", country="US")
    church = BY_NAME["Gergeti Trinity Church"]
    for text in ("It is in Georgia.", "Atlanta, Georgia, USA"):
        assert names_place(text, state, [state, church])["region"]
        assert names_place(text, church, [state, church])["country"]
    assert not names_place("South Georgia and the South Sandwich Islands", church, [church])["country"]


def test_short_forms_are_of_countries_and_name_no_other():
    for code, names in SHORT_FORMS.items():
        assert country_code(code) == code
        assert {fold(name) for name in names}.isdisjoint(fold(name) for name in country_names(code)[:1])
    every = [fold(name) for code in SHORT_FORMS for name in country_names(code)]
    assert len(every) == len(set(every))


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Île-de-France", "ile de france"),
        ("  Zürich \t& Łódź ", "zurich and lodz"),
        ("ﬁne Straße", "fine strasse"),
        ("the U. S. and US", "the ^us and ^us"),
        ("e.g. the U.S. It", "^eg the ^us it"),
        ("ガ", "ガ"),
        ("Й", "и"),
        ("ताज महल", "ताज महल"),
    ],
)
def test_folded_text(text, folded):
    assert fold(text) == folded
    assert fold(unicodedata.normalize("NFD", text)) == folded

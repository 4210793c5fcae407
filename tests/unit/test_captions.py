"""Captions of tiles: words that follow from the pixels, no place names in scenery, and shuffling."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoprobe.geodesy import draw_on_sphere
from geoprobe.images import captions
from geoprobe.images.bluemarble import render_tiles, sea_share
from geoprobe.images.gazetteer import load_towns
from geoprobe.words import split_words

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SIZE = 16
BLUE, DESERT, WHITE = (10, 20, 90), (205, 172, 128), (255, 255, 255)
TINTS = {"neutral", "red", "green", "blue"}
VOCABULARY = {
    "roughness": {word for _, word in captions.ROUGHNESS},
    "brightness": {word for _, word in captions.BRIGHTNESS},
    "cover": set(captions.COVERS),
    "coast": {word for _, word in captions.COASTS},
    "tint": TINTS,
}


def plain(colour):
    return np.full((SIZE, SIZE, 3), colour, dtype=np.uint8)


def parts(tile):
    """The words of a tile's caption by what they describe."""
    (caption,) = captions.scenery(tile[None])
    first, coast, tint = caption.split(", ")
    roughness, brightness, cover = first.split()
    colour, last = tint.split()
    assert last == "tint"
    return {"roughness": roughness, "brightness": brightness, "cover": cover, "coast": coast, "tint": colour}


def flooded(colour, rows):
    """A plain tile whose southernmost rows are water."""
    tile = plain(colour)
    tile[SIZE - rows :] = BLUE
    return tile


@pytest.fixture(scope="module")
def real_tiles():
    positions = draw_on_sphere(1500, np.random.default_rng(0))
    positions = positions[sea_share(positions, 224) <= 0.5][:300]
    return render_tiles(positions, 32, 7)


@pytest.fixture(scope="module")
def place_names():
    """Names of all countries and regions of the gazetteer."""
    towns = load_towns()
    return set(towns["country"]) | (set(towns["region"]) - {""})


# scenery


def test_white_is_ice():
    expected = {"roughness": "smooth", "brightness": "bright", "cover": "ice", "coast": "inland", "tint": "neutral"}
    assert parts(plain(WHITE)) == expected


def test_desert_colour_is_desert():
    expected = {"roughness": "smooth", "brightness": "bright", "cover": "desert", "coast": "inland", "tint": "red"}
    assert parts(plain(DESERT)) == expected


@pytest.mark.parametrize("cover", captions.COVERS)
def test_each_covers_own_colour_is_that_cover(cover):
    assert parts(plain(captions.COVERS[cover]))["cover"] == cover


@pytest.mark.parametrize(("rows", "word"), [(0, "inland"), (1, "lakes"), (4, "shore"), (8, "coast"), (SIZE, "coast")])
def test_the_share_of_water_makes_a_coast(rows, word):
    assert parts(flooded(DESERT, rows))["coast"] == word


def test_the_land_is_described_without_its_water():
    wet = parts(flooded(DESERT, 8))
    dry = parts(plain(DESERT))
    for name in ("cover", "brightness", "tint"):
        assert wet[name] == dry[name]


@pytest.mark.parametrize(
    ("grey", "word"), [(10, "dark"), (49, "dark"), (50, "dim"), (94, "dim"), (95, "light"), (160, "bright")]
)
def test_brightness_is_the_mean_grey(grey, word):
    assert parts(plain((grey, grey, grey)))["brightness"] == word


@pytest.mark.parametrize(
    ("colour", "tint"),
    [((90, 60, 60), "red"), ((60, 90, 60), "green"), ((75, 75, 90), "blue"), ((60, 71, 60), "neutral")],
)
def test_the_tint_is_the_strongest_channel_unless_they_are_alike(colour, tint):
    assert parts(plain(colour))["tint"] == tint


@pytest.mark.parametrize(
    ("step", "word"), [(0, "smooth"), (2, "smooth"), (4, "rolling"), (10, "rough"), (60, "rugged")]
)
def test_roughness_is_the_step_between_neighbours(step, word):
    # each pixel of a chessboard differs from all its neighbours by the step
    board = np.indices((SIZE, SIZE)).sum(axis=0) % 2
    assert parts((100 + step * board)[..., None].repeat(3, axis=2).astype(np.uint8))["roughness"] == word


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_a_mirrored_or_turned_tile_has_the_same_caption(seed, contrast):
    generator = np.random.default_rng(seed)
    centre = generator.integers(0, 255, 3)
    tile = np.clip(centre + generator.integers(-contrast, contrast + 1, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    views = [tile, tile[::-1], tile[:, ::-1], np.rot90(tile), tile.transpose(1, 0, 2)]
    assert len(set(captions.scenery(np.stack(views)))) == 1


def test_captions_hold_only_words_of_the_vocabulary(real_tiles):
    for tile in real_tiles:
        for name, word in parts(tile).items():
            assert word in VOCABULARY[name]


def test_a_tiles_caption_does_not_hang_on_its_neighbours(real_tiles):
    together = captions.scenery(real_tiles[:40])
    assert together == [captions.scenery(tile[None])[0] for tile in real_tiles[:40]]
    assert len(set(together)) > 10


def test_scenery_of_the_blue_marble_is_varied_enough_to_tell_tiles_apart(real_tiles):
    seen = [parts(tile) for tile in real_tiles]
    for name, words in VOCABULARY.items():
        assert len({described[name] for described in seen}) >= min(3, len(words))


def test_no_word_of_scenery_is_spelled_as_a_country_or_region_is(real_tiles, place_names):
    words = {word for caption in captions.scenery(real_tiles) for word in caption.replace(",", "").split()}
    words |= set.union(*VOCABULARY.values())
    assert not words & {word for name in place_names for word in name.replace(",", "").split()}


def test_no_country_or_region_is_named_in_scenery_by_all_its_words(real_tiles, place_names):
    spelled = {tuple(split_words(name)) for name in place_names}
    # one state of South Sudan is called Lakes
    spelled.discard(("lakes",))
    for caption in set(captions.scenery(real_tiles)):
        words = split_words(caption)
        runs = {tuple(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
        assert not runs & spelled


# places


def test_places_name_country_and_region():
    units = pd.DataFrame({"country": ["Kenya", "Antarctica"], "region": ["Nairobi County", ""], "other": [1, 2]})
    assert captions.places(units) == ["Kenya, Nairobi County", "Antarctica"]


# shuffled


@PROPERTY
@given(st.lists(st.sampled_from(["Fiji", "Chad, Kanem", "Antarctica", ""]), max_size=30), st.integers(0, 9))
def test_shuffled_captions_are_the_same_captions(texts, seed):
    shuffled = captions.shuffled(texts, np.random.default_rng(seed))
    assert Counter(shuffled) == Counter(texts)
    assert shuffled == captions.shuffled(texts, np.random.default_rng(seed))


def test_shuffling_separates_captions_from_their_tiles():
    texts = [f"caption {k}" for k in range(500)]
    before = list(texts)
    shuffled = captions.shuffled(texts, np.random.default_rng(3))
    assert texts == before
    # of a random permutation one element is expected to stay in place
    assert sum(a == b for a, b in zip(texts, shuffled, strict=True)) < 8
    assert shuffled != captions.shuffled(texts, np.random.default_rng(4))

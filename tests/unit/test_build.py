"""From a source to a store: balance, loading, captions, and an account of every image."""

import io
import itertools
from collections import Counter

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoprobe.images import bluemarble, table
from geoprobe.images.build import balance, build_store, load_rows, make_captions
from geoprobe.images.store import decode_image, read_columns, read_pixels

CITIES = {"Paris": (48.8566, 2.3522), "Nairobi": (-1.2864, 36.8172), "Suva": (-18.1416, 178.4419)}
MADE = ("places", "scenery", "shuffled")
COUNTRIES = {"Paris": "France", "Nairobi": "Kenya", "Suva": "Fiji"}
CAP = {"minimum": 2, "maximum": 100, "seed": 1}
TILES = {
    "source": "bluemarble", "part": "probe", "tiles": 40, "tile_pixels": 8, "ground_km": 7, "max_sea_share": 0.5,
    "block_degrees": 10, "shares": {"probe": 0.4, "tune": 0.15}, "seed": 1, "balance": {"minimum": 3, "maximum": 4, "seed": 1},
    "caption_sets": ["places", "scenery", "shuffled"],
}  # fmt: skip


def picture(seed, form="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=form)
    return buffer.getvalue()


def rows_in(**counts):
    """Rows of a source with so many images in each of the cities."""
    places = [name for name, count in counts.items() for _ in range(count)]
    frame = pd.DataFrame([CITIES[name] for name in places], columns=["latitude", "longitude"])
    frame.insert(0, "id", [f"{name}{number}" for number, name in enumerate(places)])
    return frame.assign(group=frame["id"])


@pytest.fixture
def photos(tmp_path):
    """A table of photos of which some cannot be used; the source's options."""
    rows = []
    for number in range(12):
        city = list(CITIES)[number % 3]
        (tmp_path / f"{number}.png").write_bytes(picture(number))
        rows.append((f"{number}.png", *CITIES[city], f"a photo of {city}"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows += [
        ("broken.png", *CITIES["Paris"], ""),
        ("absent.png", *CITIES["Paris"], ""),
        ("0.png", *CITIES["Suva"], ""),
        ("nowhere.png", None, None, ""),
        ("null.png", 0, 0, ""),
    ]
    frame = pd.DataFrame(rows, columns=["path", "latitude", "longitude", "title"])
    frame.to_csv(tmp_path / "photos.csv", index=False)
    options = {"source": "table", "path": str(tmp_path / "photos.csv"), "captions": ["title"]}
    return options | {"balance": CAP, "caption_sets": ["places"], "licence": "CC0"}


@pytest.fixture
def build(tmp_path):
    """Build a store from options; returns its path and the rejects."""

    def make(options, name="mine"):
        store, rejects = tmp_path / "out" / f"{name}.h5", tmp_path / "out" / f"{name}.rejects.parquet"
        build_store(store, rejects, name, options)
        return store, pd.read_parquet(rejects)

    return make


# balance


def test_no_geocell_keeps_more_than_the_maximum():
    rows, kept = balance(rows_in(Paris=30, Nairobi=4, Suva=1), 2, 5, 0)
    assert Counter(rows["country"][kept]) == {"France": 5, "Kenya": 4, "Fiji": 1}
    assert (rows["geocell"].str.split("/").str[0] == rows["country_code"]).all()
    assert rows["geocell"][kept].value_counts().max() == 5


def test_the_rows_keep_their_order_index_and_columns_when_they_are_placed():
    given = rows_in(Nairobi=2, Paris=3)
    given.index = [7, 3, 9, 1, 4]
    rows, kept = balance(given, 1, 100, 0)
    assert rows["id"].tolist() == given["id"].tolist()
    assert rows.index.tolist() == list(range(5))
    assert kept.all()
    assert {"country", "region", "border_uncertain", "geocell"} <= set(rows)


def test_the_choice_within_a_geocell_is_the_seeds():
    first, again, other = (balance(rows_in(Paris=50), 2, 5, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# loading


def test_what_cannot_be_loaded_is_a_reject_and_the_rest_stays_aligned(photos):
    rows, _ = table.list_images(photos)
    encoded, kept, rejects = load_rows(rows, table, photos)
    assert kept["path"].tolist() == [f"{number}.png" for number in range(12)]
    assert encoded == [picture(number) for number in range(12)]
    assert kept.index.tolist() == list(range(12))
    assert rejects["id"].tolist() == ["broken.png", "absent.png"]
    assert all(rejects["reason"])


# captions


def placed(count):
    return pd.DataFrame({"country": [f"Country {k}" for k in range(count)], "region": "North"})


@pytest.mark.parametrize("sets", [sets for count in range(4) for sets in itertools.combinations(MADE, count)])
def test_the_caption_sets_are_those_asked_for_and_the_sources_own(sets):
    rows = placed(5).assign(**{"caption:title": list("abcde")})
    captions = make_captions(rows, [picture(k) for k in range(5)], list(sets), 0)
    assert set(captions) == {"title", *sets}
    assert captions["title"] == list("abcde")
    assert {len(values) for values in captions.values()} == {5}


def test_shuffled_captions_are_the_places_in_another_order():
    captions = make_captions(placed(60), [], ["places", "shuffled"], 3)
    assert captions["places"][4] == "Country 4, North"
    assert captions["places"] != captions["shuffled"]
    assert Counter(captions["places"]) == Counter(captions["shuffled"])
    assert captions["shuffled"] == make_captions(placed(60), [], ["shuffled"], 3)["shuffled"]
    assert captions["shuffled"] != make_captions(placed(60), [], ["shuffled"], 4)["shuffled"]


def test_scenery_follows_each_image():
    files = []
    for colour in [(255, 255, 255), (205, 172, 128)]:
        buffer = io.BytesIO()
        Image.new("RGB", (6, 6), colour).save(buffer, format="PNG")
        files.append(buffer.getvalue())
    scenery = make_captions(placed(2), files, ["scenery"], 0)["scenery"]
    assert ["ice" in scenery[0], "desert" in scenery[0]] == [True, False]
    assert ["ice" in scenery[1], "desert" in scenery[1]] == [False, True]


# the whole


def test_a_store_of_own_photos_has_every_usable_photo_with_its_own_data(photos, build):
    path, _ = build(photos)
    columns = read_columns(path)
    assert columns["ids"].tolist() == [f"{number}.png" for number in range(12)]
    cities = [list(CITIES)[number % 3] for number in range(12)]
    assert columns["countries"].tolist() == [COUNTRIES[city] for city in cities]
    assert columns["captions"]["title"].tolist() == [f"a photo of {city}" for city in cities]
    assert [caption.split(",")[0] for caption in columns["captions"]["places"]] == [COUNTRIES[city] for city in cities]
    positions = np.column_stack([columns["latitudes"], columns["longitudes"]])
    np.testing.assert_array_equal(positions, [CITIES[city] for city in cities])
    with h5py.File(path, "r") as file:
        assert [file["images"][row].tobytes() for row in range(12)] == [picture(number) for number in range(12)]


def test_every_image_of_the_table_is_stored_or_left_out_for_a_reason(photos, build):
    path, rejects = build(photos)
    reasons = dict(zip(rejects["id"], rejects["reason"], strict=True))
    assert reasons.keys() == {"broken.png", "absent.png", "0.png", "nowhere.png", "null.png"}
    assert reasons["0.png"] == "id given twice"
    assert reasons["nowhere.png"] == "no coordinates"
    assert reasons["null.png"] == "coordinates are (0, 0)"
    assert reasons["absent.png"].startswith("cannot be read")
    assert reasons["broken.png"].startswith("not an image")
    assert read_columns(path)["attributes"]["left_out"] == 5


def test_what_a_full_geocell_leaves_out_is_counted(photos, build):
    path, rejects = build(photos | {"balance": CAP | {"maximum": 3}})
    columns = read_columns(path)
    assert max(Counter(columns["geocells"]).values()) <= 3
    assert (rejects["reason"] == "geocell full").sum() > 0
    assert len(columns["ids"]) + len(rejects) == 17


def test_licence_source_and_gazetteer_are_kept_with_the_store(photos, build):
    attributes = read_columns(build(photos, "mine")[0])["attributes"]
    assert (attributes["dataset"], attributes["source"], attributes["licence"]) == ("mine", "table", "CC0")
    assert "GeoNames" in attributes["gazetteer"]
    assert 0 <= attributes["border_uncertain_share"] <= 1


def test_the_same_photos_give_the_same_digest(photos, build):
    digests = [read_columns(build(photos, name)[0])["digest"] for name in ("one", "two")]
    assert digests[0] == digests[1]
    other = build(photos | {"balance": CAP | {"maximum": 2}}, "three")[0]
    assert read_columns(other)["digest"] != digests[0]


def test_a_data_set_of_which_nothing_is_left_is_an_error_that_counts_why_and_leaves_no_file(photos, build, tmp_path):
    for number in range(12):
        (tmp_path / f"{number}.png").unlink()
    with pytest.raises(ValueError, match=r"dataset mine: no image is left .*cannot be read: No such file[^,]*: 13"):
        build(photos)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_unusable_options_are_refused_before_anything_is_written(build, tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        build({"source": "table", "path": str(tmp_path / "absent.csv"), "balance": CAP, "caption_sets": []})
    assert not (tmp_path / "out").exists()


def test_a_store_built_from_a_store_has_the_same_content(photos, build):
    path, _ = build(photos, "one")
    options = {"source": "hdf5", "path": str(path), "balance": CAP, "caption_sets": ["places"]}
    second, rejects = build(options, "two")
    first, again = read_columns(path), read_columns(second)
    assert first["digest"] == again["digest"]
    assert again["attributes"]["licence"] == "CC0"
    assert rejects.empty


def test_a_store_of_tiles_holds_them_as_rendered_with_their_captions(build):
    path, rejects = build(TILES, "tiles")
    columns = read_columns(path)
    positions = np.column_stack([columns["latitudes"], columns["longitudes"]])
    tiles = bluemarble.render_tiles(positions, 8, 7)
    np.testing.assert_array_equal(read_pixels(path, 8), tiles)
    assert set(columns["captions"]) == {"places", "scenery", "shuffled"}
    assert Counter(columns["captions"]["shuffled"]) == Counter(columns["captions"]["places"])
    assert len(columns["ids"]) + (rejects["reason"] == "geocell full").sum() == TILES["tiles"]
    assert max(Counter(columns["geocells"]).values()) <= 4
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(np.asarray(decode_image(file["images"][0].tobytes())), tiles[0])


def test_what_happened_is_told_in_the_log(photos, build, capsys):
    build(photos)
    told = capsys.readouterr().out
    assert "mine: 14 images listed, 3 left out by the source" in told
    assert "mine: 1 left out: no coordinates" in told
    assert "mine: 12 images in " in told
    assert "of 3 countries" in told

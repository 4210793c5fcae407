"""From a source to a store: balance, loading, captions, and an account of every image."""

import io
import itertools
from collections import Counter

import h5py
import numpy as np
import pandas as pd
import pytest
from pictures import noise
from PIL import Image

from geoprobe.images import bluemarble, table
from geoprobe.images.build import build_store, choose_rows, make_captions, write_images
from geoprobe.images.pack import open_pack, write_status
from geoprobe.images.plan import plan_images
from geoprobe.images.sources import load_source
from geoprobe.images.store import decode_image, read_columns, read_pixels, writing_store
from geoprobe.images.verify import verify_image

CITIES = {"Paris": (48.8566, 2.3522), "Nairobi": (-1.2864, 36.8172), "Suva": (-18.1416, 178.4419)}
MADE = ("places", "scenery", "shuffled")
COUNTRIES = {"Paris": "France", "Nairobi": "Kenya", "Suva": "Fiji"}
CAP = {"minimum": 2, "maximum": 100, "seed": 1}
TILES = {
    "source": "bluemarble", "part": "probe", "tiles": 40, "tile_pixels": 8, "ground_km": 7, "max_sea_share": 0.5,
    "block_degrees": 10, "shares": {"probe": 0.4, "tune": 0.15}, "seed": 1,
    "balance": {"minimum": 3, "maximum": 4, "seed": 1}, "caption_sets": ["places", "scenery", "shuffled"],
}  # fmt: skip


def picture(seed):
    return noise(seed, (6, 6))


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
    """Plan and build a store from options; returns its path and the rejects."""

    def make(options, name="mine", downloads=()):
        out = tmp_path / "out"
        plan, left_out, store, rejects, balance = (
            out / f"{name}{end}"
            for end in (".plan.parquet", ".left_out.parquet", ".h5", ".rejects.parquet", ".balance.csv")
        )
        source = load_source(options["source"])
        source.check(options)
        plan_images(source.list_images(options, None), plan, left_out, name, options["balance"])
        build_store(store, rejects, balance, name, options, plan, left_out, downloads=downloads)
        return store, pd.read_parquet(rejects)

    return make


# choosing among what has arrived


def arrived(*rows):
    """A plan of images (id, geocell, rank) and their statuses (status, sha256)."""
    frame = pd.DataFrame(rows, columns=["id", "geocell", "rank", "status", "sha256"])
    return frame[["id", "geocell", "rank"]], frame[["status", "sha256"]].assign(detail="why")


def test_what_did_not_arrive_keeps_its_reason_and_a_spare_takes_its_place():
    rows, statuses = arrived(
        ("a", "FR/*", 1, "ok", "1"),
        ("b", "FR/*", 0, "http 404", ""),
        ("c", "FR/*", 3, "ok", "3"),
        ("d", "FR/*", 2, "ok", "4"),
        ("e", "DE/*", 0, "timed out", ""),
    )
    reason, detail = choose_rows(rows, statuses, 2)
    assert reason.tolist() == ["", "http 404", "geocell full", "", "timed out"]
    assert detail.tolist() == ["", "why", "", "", "why"]


def test_of_equal_files_the_first_stays_and_takes_no_ones_place():
    rows, statuses = arrived(
        ("a", "FR/*", 2, "ok", "same"),
        ("b", "FR/*", 0, "ok", "same"),
        ("c", "DE/*", 0, "ok", "same"),
        ("d", "FR/*", 1, "ok", "other"),
    )
    reason, detail = choose_rows(rows, statuses, 2)
    assert reason.tolist() == ["", "duplicate", "duplicate", ""]
    assert detail.tolist() == ["", "of a", "of a", ""]


def test_files_that_are_not_compared_are_never_duplicates():
    rows, statuses = arrived(("a", "FR/*", 0, "ok", ""), ("b", "FR/*", 1, "ok", ""))
    assert choose_rows(rows, statuses, 5)[0].tolist() == ["", ""]


# captions


def placed(count):
    return pd.DataFrame({"country": [f"Country {k}" for k in range(count)], "region": "North"})


@pytest.mark.parametrize("sets", [sets for count in range(4) for sets in itertools.combinations(MADE, count)])
def test_the_caption_sets_are_those_asked_for_and_the_sources_own(sets):
    rows = placed(5).assign(**{"caption:title": list("abcde")})
    captions = make_captions(rows, list(sets), list("vwxyz"), 0)
    assert set(captions) == {"title", *sets}
    assert captions["title"] == list("abcde")
    assert {len(values) for values in captions.values()} == {5}


def test_shuffled_captions_are_the_places_in_another_order():
    captions = make_captions(placed(60), ["places", "shuffled"], [], 3)
    assert captions["places"][4] == "Country 4, North"
    assert captions["places"] != captions["shuffled"]
    assert Counter(captions["places"]) == Counter(captions["shuffled"])
    assert captions["shuffled"] == make_captions(placed(60), ["shuffled"], [], 3)["shuffled"]
    assert captions["shuffled"] != make_captions(placed(60), ["shuffled"], [], 4)["shuffled"]


def test_scenery_follows_each_image(tmp_path):
    files = []
    for colour in [(255, 255, 255), (205, 172, 128)]:
        buffer = io.BytesIO()
        Image.new("RGB", (6, 6), colour).save(buffer, format="PNG")
        files.append(buffer.getvalue())
    with writing_store(tmp_path / "store.h5") as writer:
        scenery = write_images(writer, files, described=True)
        columns = {key: ["a", "b"] for key in ("ids", "geocells", "countries", "groups")}
        columns |= {key: [1.0, 2.0] for key in ("latitudes", "longitudes")}
        writer.finish(columns, {"scenery": scenery}, {})
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
    assert len(read_columns(path)["ids"]) == 12


def test_what_a_full_geocell_leaves_out_is_counted(photos, build):
    path, rejects = build(photos | {"balance": CAP | {"maximum": 3}})
    columns = read_columns(path)
    assert max(Counter(columns["geocells"]).values()) <= 3
    assert (rejects["reason"] == "geocell full").sum() > 0
    assert len(columns["ids"]) + len(rejects) == 17


def test_licence_source_and_gazetteer_are_kept_with_the_store(photos, build):
    attributes = read_columns(build(photos, "mine")[0])["attributes"]
    assert (attributes["dataset"], attributes["source"], attributes["licence"]) == ("mine", "table", "CC0")
    assert "GeoNames" in attributes["administrative_units"]
    assert 0 <= attributes["border_uncertain_share"] <= 1


def test_the_same_photos_give_the_same_digest(photos, build):
    digests = [read_columns(build(photos, name)[0])["digest"] for name in ("one", "two")]
    assert digests[0] == digests[1]
    other = build(photos | {"balance": CAP | {"maximum": 2}}, "three")[0]
    assert read_columns(other)["digest"] != digests[0]


def test_a_data_set_of_which_nothing_is_left_is_an_error_that_counts_why_and_leaves_no_store(photos, build, tmp_path):
    for number in range(12):
        (tmp_path / f"{number}.png").unlink()
    with pytest.raises(ValueError, match=r"dataset mine: no image is left .*cannot be read: No such file.*: 13"):
        build(photos)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mine.plan.parquet", "mine.left_out.parquet"}


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
    for count, reason in ((1, "no coordinates"), (1, "id given twice"), (0, "geocell full")):
        assert f"{count} x {reason}" in told
    assert "mine: 12 of 14 planned images kept" in told
    assert "mine: 12 images in " in told
    assert "of 3 countries" in told


def test_a_copy_is_a_reject_and_a_smaller_version_joins_its_group(photos, build, tmp_path):
    """The same file under another name is left out; the same picture in another format is not split from it."""
    smooth = Image.fromarray(np.random.default_rng(3).integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((200, 200))
    smooth.save(tmp_path / "3.png")
    (tmp_path / "4.png").write_bytes((tmp_path / "3.png").read_bytes())
    smooth.resize((100, 100)).save(tmp_path / "5.png")
    path, rejects = build(photos)
    assert rejects.set_index("id").loc["4.png", ["reason", "detail"]].tolist() == ["duplicate", "of 3.png"]
    columns = read_columns(path)
    groups = dict(zip(columns["ids"], columns["groups"], strict=True))
    assert groups.pop("5.png") == "3.png"
    assert all(group == name for name, group in groups.items())
    apart, _ = build(photos | {"near_duplicate_bits": None}, "apart")
    columns = read_columns(apart)
    assert columns["groups"].tolist() == columns["ids"].tolist()


def test_the_balance_counts_every_listed_image_by_country(photos, build, tmp_path):
    path, rejects = build(photos | {"balance": CAP | {"maximum": 3}})
    balance = pd.read_csv(tmp_path / "out" / "mine.balance.csv", keep_default_na=False).set_index("country")
    assert balance["listed"].sum() == 17
    assert (balance["listed"] == balance[["kept", "geocell_full", "left_out"]].sum(axis=1)).all()
    stored = Counter(read_columns(path)["countries"])
    assert {name: count for name, count in balance["kept"].items() if count} == stored
    assert balance.loc["not placed", "left_out"] == 2
    assert balance.loc["Fiji", "continent"] == "Oceania"
    assert balance["geocell_full"].sum() == (rejects["reason"] == "geocell full").sum()


def test_downloads_of_another_plan_are_refused(photos, build, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "NETWORK", True)
    statuses = pd.DataFrame({"id": ["0.png"], "status": ["ok"], "detail": [""], "sha256": [""], "phash": [""]})
    statuses.to_parquet(tmp_path / "0.parquet")
    with pytest.raises(ValueError, match=r"13 planned images have no status \(such as 1\.png\)"):
        build(photos, downloads=[(tmp_path / "0.parquet", tmp_path / "0.pack")])


def test_downloaded_images_come_from_the_packs_of_their_shards(photos, build, tmp_path, monkeypatch):
    """Two shards, a failure in one; the store is that of the plan's order."""
    monkeypatch.setattr(table, "NETWORK", True)
    source = table.list_images(photos, None)
    plan, left_out = tmp_path / "plan.parquet", tmp_path / "left_out.parquet"
    plan_images(source, plan, left_out, "mine", CAP, shards=2)
    rows = pd.read_parquet(plan)
    downloads = []
    for shard in range(2):
        folder = tmp_path / f"{shard}.pack"
        ids = rows.loc[rows["shard"] == shard, "id"].tolist()
        with open_pack(folder) as pack:
            for name in ids[::-1]:
                empty = {"retryable": False, "url": "", "http_status": None}
                if name.startswith(("broken", "absent", "7")):
                    looks = {
                        "status": "http 404",
                        "detail": "",
                        "sha256": "",
                        "width": None,
                        "height": None,
                        "phash": "",
                    }
                    pack.put({"id": name, **looks, **empty})
                else:
                    data = picture(int(name.split(".")[0]))
                    pack.put({"id": name, **verify_image(data, 1000), **empty}, data)
        write_status(folder, ids, tmp_path / f"{shard}.parquet")
        downloads.append((tmp_path / f"{shard}.parquet", folder))
    store = tmp_path / "mine.h5"
    build_store(store, tmp_path / "r.parquet", tmp_path / "b.csv", "mine", photos, plan, left_out, downloads=downloads)
    kept = [f"{number}.png" for number in range(12) if number != 7]
    assert read_columns(store)["ids"].tolist() == kept
    with h5py.File(store) as file:
        assert [data.tobytes() for data in file["images"]] == [picture(int(name.split(".")[0])) for name in kept]
    rejects = pd.read_parquet(tmp_path / "r.parquet").set_index("id")
    assert rejects.loc["7.png", "reason"] == "http 404"

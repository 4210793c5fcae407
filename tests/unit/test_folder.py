"""Source `folder`: photographs of every kind with EXIF built byte by byte, and what cameras and people do to them.

The EXIF bytes are laid out by hand (exif_data.py), so that no library writes what it reads.
"""

import io
import os
import sys
from fractions import Fraction

import numpy as np
import pandas as pd
import pillow_heif
import pytest
from exif_data import (
    ARTIST,
    ASCII,
    DATE_TIME,
    DATE_TIME_ORIGINAL,
    GPS_IFD,
    LATITUDE,
    LATITUDE_REF,
    LONGITUDE,
    LONGITUDE_REF,
    RATIONAL,
    SIGNED_RATIONAL,
    exif_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import noise
from PIL import Image

from geoprobe.images import folder, sources
from geoprobe.images.build import verify_rows
from geoprobe.images.formats import register_plugins

pillow_heif.register_heif_opener()
PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
FORMS = {
    "a.jpg": "JPEG", "b.JPEG": "JPEG", "c.png": "PNG", "d.webp": "WEBP", "e.tif": "TIFF", "f.TIFF": "TIFF",
    "g.heic": "HEIF", "h.HEIF": "HEIF", "i.avif": "AVIF",
}  # fmt: skip
PARIS = {
    LATITUDE_REF: (ASCII, "N"), LATITUDE: (RATIONAL, [(48, 1), (51, 1), (2376, 100)]),
    LONGITUDE_REF: (ASCII, "E"), LONGITUDE: (RATIONAL, [(2, 1), (21, 1), (792, 100)]),
}  # fmt: skip
PARIS_DEGREES = (48 + 51 / 60 + 23.76 / 3600, 2 + 21 / 60 + 7.92 / 3600)


def picture(form="JPEG", exif=None, seed=0):
    return noise(seed, (24, 16), form, **({} if exif is None else {"exif": exif}))


@pytest.fixture
def photos(tmp_path):
    """Write files below a folder of photos; returns the folder."""

    def make(content):
        for name, data in content.items():
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "photos"

    return make


def listing(path, **options):
    options = {"path": str(path), **options}
    folder.check(options)
    frames = list(folder.list_images(options))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"id": []})


def position(gps):
    """Position and reason that a photo with this GPS directory is listed with."""
    image = Image.open(io.BytesIO(picture("JPEG", exif_bytes(gps))))
    return folder.gps_position(image.getexif().get_ifd(GPS_IFD))


# formats


@pytest.mark.parametrize("name", FORMS)
def test_a_photo_of_any_format_is_listed_where_its_exif_says(photos, name):
    path = photos({name: picture(FORMS[name], exif_bytes(PARIS))})
    rows = listing(path)
    assert rows["reason"].tolist() == [""]
    np.testing.assert_allclose(rows[["latitude", "longitude"]], [PARIS_DEGREES], rtol=0, atol=1e-9)
    assert rows["id"].tolist() == [name]
    assert rows["path"].tolist() == [str(path / name)]
    assert rows["latitude"].dtype == rows["longitude"].dtype == np.float64


@pytest.mark.parametrize("name", FORMS)
def test_a_photo_of_any_format_is_loaded_byte_for_byte(photos, name):
    data = picture(FORMS[name], exif_bytes(PARIS))
    assert list(folder.load_images(listing(photos({name: data})), {})) == [(data, "")]


def test_the_content_tells_the_format_and_not_the_ending(photos):
    rows = listing(photos({"a.png": picture("JPEG", exif_bytes(PARIS)), "b.jpg": picture("HEIF", exif_bytes(PARIS))}))
    assert rows["reason"].tolist() == ["", ""]
    np.testing.assert_allclose(rows["latitude"], PARIS_DEGREES[0])


def test_files_of_other_kinds_are_skipped_and_counted(photos, capsys):
    content = dict.fromkeys(
        ["notes.txt", "movie.mp4", "movie.mpg", "data.h5", "a.xmp", "._a.jpg", "Thumbs.db", "no ending"], b"something"
    )
    rows = listing(photos(content | {"a.jpg": picture(exif=exif_bytes(PARIS))}))
    assert rows["id"].tolist() == ["a.jpg"]
    assert "1 image files listed, 8 files of other kinds skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"", b"no picture", picture("JPEG")[:20], b"\x89PNG\r\n\x1a\n", b"\0\0\0\x18ftypheic"]
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "heic"])
def test_what_is_named_as_an_image_and_does_not_open_is_no_image(photos, content, suffix):
    rows = listing(photos({f"a.{suffix}": content, "b.jpg": picture(exif=exif_bytes(PARIS))}))
    assert rows["reason"].tolist() == ["not an image", ""]
    assert rows["latitude"].isna().tolist() == [True, False]


def test_a_photo_that_opens_and_does_not_decode_is_left_out_when_it_is_verified(photos):
    data = picture(exif=exif_bytes(PARIS))
    rows = listing(photos({"a.jpg": data[:-40]}))
    assert rows["reason"].tolist() == [""]
    assert verify_rows(rows, folder, {}, 1, 10**6)["status"].tolist() == ["truncated"]


def test_without_pillow_heif_a_phones_photo_is_listed_with_what_it_needs(photos, monkeypatch):
    path = photos({"a.HEIC": picture("HEIF", exif_bytes(PARIS)), "b.heic": picture(exif=exif_bytes(PARIS))})
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    register_plugins.cache_clear()
    try:
        assert listing(path)["reason"].tolist() == ["HEIC needs the package pillow_heif", ""]
    finally:
        register_plugins.cache_clear()


# what EXIF says


def rationals(degrees):
    """The usual ways to write degrees (a Fraction) as rationals."""
    minutes = (degrees % 1) * 60
    seconds = (minutes % 1) * 60
    whole, whole_minutes = degrees // 1, minutes // 1
    return {
        "degrees, minutes, seconds": [(whole, 1), (whole_minutes, 1), (seconds.numerator, seconds.denominator)],
        "decimal minutes": [(whole, 1), (minutes.numerator, minutes.denominator), (0, 1)],
        "decimal minutes alone": [(whole, 1), (minutes.numerator, minutes.denominator)],
        "decimal degrees": [(degrees.numerator, degrees.denominator), (0, 1), (0, 1)],
        "decimal degrees alone": [(degrees.numerator, degrees.denominator)],
    }


WAYS = list(rationals(Fraction(1)))


@PROPERTY
@given(
    st.fractions(0, 90, max_denominator=10_000),
    st.fractions(0, 180, max_denominator=10_000),
    st.sampled_from("NS"),
    st.sampled_from("EW"),
    st.sampled_from(WAYS),
)
def test_every_way_to_write_degrees_gives_the_same_position(latitude, longitude, north, east, way):
    gps = {
        LATITUDE_REF: (ASCII, north),
        LATITUDE: (RATIONAL, rationals(latitude)[way]),
        LONGITUDE_REF: (ASCII, east),
        LONGITUDE: (RATIONAL, rationals(longitude)[way]),
    }
    found = position(gps)
    signs = (1 if north == "N" else -1, 1 if east == "E" else -1)
    np.testing.assert_allclose(found[:2], (signs[0] * float(latitude), signs[1] * float(longitude)), atol=1e-9)
    assert found[2] == ""


@pytest.mark.parametrize(
    ("north", "east", "signs"),
    [("N", "W", (1, -1)), ("S", "E", (-1, 1)), ("south", "west", (-1, -1)), ("s ", "e", (-1, 1))],
)
def test_south_and_west_are_negative(north, east, signs):
    gps = PARIS | {LATITUDE_REF: (ASCII, north), LONGITUDE_REF: (ASCII, east)}
    np.testing.assert_allclose(position(gps)[:2], np.multiply(signs, PARIS_DEGREES))


def without(*tags):
    return {tag: value for tag, value in PARIS.items() if tag not in tags}


@pytest.mark.parametrize(
    ("gps", "reason"),
    [
        (None, folder.NO_GPS),
        ({}, folder.NO_GPS),
        (without(LATITUDE), folder.NO_GPS),
        (without(LONGITUDE, LONGITUDE_REF), folder.NO_GPS),
        (without(LATITUDE_REF), folder.NO_HEMISPHERE),
        (without(LONGITUDE_REF), folder.NO_HEMISPHERE),
        (PARIS | {LATITUDE_REF: (ASCII, "")}, folder.NO_HEMISPHERE),
        (PARIS | {LATITUDE_REF: (ASCII, "E")}, folder.NO_HEMISPHERE),
        (PARIS | {LONGITUDE_REF: (ASCII, "?")}, folder.NO_HEMISPHERE),
        (PARIS | {LATITUDE: (RATIONAL, [(0, 0), (0, 0), (0, 0)])}, folder.NO_DENOMINATOR),
        (PARIS | {LATITUDE: (RATIONAL, [(48, 1), (51, 1), (0, 0)])}, folder.NO_DENOMINATOR),
        (PARIS | {LONGITUDE: (RATIONAL, [(2, 0), (21, 1), (7, 1)])}, folder.NO_DENOMINATOR),
        (PARIS | {LATITUDE: (RATIONAL, [(48, 1), (75, 1), (0, 1)])}, folder.NO_DEGREES),
        (PARIS | {LONGITUDE: (RATIONAL, [(2, 1), (21, 1), (792, 1)])}, folder.NO_DEGREES),
        (PARIS | {LONGITUDE: (RATIONAL, [(2, 1), (21, 1), (7, 1), (9, 1)])}, folder.NO_DEGREES),
        (PARIS | {LONGITUDE: (SIGNED_RATIONAL, [(-2, 1), (21, 1), (7, 1)])}, folder.NO_DEGREES),
        (PARIS | {LATITUDE: (ASCII, "48.85 north")}, folder.NO_DEGREES),
    ],
)
def test_exif_without_a_usable_position_is_a_reason_and_no_guess(photos, gps, reason):
    rows = listing(photos({"a.jpg": picture(exif=exif_bytes(gps, {ARTIST: (ASCII, "Ann")}))}))
    assert rows["reason"].tolist() == [reason]
    assert rows[["latitude", "longitude"]].isna().all(axis=None)


def test_a_photo_without_exif_has_no_gps(photos):
    rows = listing(photos({name: picture(form) for name, form in FORMS.items()}))
    assert rows["reason"].tolist() == [folder.NO_GPS] * len(FORMS)


def test_a_second_rounded_up_to_sixty_is_a_minute():
    gps = PARIS | {LATITUDE: (RATIONAL, [(48, 1), (51, 1), (60, 1)])}
    assert position(gps)[0] == pytest.approx(48 + 52 / 60)


def test_positions_off_the_earth_and_null_island_are_listed_for_the_check_of_all_sources(photos):
    nowhere = {tag: (RATIONAL, [(0, 1), (0, 1), (0, 1)]) for tag in (LATITUDE, LONGITUDE)}
    beyond = {LATITUDE: (RATIONAL, [(139, 1), (0, 1), (0, 1)])}
    rows = listing(
        photos({"a.jpg": picture(exif=exif_bytes(PARIS | nowhere)), "b.jpg": picture(exif=exif_bytes(PARIS | beyond))})
    )
    assert rows["reason"].tolist() == ["", ""]
    assert rows["latitude"].tolist() == [0, 139]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged EXIF; they belong in the log
def test_damaged_exif_is_listed_or_left_out_but_never_ends_the_run(photos):
    whole, generator = exif_bytes(PARIS, {ARTIST: (ASCII, "Ann Author")}), np.random.default_rng(3)
    content = {}
    for number in range(150):
        damaged = bytearray(whole)
        for place in generator.integers(6, len(whole), generator.integers(1, 8)):
            damaged[place] = generator.integers(256)
        content[f"{number:03d}.jpg"] = picture(exif=bytes(damaged))
    rows = listing(photos(content))
    assert len(rows) == 150
    usable = rows["reason"] == ""
    assert usable.any()
    assert not usable.all()
    assert rows["latitude"].notna().tolist() == usable.tolist()


# groups, ids and authors


def test_the_subfolder_is_the_group_and_the_path_below_the_folder_is_the_id(photos):
    photo = picture(exif=exif_bytes(PARIS))
    names = ["top.jpg", "Ann/1.jpg", "Ann/2.jpg", "Bob/2.jpg", "Bob/trip/1.jpg", "Bob/été/1.jpg"]
    rows = listing(photos(dict.fromkeys(names, photo)))
    assert rows["id"].tolist() == names
    assert rows["group"].tolist() == ["", "Ann", "Ann", "Bob", "Bob/trip", "Bob/été"]


@pytest.mark.parametrize(
    ("exif", "day"),
    [
        (exif_bytes(PARIS, detail={DATE_TIME_ORIGINAL: (ASCII, "2019:07:14 23:59:59")}), "2019-07-14"),
        (exif_bytes(PARIS, {DATE_TIME: (ASCII, "2020:02:29 00:00:00")}), "2020-02-29"),
        (
            exif_bytes(
                PARIS,
                {DATE_TIME: (ASCII, "2024:01:01 00:00:00")},
                {DATE_TIME_ORIGINAL: (ASCII, "2019:07:14 23:59:59")},
            ),
            "2019-07-14",
        ),
        (exif_bytes(PARIS, {DATE_TIME: (ASCII, "0000:00:00 00:00:00")}), ""),
        (exif_bytes(PARIS, {DATE_TIME: (ASCII, "yesterday")}), ""),
        (exif_bytes(PARIS), ""),
    ],
)
def test_the_day_on_which_a_photo_was_taken_can_be_the_group(photos, exif, day):
    path = photos({"Ann/a.jpg": picture(exif=exif)})
    assert listing(path, group="day")["group"].tolist() == [day]
    assert listing(path, group="none")["group"].tolist() == [""]


def test_the_artist_is_the_author(photos):
    named = exif_bytes(PARIS, {ARTIST: (ASCII, "Ann Author ")})
    rows = listing(photos({"a.jpg": picture(exif=named), "b.jpg": picture(exif=exif_bytes(PARIS))}))
    assert rows["author"].tolist() == ["Ann Author", ""]


# the folder


def test_the_order_is_that_of_the_names_however_the_disk_has_them(photos, monkeypatch):
    photo = picture(exif=exif_bytes(PARIS))
    names = ["B.jpg", "a.jpg", "b.jpg", "A/2.jpg", "A/10.jpg", "c/1.jpg", "c/b/1.jpg"]
    path = photos(dict.fromkeys(names, photo))
    expected = ["B.jpg", "a.jpg", "b.jpg", "A/10.jpg", "A/2.jpg", "c/1.jpg", "c/b/1.jpg"]
    assert listing(path)["id"].tolist() == expected
    scandir = os.scandir

    class Turned:
        def __init__(self, place):
            with scandir(place) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

    monkeypatch.setattr(os, "scandir", Turned)
    assert listing(path)["id"].tolist() == expected


def test_linked_folders_are_not_entered_and_linked_files_are_read(photos, tmp_path):
    path = photos({"A/a.jpg": picture(exif=exif_bytes(PARIS))})
    (path / "A" / "loop").symlink_to(path, target_is_directory=True)
    (path / "linked.jpg").symlink_to(path / "A" / "a.jpg")
    (path / "nowhere.jpg").symlink_to(tmp_path / "absent.jpg")
    (path / "itself.jpg").symlink_to(path / "itself.jpg")
    rows = listing(path)
    assert dict(zip(rows["id"], rows["reason"], strict=True)) == {
        "itself.jpg": "cannot be read: Too many levels of symbolic links",
        "linked.jpg": "",
        "nowhere.jpg": "cannot be read: No such file or directory",
        "A/a.jpg": "",
    }


def test_a_pipe_named_as_an_image_is_not_opened(photos):
    path = photos({"a.jpg": picture(exif=exif_bytes(PARIS))})
    os.mkfifo(path / "pipe.jpg")
    assert listing(path)["id"].tolist() == ["a.jpg"]


def test_a_name_that_is_not_utf8_is_left_out_and_can_be_written_to_a_table(photos, tmp_path):
    path = photos({"a.jpg": picture(exif=exif_bytes(PARIS))})
    with open(os.fsencode(path) + b"/\xe9t\xe9.jpg", "wb") as file:
        file.write(picture(exif=exif_bytes(PARIS)))
    rows = listing(path)
    rows.to_parquet(tmp_path / "rows.parquet")
    assert rows["reason"].tolist() == ["", "its name is not UTF-8"]
    assert rows["id"].is_unique


def test_a_file_that_vanishes_after_it_was_listed_is_left_out(photos):
    path = photos({"a.jpg": picture(exif=exif_bytes(PARIS))})
    rows = listing(path)
    (path / "a.jpg").unlink()
    assert list(folder.load_images(rows, {})) == [(None, "cannot be read: No such file or directory")]


@pytest.mark.parametrize("chunk", [1, 2, 3, 10])
def test_a_folder_is_read_in_chunks_that_make_up_the_whole(photos, monkeypatch, chunk):
    path = photos({f"{number}.jpg": picture(exif=exif_bytes(PARIS), seed=number) for number in range(5)})
    whole = listing(path)
    monkeypatch.setattr(sources, "CHUNK", chunk)
    frames = list(folder.list_images({"path": str(path)}))
    assert [len(frame) for frame in frames] == [min(chunk, 5 - start) for start in range(0, 5, chunk)]
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)


def test_a_relative_folder_gives_absolute_paths(photos, monkeypatch):
    path = photos({"a.jpg": picture(exif=exif_bytes(PARIS))})
    monkeypatch.chdir(path.parent)
    rows = listing("photos")
    monkeypatch.chdir("/")
    assert list(folder.load_images(rows, {})) == [((path / "a.jpg").read_bytes(), "")]


def test_a_folder_without_images_lists_none(tmp_path):
    assert listing(tmp_path).empty


# errors and description


@pytest.mark.parametrize("name", ["absent", "file.jpg"])
def test_a_folder_that_is_not_there_is_named(tmp_path, name):
    (tmp_path / "file.jpg").write_bytes(picture())
    with pytest.raises(ValueError, match=rf'path is ".*{name}", and there is no such folder\. Give the folder'):
        folder.check({"path": str(tmp_path / name)})


def test_an_unknown_grouping_is_named_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r'group is "camera"; allowed: folder, day, none\.'):
        folder.check({"path": str(tmp_path), "group": "camera"})


def test_licence_and_attribution_are_as_stated_or_not_stated(tmp_path):
    described = folder.describe({"path": str(tmp_path)})
    assert (described["licence"], described["attribution"]) == ("not stated", "not stated")
    assert described["source_version"] == str(tmp_path)
    assert folder.describe({"path": "a", "licence": "CC0", "attribution": "Ann"})["licence"] == "CC0"

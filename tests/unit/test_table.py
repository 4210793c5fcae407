"""Source `table`: real files listed in real tables, good and bad."""

import struct
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import noise

from geoprobe.images import sources, table
from geoprobe.images.build import verify_rows

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, database=None)
HEADER = ["path", "latitude", "longitude"]
FORMS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP"}


def picture(form, seed=0):
    return noise(seed, (15, 12), form)


@pytest.fixture
def photos(tmp_path):
    """A folder with photos a.png, b.jpg and below/c.png."""
    (tmp_path / "below").mkdir()
    (tmp_path / "a.png").write_bytes(picture("PNG", 1))
    (tmp_path / "b.jpg").write_bytes(picture("JPEG", 2))
    (tmp_path / "below" / "c.png").write_bytes(picture("PNG", 3))
    return tmp_path


@pytest.fixture
def listed(photos):
    """Write a table of rows beside the photos; returns a source's options."""

    def make(*rows, columns=HEADER, name="photos.csv", **others):
        frame = pd.DataFrame(rows, columns=columns)
        if name.endswith(".parquet"):
            frame.to_parquet(photos / name, index=False)
        else:
            frame.to_csv(photos / name, index=False)
        return {"path": str(photos / name), **others}

    return make


GOOD = [("a.png", 48.8566, 2.3522), ("b.jpg", -1.2864, 36.8172), ("below/c.png", -16.85, 179.99)]


def listing(options):
    """All rows of a table that can be listed, in one frame."""
    return pd.concat(table.list_images(options), ignore_index=True)


# listing


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
def test_a_table_lists_its_photos_at_their_positions(listed, name):
    options = listed(*GOOD, name=name)
    table.check(options)
    rows = listing(options)
    assert rows["id"].tolist() == rows["group"].tolist() == [path for path, _, _ in GOOD]
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], [row[1:] for row in GOOD])
    assert rows["latitude"].dtype == rows["longitude"].dtype == np.float64
    assert rows["reason"].tolist() == ["", "", ""]
    assert set(rows) == {"id", "latitude", "longitude", "group", "path", "reason"}


def test_a_table_saved_by_a_spreadsheet_with_a_byte_order_mark_is_read(listed):
    options = listed(*GOOD)
    with open(options["path"], "r+", encoding="utf-8") as file:
        text = file.read()
        file.seek(0)
        file.write("\ufeff" + text)
    table.check(options)
    assert listing(options)["path"].tolist() == [path for path, _, _ in GOOD]


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
def test_ids_groups_and_captions_are_taken_over(listed, name):
    columns = ["id", "path", "latitude", "longitude", "group", "title", "unused"]
    options = listed(
        ("x", "a.png", 1.0, 2.0, "Ann", "A hill", 1),
        ("ü", "b.jpg", 3.0, 4.0, "Bob", None, 2),
        columns=columns,
        name=name,
        captions=["title"],
    )
    table.check(options)
    rows = listing(options)
    assert rows["id"].tolist() == ["x", "ü"]
    assert rows["group"].tolist() == ["Ann", "Bob"]
    assert rows["caption:title"].tolist() == ["A hill", ""]
    assert not {"unused", "title"} & set(rows)


def test_ids_are_kept_as_they_are_written(listed):
    rows = listing(listed(("a.png", 1, 2, "01"), ("b.jpg", 1, 2, "1"), columns=[*HEADER, "id"]))
    assert rows["id"].tolist() == ["01", "1"]


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
def test_rows_of_any_coordinates_are_listed_as_they_are_for_the_check_of_all_sources(listed, name):
    table_rows = [
        GOOD[0],
        ("null island", 0.0, 0.0),
        ("nowhere", None, 5.0),
        ("no longitude", 5.0, None),
        ("swapped", 142.7, 35.7),
        ("south of south", -90.5, 0.0),
        ("counted from 0 to 360", 10.0, 200.0),
        ("pole", -90.0, 180.0),
    ]
    rows = listing(listed(*table_rows, name=name))
    assert rows["id"].tolist() == [row[0] for row in table_rows]
    assert rows["reason"].tolist() == [""] * len(table_rows)
    np.testing.assert_array_equal(
        rows[["latitude", "longitude"]], np.array([row[1:] for row in table_rows], dtype=np.float64)
    )


def test_coordinates_that_are_no_numbers_are_missing_coordinates(listed):
    options = listed(("a.png", "48.5", " 2.5"), ("b.jpg", "48° N", "2,5"), ("below/c.png", "inf", "-inf"))
    rows = listing(options)
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], [(48.5, 2.5), (np.nan,) * 2, (np.nan,) * 2])


@PROPERTY
@given(st.lists(st.tuples(*[st.floats(-180, 180)] * 2), min_size=1, max_size=20), st.sampled_from([32, 64]))
def test_coordinates_keep_every_digit_whatever_the_kind_of_table(tmp_path_factory, positions, bits):
    frame = pd.DataFrame(positions, columns=["latitude", "longitude"], dtype=f"float{bits}")
    frame.insert(0, "path", [f"{number}.png" for number in range(len(frame))])
    path = tmp_path_factory.mktemp("digits") / "photos.parquet"
    frame.to_parquet(path, index=False)
    frame.to_csv(path.with_suffix(".csv"), index=False)
    for name in (path, path.with_suffix(".csv")):
        found = listing({"path": str(name)})[["latitude", "longitude"]].astype(f"float{bits}")
        np.testing.assert_array_equal(found, frame[["latitude", "longitude"]])


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
def test_country_licence_and_author_are_taken_over_where_the_table_has_them(listed, name):
    columns = [*HEADER, "country", "licence", "author"]
    options = listed(
        ("a.png", 1, 2, "FR", "CC BY 4.0", "Ann"), ("b.jpg", 3, 4, None, None, None), columns=columns, name=name
    )
    rows = listing(options)
    assert rows[["country", "licence", "author"]].to_numpy().tolist() == [["FR", "CC BY 4.0", "Ann"], ["", "", ""]]
    assert not {"country", "licence", "author"} & set(listing(listed(*GOOD)))


# length


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 20])
def test_a_table_is_read_in_chunks_that_make_up_the_whole(listed, monkeypatch, name, chunk):
    table_rows = [(f"{number}.png" if number % 5 else None, number, -number, f"t{number}") for number in range(20)]
    options = listed(*table_rows, columns=[*HEADER, "title"], name=name, captions=["title"])
    whole = listing(options)
    monkeypatch.setattr(sources, "CHUNK", chunk)
    frames = list(table.list_images(options))
    assert max(len(frame) for frame in frames) == chunk
    assert all(frame.index[0] == 0 for frame in frames)
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)
    assert whole["id"].is_unique


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_length_of_a_table(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(sources, "CHUNK", 1000)
    peaks = []
    for count in (4_000, 40_000):
        frame = pd.DataFrame(
            {"path": [f"{number:0100d}" for number in range(count)], "latitude": 1.0, "longitude": 2.0}
        )
        path = tmp_path / f"{count}.{suffix}"
        if suffix == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False, row_group_size=1000)
        del frame
        tracemalloc.start()
        assert sum(len(rows) for rows in table.list_images({"path": str(path)})) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


# a table with gaps, as people's tables have


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
def test_a_row_without_a_path_is_left_out_and_the_rest_loaded(listed, name):
    options = listed(GOOD[0], (None, 5.0, 6.0), GOOD[1], name=name)
    rows = listing(options)
    assert rows["reason"].tolist() == ["", "no path", ""]
    assert rows["id"].tolist() == ["a.png", "row 2", "b.jpg"]
    loaded = list(table.load_images(rows[rows["reason"] == ""], options))
    assert loaded == [(picture("PNG", 1), ""), (picture("JPEG", 2), "")]


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
@pytest.mark.parametrize("column", ["id", "group"])
def test_a_gap_among_ids_or_groups_is_no_value_that_is_shared_or_missing(listed, name, column):
    rows = [(*row, value) for row, value in zip(GOOD, ["x", None, None], strict=True)]
    options = listed(*rows, columns=[*HEADER, column], name=name)
    rows = listing(options)
    assert len(rows) == 3
    for found in ("id", "group"):
        assert all(isinstance(value, str) and value for value in rows[found])
        assert rows[found].is_unique


def test_the_words_na_and_none_are_words(listed):
    columns = [*HEADER, "id", "group", "title"]
    options = listed(("a.png", 1, 2, "NA", "null", "None"), columns=columns, captions=["title"])
    rows = listing(options)
    assert rows[["id", "group", "caption:title"]].to_numpy().tolist() == [["NA", "null", "None"]]


@pytest.mark.parametrize("values", [(None, None), (7, None)])
def test_a_caption_column_without_any_text_is_read(listed, values):
    rows = [(*row, value) for row, value in zip(GOOD, values, strict=False)]
    rows = listing(listed(*rows, columns=[*HEADER, "title"], captions=["title"]))
    assert all(isinstance(caption, str) for caption in rows["caption:title"])
    assert rows["caption:title"].tolist()[-1] == ""


# errors


def test_a_table_without_rows_lists_none(listed):
    assert list(table.list_images(listed())) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('a.png,1,2\n"b.jpg,3,4\n', r"line 3: .*Is a quotation mark left open"),
        ('a.png,1,2\n"b".jpg,3,4\n', r"line 3: .*not doubled"),
        ("a.png,1,2\nb, the second.jpg,3,4\n", r"4 fields under 3 columns: b, the second\.jpg,3,4\. Put a field"),
        ("a.png,1,2\n\xe9t\xe9.jpg,3,4\n", r"not UTF-8 text\. Save the table as UTF-8"),
    ],
)
def test_text_that_is_no_csv_is_named_by_file_and_place(photos, text, says):
    (photos / "photos.csv").write_bytes(b"path,latitude,longitude\n" + text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"photos\.csv.*{says}") as caught:
        listing({"path": str(photos / "photos.csv")})
    assert "\n" not in str(caught.value)


def test_empty_fields_and_lines_beyond_the_columns_are_no_error_and_short_rows_are_gaps(photos):
    text = "path,latitude,longitude,title\na.png,1,2,hill,,\n\nb.jpg,3\n"
    (photos / "photos.csv").write_text(text)
    rows = listing({"path": str(photos / "photos.csv"), "captions": ["title"]})
    assert rows["caption:title"].tolist() == ["hill", ""]
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], [(1, 2), (3, np.nan)])


def test_a_parquet_table_that_is_none_is_named(photos):
    (photos / "photos.parquet").write_text("path,latitude,longitude\n")
    with pytest.raises(ValueError, match=r"photos\.parquet\" is not a Parquet file"):
        table.check({"path": str(photos / "photos.parquet")})


def test_a_column_of_lists_is_named(photos):
    frame = pd.DataFrame({"path": ["a.png"], "latitude": [1.0], "longitude": [2.0], "title": [[["a"], ["b"]]]})
    frame.to_parquet(photos / "photos.parquet")
    with pytest.raises(ValueError, match=r'photos\.parquet: the column "title" holds list<.*not text or numbers'):
        listing({"path": str(photos / "photos.parquet"), "captions": ["title"]})


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
@pytest.mark.parametrize("missing", HEADER)
def test_a_missing_column_is_named_with_the_columns_there_are(listed, name, missing):
    columns = [column if column != missing else "something" for column in HEADER]
    options = listed(*GOOD, columns=columns, name=name)
    with pytest.raises(
        ValueError, match=rf"{name}.*{', '.join(columns)}.*no column {missing}\. Rename or add it"
    ) as caught:
        table.check(options)
    assert "\n" not in str(caught.value)


def test_all_missing_columns_are_named_at_once(listed):
    with pytest.raises(ValueError, match="no column path and no column latitude and no column longitude"):
        table.check(listed(("a", 1, 2), columns=["file", "lat", "lon"]))


def test_an_empty_file_has_no_columns(photos):
    (photos / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="no column path"):
        table.check({"path": str(photos / "empty.csv")})


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet", "below"])
def test_a_table_that_is_not_there_is_named(photos, name):
    with pytest.raises(ValueError, match=rf'path is ".*{name}", and there is no such file\. Give a CSV or Parquet'):
        table.check({"path": str(photos / name)})


def test_a_caption_column_that_is_not_there_is_named(listed):
    with pytest.raises(ValueError, match=r'captions names the column "heading", which ".*photos\.csv" does not have'):
        table.check(listed(*GOOD, captions=["heading"]))


# loading


def load(photos, *names):
    """What is loaded for files in the photos' folder."""
    rows = pd.DataFrame({"path": list(names)})
    return list(table.load_images(rows, {"path": str(photos / "photos.csv")}))


def verified(photos, *names):
    """What the build stage finds of files: "ok", or the reason why they are left out."""
    rows = pd.DataFrame({"path": names})
    return verify_rows(rows, table, {"path": str(photos / "photos.csv")}, threads=2, max_pixels=10**6)[
        "status"
    ].tolist()


def test_files_are_loaded_as_they_are_on_disk_relative_to_the_table(listed):
    options = listed(*GOOD)
    rows = listing(options)
    expected = [picture("PNG", 1), picture("JPEG", 2), picture("PNG", 3)]
    assert list(table.load_images(rows, options)) == [(data, "") for data in expected]


def test_an_absolute_path_is_taken_as_it_is(photos, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "d.png"
    elsewhere.write_bytes(picture("PNG", 5))
    assert load(photos, str(elsewhere)) == [(picture("PNG", 5), "")]


def test_a_missing_file_and_a_folder_are_left_out_for_their_reason(photos):
    loaded = load(photos, "absent.png", "below", "a.png")
    assert loaded[0] == (None, "cannot be read: No such file or directory")
    assert loaded[1] == (None, "cannot be read: Is a directory")
    assert loaded[2] == (picture("PNG", 1), "")


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", picture("JPEG")[:60], picture("PNG")[:-30]]
)
def test_a_file_that_is_no_picture_is_left_out_for_that_reason(photos, content):
    (photos / "broken.png").write_bytes(content)
    assert verified(photos, "broken.png")[0] in ("not an image", "truncated")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged headers; they belong in the log
@pytest.mark.parametrize("suffix", FORMS)
def test_a_damaged_file_is_loaded_or_left_out_but_never_ends_the_run(photos, suffix):
    whole, generator = picture(FORMS[suffix]), np.random.default_rng(7)
    names = []
    for number in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), generator.integers(1, 6)):
            damaged[place] = generator.integers(256)
        names.append(f"damaged{number}.{suffix}")
        (photos / names[-1]).write_bytes(damaged[: generator.integers(1, len(whole))] if number % 3 == 0 else damaged)
    statuses = verified(photos, *names, "a.png")
    assert statuses[-1] == "ok"
    assert set(statuses) <= {"ok", "not an image", "truncated", "too many pixels"}


def test_a_tiff_whose_header_is_damaged_is_left_out(photos):
    damaged = bytearray(picture("TIFF"))
    (directory,) = struct.unpack_from("<I", damaged, 4)
    (count,) = struct.unpack_from("<H", damaged, directory)
    entries = range(directory + 2, directory + 2 + 12 * count, 12)
    (strips,) = [entry for entry in entries if struct.unpack_from("<H", damaged, entry) == (273,)]
    struct.pack_into("<H", damaged, strips + 2, 5)  # the strips' place is given as a fraction
    (photos / "damaged.tif").write_bytes(damaged)
    assert verified(photos, "damaged.tif", "a.png") == ["not an image", "ok"]


# description


def test_licence_and_attribution_are_as_stated_or_not_stated(listed):
    options = listed(*GOOD)
    described = table.describe(options)
    assert (described["licence"], described["attribution"]) == ("not stated", "not stated")
    assert described["source_version"] == options["path"]
    described = table.describe(options | {"licence": "CC BY 4.0", "attribution": "Ann"})
    assert (described["licence"], described["attribution"]) == ("CC BY 4.0", "Ann")

"""Source `table`: real files listed in real tables, good and bad."""

import io
import struct

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoprobe.images import table

HEADER = ["path", "latitude", "longitude"]
FORMS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP"}


def picture(form, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=form)
    return buffer.getvalue()


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


def reasons(rejects):
    return dict(zip(rejects["id"], rejects["reason"], strict=True))


# listing


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
def test_a_table_lists_its_photos_at_their_positions(listed, name):
    options = listed(*GOOD, name=name)
    table.check(options)
    rows, rejects = table.list_images(options)
    assert rows["id"].tolist() == rows["group"].tolist() == [path for path, _, _ in GOOD]
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], [row[1:] for row in GOOD])
    assert rejects.empty
    assert {"id", "latitude", "longitude", "reason"} == set(rejects)


def test_a_table_saved_by_a_spreadsheet_with_a_byte_order_mark_is_read(listed):
    options = listed(*GOOD)
    with open(options["path"], "r+", encoding="utf-8") as file:
        text = file.read()
        file.seek(0)
        file.write("\ufeff" + text)
    table.check(options)
    assert len(table.list_images(options)[0]) == 3


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
    rows, _ = table.list_images(options)
    assert rows["id"].tolist() == ["x", "ü"]
    assert rows["group"].tolist() == ["Ann", "Bob"]
    assert rows["caption:title"].tolist() == ["A hill", ""]
    assert not {"unused", "title"} & set(rows)


def test_ids_are_kept_as_they_are_written(listed):
    rows, rejects = table.list_images(listed(("a.png", 1, 2, "01"), ("b.jpg", 1, 2, "1"), columns=[*HEADER, "id"]))
    assert rows["id"].tolist() == ["01", "1"]
    assert rejects.empty


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
def test_a_row_without_usable_coordinates_is_left_out_for_its_reason(listed, name):
    options = listed(
        GOOD[0],
        ("null island", 0.0, 0.0),
        ("nowhere", None, 5.0),
        ("no longitude", 5.0, None),
        ("swapped", 142.7, 35.7),
        ("south of south", -90.5, 0.0),
        ("counted from 0 to 360", 10.0, 200.0),
        ("on the equator", 0.0, 9.5),
        ("on the prime meridian", 51.5, 0.0),
        ("pole", -90.0, 180.0),
        name=name,
    )
    rows, rejects = table.list_images(options)
    assert rows["id"].tolist() == ["a.png", "on the equator", "on the prime meridian", "pole"]
    assert rows.index.tolist() == [0, 1, 2, 3]
    assert reasons(rejects) == {
        "null island": "coordinates are (0, 0)",
        "nowhere": "no coordinates",
        "no longitude": "no coordinates",
        "swapped": "latitude outside [-90, 90]",
        "south of south": "latitude outside [-90, 90]",
        "counted from 0 to 360": "longitude outside [-180, 180]",
    }


def test_coordinates_that_are_no_numbers_are_missing_coordinates(listed):
    options = listed(("a.png", "48.5", "2.5"), ("b.jpg", "48° N", "2° E"), ("below/c.png", "inf", "3"))
    rows, rejects = table.list_images(options)
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], [(48.5, 2.5)])
    assert reasons(rejects)["b.jpg"] == "no coordinates"
    assert set(reasons(rejects)) == {"b.jpg", "below/c.png"}


def test_an_id_given_twice_keeps_the_first(listed):
    rows, rejects = table.list_images(listed(("a.png", 1, 2), ("b.jpg", 3, 4), ("a.png", 5, 6)))
    assert rows["latitude"].tolist() == [1, 3]
    assert rejects[["latitude", "reason"]].to_numpy().tolist() == [[5, "id given twice"]]


# a table with gaps, as people's tables have


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
def test_a_row_without_a_path_is_left_out_and_the_rest_loaded(listed, name):
    options = listed(GOOD[0], (None, 5.0, 6.0), GOOD[1], name=name)
    rows, rejects = table.list_images(options)
    loaded = list(table.load_images(rows, options))
    images = [data for data, _ in loaded if data is not None]
    assert images == [picture("PNG", 1), picture("JPEG", 2)]
    assert len(rejects) + sum(reason != "" for _, reason in loaded) == 1


@pytest.mark.parametrize("name", ["photos.csv", "photos.parquet"])
@pytest.mark.parametrize("column", ["id", "group"])
def test_a_gap_among_ids_or_groups_is_no_value_that_is_shared_or_missing(listed, name, column):
    rows = [(*row, value) for row, value in zip(GOOD, ["x", None, None], strict=True)]
    options = listed(*rows, columns=[*HEADER, column], name=name)
    rows, rejects = table.list_images(options)
    assert len(rows) + len(rejects) == 3
    for found in ("id", "group"):
        assert all(isinstance(value, str) and value for value in rows[found])
        assert rows[found].is_unique


def test_the_words_na_and_none_are_words(listed):
    columns = [*HEADER, "id", "group", "title"]
    options = listed(("a.png", 1, 2, "NA", "null", "None"), columns=columns, captions=["title"])
    rows, _ = table.list_images(options)
    assert rows[["id", "group", "caption:title"]].to_numpy().tolist() == [["NA", "null", "None"]]


@pytest.mark.parametrize("values", [(None, None), (7, None)])
def test_a_caption_column_without_any_text_is_read(listed, values):
    rows = [(*row, value) for row, value in zip(GOOD, values, strict=False)]
    rows, _ = table.list_images(listed(*rows, columns=[*HEADER, "title"], captions=["title"]))
    assert all(isinstance(caption, str) for caption in rows["caption:title"])
    assert rows["caption:title"].tolist()[-1] == ""


# errors


def test_a_table_of_swapped_columns_is_refused_with_the_fix(listed):
    options = listed(("a.png", 139.7, 35.7), ("b.jpg", 151.2, -33.9))
    with pytest.raises(ValueError, match=r"no row has usable coordinates .*2 x latitude outside.*columns swapped"):
        table.list_images(options)


def test_a_table_without_rows_is_refused(listed):
    with pytest.raises(ValueError, match="no row has usable coordinates"):
        table.list_images(listed())


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


def test_files_are_loaded_as_they_are_on_disk_relative_to_the_table(listed):
    options = listed(*GOOD)
    rows, _ = table.list_images(options)
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
    ((data, reason),) = load(photos, "broken.png")
    assert data is None
    assert reason.startswith("not an image: ")


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
    loaded = load(photos, *names, "a.png")
    assert loaded[-1] == (picture("PNG", 1), "")
    for name, (data, reason) in zip(names, loaded[:-1], strict=True):
        assert (data is None) == (reason != "")
        assert data in (None, (photos / name).read_bytes())


def test_a_tiff_whose_header_is_damaged_is_left_out(photos):
    damaged = bytearray(picture("TIFF"))
    (directory,) = struct.unpack_from("<I", damaged, 4)
    (count,) = struct.unpack_from("<H", damaged, directory)
    entries = range(directory + 2, directory + 2 + 12 * count, 12)
    (strips,) = [entry for entry in entries if struct.unpack_from("<H", damaged, entry) == (273,)]
    struct.pack_into("<H", damaged, strips + 2, 5)  # the strips' place is given as a fraction
    (photos / "damaged.tif").write_bytes(damaged)
    ((data, reason), (good, _)) = load(photos, "damaged.tif", "a.png")
    assert data is None
    assert reason.startswith("not an image: ")
    assert good == picture("PNG", 1)


# description


def test_licence_and_attribution_are_as_stated_or_not_stated(listed):
    options = listed(*GOOD)
    described = table.describe(options)
    assert (described["licence"], described["attribution"]) == ("not stated", "not stated")
    assert described["source_version"] == options["path"]
    described = table.describe(options | {"licence": "CC BY 4.0", "attribution": "Ann"})
    assert (described["licence"], described["attribution"]) == ("CC BY 4.0", "Ann")

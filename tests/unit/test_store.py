"""The image store: what is written, that it comes back as it was, and that it is whole or absent."""

import io
import json

import h5py
import numpy as np
import pytest
from PIL import Image

import geoprobe
from geoprobe.images.store import (
    CHUNK,
    decode_image,
    read_columns,
    read_images,
    read_pixels,
    read_positions,
    read_squares,
)
from geoprobe.images.store import write_store as write

TEXTS = ("ids", "geocells", "countries", "groups")
COLUMNS = {
    "latitudes": [48.8566, -1.28639, -16.85],
    "longitudes": [2.3522, 36.8172, 179.99],
    "ids": ["a", "b/ü.png", "3"],
    "geocells": ["FR/Île-de-France/*", "KE/*", "FJ/*"],
    "countries": ["France", "Kenya", "Fiji"],
    "groups": ["a", "a", "3"],
}
CAPTIONS = {"places": ["France, Île-de-France", "Kenya", ""], "scenery": ["smooth", "rough", "路"]}
ATTRIBUTES = {"source": "table", "licence": "CC0", "share": 0.25, "left_out": 3}
QUADRANTS = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]], dtype=np.uint8)
UPRIGHT = QUADRANTS.repeat(8, axis=0).repeat(12, axis=1)  # 16 x 24, a colour a quadrant
# EXIF 2.32, tag 274: which visual side the stored first row and first column are
STORED = {
    1: UPRIGHT,  # top, left
    2: UPRIGHT[:, ::-1],  # top, right
    3: UPRIGHT[::-1, ::-1],  # bottom, right
    4: UPRIGHT[::-1],  # bottom, left
    5: UPRIGHT.transpose(1, 0, 2),  # left, top
    6: UPRIGHT[:, ::-1].transpose(1, 0, 2),  # right, top
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: UPRIGHT[::-1].transpose(1, 0, 2),  # left, bottom
}


def encode(pixels, form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format=form, **options)
    return buffer.getvalue()


def noise(height=10, width=14, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


FILES = [
    encode(noise(seed=1)),
    encode(noise(12, 9, seed=2), "JPEG"),
    encode(noise(8, 8, seed=3), "WEBP", lossless=True),
]


@pytest.fixture
def store(tmp_path):
    """Write a store that differs from the good one in what is given; returns its path."""

    def make(name="store.h5", encoded=FILES, captions=CAPTIONS, attributes=ATTRIBUTES, **columns):
        path = tmp_path / "images" / name
        write(path, iter(encoded), COLUMNS | columns, captions, attributes)
        return path

    return make


def digest(path):
    return read_columns(path)["digest"]


# what is written


def test_the_files_names_and_types_are_those_documented(store):
    with h5py.File(store(), "r") as file:
        assert set(file) == {"images", "latitudes", "longitudes", *TEXTS, "captions"}
        assert h5py.check_vlen_dtype(file["images"].dtype) == np.uint8
        assert file["latitudes"].dtype == file["longitudes"].dtype == np.float64
        for name in [*TEXTS, "captions/places", "captions/scenery"]:
            assert h5py.check_string_dtype(file[name].dtype).encoding == "utf-8"
        assert {len(file[name]) for name in ["images", *COLUMNS, "captions/places", "captions/scenery"]} == {3}


def test_images_are_the_encoded_files_byte_for_byte(store):
    with h5py.File(store(), "r") as file:
        assert [file["images"][row].tobytes() for row in range(3)] == FILES


def test_columns_and_captions_come_back_as_they_were(store):
    columns = read_columns(store())
    for name, values in COLUMNS.items():
        assert columns[name].tolist() == values
    assert {name: values.tolist() for name, values in columns["captions"].items()} == CAPTIONS


def test_a_store_without_captions_reads_as_one(store):
    assert read_columns(store(captions={}))["captions"] == {}


def test_positions_come_with_their_ids(store):
    positions, ids = read_positions(store())
    np.testing.assert_array_equal(positions, np.column_stack([COLUMNS["latitudes"], COLUMNS["longitudes"]]))
    assert ids.tolist() == COLUMNS["ids"]


def test_attributes_and_versions_are_kept(store):
    attributes = read_columns(store())["attributes"]
    for name, value in ATTRIBUTES.items():
        assert attributes[name] == value
    assert attributes["geoprobe"] == geoprobe.__version__
    assert json.loads(attributes["versions"])["h5py"] == h5py.__version__


# images


def test_pictures_are_read_in_the_order_of_the_rows_asked_for(store):
    read = [np.asarray(image) for image in read_images(store(), [2, 0])]
    np.testing.assert_array_equal(read[0], noise(8, 8, seed=3))
    np.testing.assert_array_equal(read[1], noise(seed=1))


@pytest.mark.parametrize("orientation", STORED)
def test_a_picture_is_upright_by_its_exif_orientation(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = decode_image(encode(STORED[orientation], exif=exif))
    np.testing.assert_array_equal(np.asarray(image), UPRIGHT)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photograph_is_upright_by_its_exif_orientation(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = np.asarray(decode_image(encode(STORED[orientation], "JPEG", exif=exif, quality=95, subsampling=0)))
    assert image.shape == UPRIGHT.shape
    # the middles of the quadrants; JPEG is not exact
    assert np.abs(image[4::8, 6::12].astype(int) - QUADRANTS).max() < 12


@pytest.mark.parametrize(("mode", "value", "colour"), [("L", 77, 77), ("1", 255, 255), ("RGBA", (9, 9, 9, 255), 9)])
def test_pictures_of_any_mode_become_red_green_blue(mode, value, colour):
    buffer = io.BytesIO()
    Image.new(mode, (5, 4), value).save(buffer, format="PNG")
    image = decode_image(buffer.getvalue())
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.full((4, 5, 3), colour))


def test_squares_are_cropped_to_the_middle(store):
    # the outer thirds are white; the middle square is black
    pixels = np.full((10, 30, 3), 255, dtype=np.uint8)
    pixels[:, 10:20] = 0
    path = store(encoded=[encode(pixels), encode(pixels.transpose(1, 0, 2)), encode(pixels[:, 10:20])])
    for square in read_squares(path, range(3)):
        np.testing.assert_array_equal(square, np.zeros((10, 10, 3)))


def test_squares_have_the_first_pictures_shorter_side_unless_told(store):
    assert [square.shape for square in read_squares(store(), [1, 0, 2])] == [(9, 9, 3)] * 3
    assert [square.shape for square in read_squares(store(), [1, 0], size=5)] == [(5, 5, 3)] * 2


def test_squares_are_128_pixels_at_most_unless_told(store):
    path = store(encoded=[encode(noise(150, 200)), *FILES[1:]])
    assert next(read_squares(path, [0])).shape == (128, 128, 3)
    assert next(read_squares(path, [0], size=140)).shape == (140, 140, 3)
    assert next(read_squares(path, [0], most=64)).shape == (64, 64, 3)


def test_pixels_of_squares_of_the_right_size_are_unchanged(store):
    pixels = np.stack([noise(8, 8, seed=seed) for seed in range(3)])
    read = read_pixels(store(encoded=[encode(tile) for tile in pixels]), 8)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels)


# the digest


def test_the_same_content_has_the_same_digest(store):
    first = digest(store("one.h5"))
    assert digest(store("two.h5", attributes={"source": "hdf5"})) == first
    assert len(first) == 64


def test_the_digest_does_not_hang_on_the_order_in_which_caption_sets_are_given(store):
    # a file lists them by name, whatever the order they were written in
    turned = dict(reversed(CAPTIONS.items()))
    assert digest(store("turned.h5", captions=turned)) == digest(store())


CHANGES = {
    "a pixel": {"encoded": [encode(noise(seed=4)), *FILES[1:]]},
    "the images' order": {"encoded": FILES[::-1]},
    "a latitude": {"latitudes": [48.8566, -1.28638, -16.85]},
    "a longitude's sign": {"longitudes": [2.3522, 36.8172, -179.99]},
    "an id": {"ids": ["a", "b", "3"]},
    "a geocell": {"geocells": ["FR/*", "KE/*", "FJ/*"]},
    "a country": {"countries": ["France", "Kenya", "Tonga"]},
    "a group": {"groups": ["a", "b", "3"]},
    "a caption": {"captions": CAPTIONS | {"places": ["France", "Kenya", ""]}},
    "a caption set's name": {"captions": {"titles": CAPTIONS["places"], "scenery": CAPTIONS["scenery"]}},
    "a caption set less": {"captions": {"places": CAPTIONS["places"]}},
    "two columns exchanged": {"countries": COLUMNS["groups"], "groups": COLUMNS["countries"]},
    "a letter moved to the next column": {
        "ids": ["a", "b/ü.png", "3F"],
        "geocells": ["R/Île-de-France/*", "KE/*", "FJ/*"],
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_changes_with(store, change):
    assert digest(store("changed.h5", **CHANGES[change])) != digest(store())


# errors


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"latitudes": [91.0, 0, 0]}, r"store\.h5, row 0: latitude 91\.0 is outside .*columns swapped"),
        ({"longitudes": [0, 0, np.nan]}, r"store\.h5, row 2: .*a coordinate is missing"),
        ({"ids": ["a", "b", "a"]}, r"store\.h5: ids repeat"),
        ({"encoded": FILES[:2]}, r"store\.h5: 2 images for 3 rows"),
        ({"groups": ["a", "b"]}, r"store\.h5: 2 groups for 3 "),
        ({"captions": {"places": ["a"] * 4}}, r"store\.h5: 4 captions/places for 3 "),
    ],
)
def test_unusable_content_is_refused_in_one_sentence_and_leaves_no_file(store, tmp_path, change, says):
    with pytest.raises(ValueError, match=says) as caught:
        store(**change)
    assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("count", [2, 4])
def test_coordinates_of_another_number_than_the_ids_are_refused(store, count):
    with pytest.raises(ValueError, match=r"store\.h5: "):
        store(latitudes=[1.0] * count, longitudes=[2.0] * count)


def test_more_images_than_rows_are_refused_as_a_length_that_differs(store):
    with pytest.raises(ValueError, match=r"store\.h5: .*images for 3 rows"):
        store(encoded=[*FILES, FILES[0]])


def test_a_failed_write_leaves_no_file(store, tmp_path):
    def breaks():
        yield FILES[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        store(encoded=breaks())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_failed_write_leaves_the_earlier_store_as_it_was(store):
    path = store()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="2 images for 3 rows"):
        store(encoded=FILES[:2])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_clusters_licences_and_authors_of_a_source_are_kept(tmp_path):
    names = [str(number) for number in range(len(FILES))]
    columns = dict.fromkeys(("ids", "geocells", "countries", "groups", "licences", "authors"), names)
    columns |= dict.fromkeys(("latitudes", "longitudes"), np.zeros(len(names)) + 1)
    digests = []
    for clusters in (np.arange(len(names)), np.arange(len(names)) + 1):
        write(tmp_path / "store.h5", FILES, columns | {"clusters": clusters}, {}, {})
        with h5py.File(tmp_path / "store.h5") as file:
            assert file["clusters"].dtype == np.int64
            np.testing.assert_array_equal(file["clusters"], clusters)
            assert file["licences"].asstr()[:].tolist() == file["authors"].asstr()[:].tolist() == names
            digests.append(file.attrs["digest"])
    assert digests[0] != digests[1]


def test_a_store_of_more_images_than_it_grows_by_at_a_time_has_each_in_its_place(tmp_path):
    count = 2 * CHUNK + 3
    files = [bytes([number % 251, number // 251]) for number in range(count)]
    names, ones = [str(number) for number in range(count)], np.ones(count)
    columns = dict.fromkeys(("ids", "geocells", "countries", "groups"), names)
    columns |= dict.fromkeys(("latitudes", "longitudes"), ones)
    write(tmp_path / "store.h5", iter(files), columns, {}, {})
    with h5py.File(tmp_path / "store.h5") as file:
        assert [data.tobytes() for data in file["images"]] == files

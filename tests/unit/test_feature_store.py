"""The feature store: layers in order, rows joined on ids, partial files that open after a kill."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from geoprobe.features.store import DONE, list_layers, open_partial, read_features

IDS = ["a", "b", "ü", "d"]
LAYOUT = [("vision", pooling, layer, 3) for pooling in ("cls", "mean") for layer in range(12)]


def values_of(layer):
    return np.arange(12, dtype=np.float32).reshape(4, 3) + 100 * layer


@pytest.fixture
def store(tmp_path):
    """A finished store of twelve layers, whose values say row and layer."""
    path = tmp_path / "features.h5"
    with open_partial(path, "key", IDS, LAYOUT, chunks=2) as file:
        for tower, pooling, layer, _ in LAYOUT:
            file[f"{tower}/{pooling}/{layer}"][:] = values_of(layer)
        del file[DONE]
    return path


def test_layers_are_listed_by_number_not_by_spelling(store):
    assert list_layers(store) == [(tower, pooling, layer) for tower, pooling, layer, _ in LAYOUT]


def test_features_of_the_stores_own_order_come_as_they_are(store):
    read = read_features(store, IDS, "vision", "cls", 10)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values_of(10))


def test_features_are_joined_on_the_ids_in_another_order(store):
    read = read_features(store, np.array(["d", "ü", "a", "b"], dtype=object), "vision", "mean", 2)
    np.testing.assert_array_equal(read, values_of(2)[[3, 2, 0, 1]])


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["a", "b", "ü", "x"], r"holds 4 images, 4 were asked for, 1 of them are not there \(such as x\)"),
        (["a", "b", "ü"], r"holds 4 images, 3 were asked for, 0 of them are not there\. It was extracted"),
        ([*IDS, "e"], r"holds 4 images, 5 were asked for, 1 of them are not there \(such as e\)"),
    ],
)
def test_features_of_other_images_are_refused_with_numbers_and_a_name(store, ids, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        read_features(store, ids, "vision", "cls", 0)
    assert "features.h5" in str(error.value)
    assert "delete it" in str(error.value)


def test_a_partial_file_is_resumed_with_what_was_done(tmp_path, capsys):
    path = tmp_path / "f.partial"
    with open_partial(path, "key", IDS, LAYOUT, chunks=2) as file:
        assert file[DONE][:].tolist() == [0, 0]
        file["vision/cls/3"][:2] = values_of(3)[:2]
        file[DONE][0] = 1
    with open_partial(path, "key", IDS, LAYOUT, chunks=2) as file:
        assert file[DONE][:].tolist() == [1, 0]
        np.testing.assert_array_equal(file["vision/cls/3"][:2], values_of(3)[:2])
    assert "resuming, 1 of 2 chunks are there" in capsys.readouterr().out


def test_a_partial_file_of_another_making_is_started_anew(tmp_path, capsys):
    path = tmp_path / "f.partial"
    with open_partial(path, "key", IDS, LAYOUT, chunks=2) as file:
        file[DONE][:] = 1
    with open_partial(path, "other key", ["x", "y"], LAYOUT, chunks=1) as file:
        assert file[DONE][:].tolist() == [0]
        assert file["ids"].asstr()[:].tolist() == ["x", "y"]
        assert file["vision/mean/11"].shape == (2, 3)
    assert "starting anew" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_a_partial_file_that_cannot_be_read_is_started_anew(tmp_path, capsys, content):
    path = tmp_path / "f.partial"
    path.write_bytes(content)
    with open_partial(path, "key", IDS, LAYOUT, chunks=2) as file:
        assert file[DONE][:].tolist() == [0, 0]
    assert "starting anew" in capsys.readouterr().out


def test_another_hdf5_file_in_the_place_of_the_partial_one_is_started_anew(tmp_path):
    path = tmp_path / "f.partial"
    with h5py.File(path, "w") as file:
        file["something"] = 1
    with open_partial(path, "key", IDS, LAYOUT, chunks=2) as file:
        assert "something" not in file
        assert file[DONE][:].tolist() == [0, 0]


def test_space_exists_at_once_so_that_a_chunk_changes_raw_data_only(tmp_path):
    path = tmp_path / "f.partial"
    with open_partial(path, "key", IDS, LAYOUT, chunks=2) as file:
        for tower, pooling, layer, width in LAYOUT:
            data = file[f"{tower}/{pooling}/{layer}"]
            assert data.dtype == np.float32
            assert data.id.get_storage_size() == len(IDS) * width * 4
        size = path.stat().st_size
        for tower, pooling, layer, _ in LAYOUT:
            file[f"{tower}/{pooling}/{layer}"][:] = values_of(layer)
        file.flush()
        assert path.stat().st_size == size


def test_features_stored_as_float16_are_read_as_float32(tmp_path):
    path = tmp_path / "features.h5"
    with open_partial(path, "key", IDS, LAYOUT, chunks=1, dtype="float16") as file:
        file["vision/cls/3"][:] = values_of(3)
        assert file["vision/cls/3"].dtype == np.float16
        assert file["vision/cls/3"].id.get_storage_size() == len(IDS) * 3 * 2
    read = read_features(path, IDS, "vision", "cls", 3)
    assert read.dtype == np.float32
    # these whole numbers below 2048 are exact in float16
    np.testing.assert_array_equal(read, values_of(3))


def test_reading_and_joining_features_loads_no_torch():
    code = "import sys, geoprobe.features.store, geoprobe.features.joining; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

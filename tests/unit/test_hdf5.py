"""Source `hdf5`: a file as the paper's, one of our own stores, and files that cannot be used."""

import h5py
import numpy as np
import pandas as pd
import pytest
from pictures import noise

from geoprobe.images import hdf5, sources
from geoprobe.images.store import write_store

POSITIONS = np.array([(48.8566, 2.3522), (-1.2864, 36.8172), (-16.85, 179.99)])


def picture(seed):
    return noise(seed, (7 + seed, 9), "JPEG")


FILES = [picture(seed) for seed in range(3)]


def listed(path):
    options = {"path": str(path)}
    hdf5.check(options)
    return pd.concat(hdf5.list_images(options), ignore_index=True), options


def loaded(rows, options):
    return list(hdf5.load_images(rows, options))


@pytest.fixture
def paper(tmp_path):
    """A file as the paper's: encoded images of any length, latitudes, longitudes and clusters."""
    with h5py.File(tmp_path / "paper.h5", "w") as file:
        images = file.create_dataset("images", (3,), dtype=h5py.vlen_dtype(np.uint8))
        for row, data in enumerate(FILES):
            images[row] = np.frombuffer(data, dtype=np.uint8)
        file["latitudes"], file["longitudes"] = POSITIONS.T.astype(np.float32)
        file["clusters"] = np.array([4, 0, 4])
    return tmp_path / "paper.h5"


@pytest.fixture
def store(tmp_path):
    """One of our own stores."""
    columns = {
        "ids": ["x", "y/ü.png", "z"],
        "latitudes": POSITIONS[:, 0],
        "longitudes": POSITIONS[:, 1],
        "geocells": ["a", "b", "c"],
        "countries": ["France", "Kenya", "Fiji"],
        "groups": ["Ann", "Ann", "Bob"],
    }
    attributes = {"licence": "CC BY 4.0", "attribution": "Ann and Bob"}
    write_store(tmp_path / "store.h5", FILES, columns, {"titles": ["A hill", "", "路"]}, attributes)
    return tmp_path / "store.h5"


def test_a_file_as_the_papers_is_listed_by_row_number(paper):
    rows, _ = listed(paper)
    assert rows["id"].tolist() == rows["group"].tolist() == ["0", "1", "2"]
    assert rows["latitude"].dtype == rows["longitude"].dtype == np.float64
    np.testing.assert_allclose(rows[["latitude", "longitude"]], POSITIONS, rtol=1e-6)
    assert not [name for name in rows if name.startswith("caption:")]
    assert rows["reason"].tolist() == ["", "", ""]


def test_images_are_loaded_byte_for_byte(paper):
    rows, options = listed(paper)
    assert loaded(rows, options) == [(data, "") for data in FILES]


def test_the_rows_that_are_left_are_loaded_in_their_order(paper):
    rows, options = listed(paper)
    assert loaded(rows.iloc[[2, 0]], options) == [(FILES[2], ""), (FILES[0], "")]


def test_a_store_of_ours_comes_back_with_ids_groups_and_captions(store):
    rows, options = listed(store)
    assert rows["id"].tolist() == ["x", "y/ü.png", "z"]
    assert rows["group"].tolist() == ["Ann", "Ann", "Bob"]
    assert rows["caption:titles"].tolist() == ["A hill", "", "路"]
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], POSITIONS)
    assert loaded(rows, options) == [(data, "") for data in FILES]


def test_licence_and_attribution_are_the_files_or_not_stated(paper, store):
    described = hdf5.describe({"path": str(store)})
    assert (described["licence"], described["attribution"]) == ("CC BY 4.0", "Ann and Bob")
    assert described["source_version"] == str(store)
    described = hdf5.describe({"path": str(paper)})
    assert (described["licence"], described["attribution"]) == ("not stated", "not stated")


def refused(path):
    with pytest.raises(ValueError, match="path is ") as caught:
        hdf5.check({"path": str(path)})
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "there is no such file" in refused(tmp_path / "absent.h5")
    assert "there is no such file" in refused(tmp_path)


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "photo.h5").write_bytes(FILES[0])
    assert "not an HDF5 file" in refused(tmp_path / "photo.h5")


@pytest.mark.parametrize("missing", ["images", "latitudes", "longitudes"])
def test_a_missing_dataset_is_named_with_those_there_are(paper, missing):
    with h5py.File(paper, "r+") as file:
        del file[missing]
        there = ", ".join(file)
    sentence = refused(paper)
    assert f"has no dataset {missing} " in sentence
    assert there in sentence


def test_a_file_without_any_dataset_is_told_all_that_it_needs(tmp_path):
    h5py.File(tmp_path / "empty.h5", "w").close()
    assert "no dataset images and no dataset latitudes and no dataset longitudes" in refused(tmp_path / "empty.h5")


def test_datasets_of_different_length_are_counted(paper):
    with h5py.File(paper, "r+") as file:
        del file["latitudes"]
        file["latitudes"] = [1.0, 2.0]
    sentence = refused(paper)
    assert "'images': 3" in sentence
    assert "'latitudes': 2" in sentence


@pytest.mark.parametrize(("name", "value"), [("latitudes", 135.0), ("longitudes", 200.0), ("latitudes", np.nan)])
def test_coordinates_that_are_no_degrees_are_listed_as_they_are_for_the_check_of_all_sources(paper, name, value):
    with h5py.File(paper, "r+") as file:
        file[name][1] = value
    rows, _ = listed(paper)
    np.testing.assert_equal(rows[name.removesuffix("s")][1], value)
    assert len(rows) == 3


@pytest.mark.parametrize("chunk", [1, 2, 3, 4])
def test_a_file_is_read_in_chunks_that_make_up_the_whole(paper, store, monkeypatch, chunk):
    for path in (paper, store):
        whole, options = listed(path)
        monkeypatch.setattr(sources, "CHUNK", chunk)
        frames = list(hdf5.list_images(options))
        monkeypatch.undo()
        assert [len(frame) for frame in frames] == [min(chunk, 3 - start) for start in range(0, 3, chunk)]
        pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)
        assert loaded(frames[-1], options) == [(data, "") for data in FILES[3 - len(frames[-1]) :]]


def test_a_file_without_images_lists_none(tmp_path):
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file.create_dataset("images", (0,), dtype=h5py.vlen_dtype(np.uint8))
        file["latitudes"] = file["longitudes"] = np.zeros(0)
    assert list(hdf5.list_images({"path": str(tmp_path / "none.h5")})) == []


# clusters, ids and groups of other programs


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_clusters_of_the_file_are_kept_as_whole_numbers(paper, dtype):
    with h5py.File(paper, "r+") as file:
        del file["clusters"]
        file["clusters"] = np.array([4, 0, 39], dtype=dtype)
    rows, _ = listed(paper)
    assert rows["source_cluster"].tolist() == [4, 0, 39]
    assert rows["source_cluster"].dtype == np.int64


def test_a_file_without_clusters_has_none(store):
    assert "source_cluster" not in listed(store)[0]


@pytest.mark.parametrize("values", [[0.5, 1, 2], [0, np.nan, 2], [b"sea", b"town", b"sea"]])
def test_clusters_that_are_no_whole_numbers_are_refused(paper, values):
    with h5py.File(paper, "r+") as file:
        del file["clusters"]
        file["clusters"] = values
    with pytest.raises(ValueError, match=r"paper\.h5: the dataset clusters .* does not hold whole numbers\. Number"):
        list(hdf5.list_images({"path": str(paper)}))


def test_ids_and_groups_that_are_numbers_become_text(paper):
    with h5py.File(paper, "r+") as file:
        file["ids"], file["groups"] = [101, 7, 12], np.array([1, 1, 2], dtype=np.uint16)
    rows, _ = listed(paper)
    assert rows["id"].tolist() == ["101", "7", "12"]
    assert rows["group"].tolist() == ["1", "1", "2"]


@pytest.mark.parametrize("name", ["ids", "groups", "clusters", "captions/title"])
def test_a_dataset_that_is_taken_over_must_be_as_long_as_the_images(paper, name):
    with h5py.File(paper, "r+") as file:
        if name in file:
            del file[name]
        file[name] = [1, 2]
    assert f"'{name}': 2" in refused(paper)

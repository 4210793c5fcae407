"""Reading a layer for the rows of a cluster: held in memory and read through from disk, in any order of the store."""

import h5py
import numpy as np
import pytest

from geoprobe.features import reading
from geoprobe.features.reading import open_layers

IDS = np.array([f"image {row}" for row in range(50)], dtype=object)
VALUES = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
WHERE = ("vision", "cls", 4)


def write(path, ids, values, dtype=np.float32):
    with h5py.File(path, "w") as file:
        file.create_dataset("ids", data=np.asarray(ids, dtype=object), dtype=h5py.string_dtype())
        file["vision/cls/4"] = values.astype(dtype)


def collected(chunks, count, width=3):
    """Features by position; a position that comes twice or never is a failure."""
    found, times = np.full((count, width), np.nan), np.zeros(count, int)
    for positions, values in chunks():
        found[positions] = values
        times[positions] += 1
        assert values.dtype == np.float32
    assert (times == 1).all()
    return found


@pytest.mark.parametrize("budget", [0, 2**30])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("rows", ["all", "some", "one", "unordered"])
def test_every_row_comes_once_with_its_own_features(tmp_path, monkeypatch, budget, shuffled, rows):
    monkeypatch.setattr(reading, "CHUNK", 7)
    order = np.random.default_rng(1).permutation(50) if shuffled else np.arange(50)
    write(tmp_path / "f.h5", IDS[order], VALUES[order])
    numbers = {
        "all": np.arange(50),
        "some": np.arange(3, 50, 4),
        "one": np.array([49]),
        "unordered": np.array([9, 2, 40, 41, 3]),
    }[rows]
    with open_layers(tmp_path / "f.h5", IDS, budget) as layer_rows:
        layer = layer_rows(*WHERE)
        assert layer.width == 3
        chunks = layer.chunks(numbers)
        for _ in range(2):  # the same again at each pass
            np.testing.assert_array_equal(collected(chunks, len(numbers)), VALUES[numbers])


def test_what_is_read_through_is_never_held_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", 7)
    write(tmp_path / "f.h5", IDS, VALUES)
    with open_layers(tmp_path / "f.h5", IDS, VALUES.nbytes - 1) as layer_rows:
        layer = layer_rows(*WHERE)
        assert layer.values is None
        assert max(len(positions) for positions, _ in layer.chunks(np.arange(50))()) == 7
    with open_layers(tmp_path / "f.h5", IDS, VALUES.nbytes) as layer_rows:
        assert layer_rows(*WHERE).values is not None


@pytest.mark.parametrize("budget", [0, 2**30])
def test_a_value_that_is_not_finite_is_named_by_its_image(tmp_path, budget):
    values = VALUES.copy()
    values[31, 1] = np.inf
    write(tmp_path / "f.h5", IDS[::-1], values[::-1])
    with open_layers(tmp_path / "f.h5", IDS, budget) as layer_rows, pytest.raises(ValueError, match="image image 31"):
        collected(layer_rows(*WHERE).chunks(np.arange(50)), 50)


def test_half_precision_comes_as_single(tmp_path):
    write(tmp_path / "f.h5", IDS, VALUES, np.float16)
    for budget in (0, 2**30):
        with open_layers(tmp_path / "f.h5", IDS, budget) as layer_rows:
            found = collected(layer_rows(*WHERE).chunks(np.arange(50)), 50)
        np.testing.assert_array_equal(found, VALUES.astype(np.float16).astype(np.float32))

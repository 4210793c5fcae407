"""Joined shards: read like one file, moved with their folder, and refused where they do not go together."""

import json
import os
import resource
import shutil

import h5py
import numpy as np
import pytest

from geoprobe.features.joining import join_shards
from geoprobe.features.store import DONE, list_layers, open_partial, read_features

LAYOUT = [("text", "last", 3, 5), ("vision", "mean", 0, 2), ("vision", "mean", 11, 2)]
SIZES = (3, 0, 4)
IDS = [f"ü{number}" for number in range(sum(SIZES))]
MAKING = {"images_digest": "a", "weights_digest": "b", "chunk": 2}


def values_of(key, ids):
    """Values that say dataset and image."""
    *_, layer, width = key
    rows = np.array([IDS.index(name) for name in ids], dtype=np.float32).reshape(-1, 1)
    return rows * 10 + layer * 1000 + np.arange(width, dtype=np.float32)


def make_shard(path, number, making=MAKING, ids=None, done=True, dtype="float32"):
    start = sum(SIZES[:number])
    ids = IDS[start : start + SIZES[number]] if ids is None else ids
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_partial(path, "key", ids, LAYOUT, 1, dtype) as file:
        for key in LAYOUT:
            file["/".join(map(str, key[:3]))][:] = values_of(key, ids)
        attributes = {"making": json.dumps(making), "shard": f"{number}/{len(SIZES)}", "device": f"gpu {number // 2}"}
        attributes |= {"images_per_second": 10.0 * number, "peak_memory_mb": 100.0 - number, "seconds": 2.0}
        for name, value in (attributes | {"batch_size": 8 - number, "model": "m"}).items():
            file.attrs[name] = value
        if done:
            del file[DONE]
    return path


@pytest.fixture
def shards(tmp_path):
    return [make_shard(tmp_path / f"100%b/none/{number}.h5", number) for number in range(3)]


@pytest.fixture
def joined(shards, tmp_path):
    join_shards(shards, tmp_path / "100%b/none.h5")
    return tmp_path / "100%b/none.h5"


def assert_whole(path, ids=IDS):
    assert list_layers(path) == [key[:3] for key in LAYOUT]
    for key in LAYOUT:
        read = read_features(path, ids, *key[:3])
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, values_of(key, ids))


def test_a_joined_store_reads_as_if_it_were_one_file(joined):
    assert_whole(joined)
    assert_whole(joined, IDS[::-1])
    with h5py.File(joined) as file:
        assert file["ids"].asstr()[:].tolist() == IDS
        assert not file["ids"].is_virtual
        assert file["vision/mean/0"].is_virtual


def test_shards_named_in_any_order_are_joined_by_their_numbers(shards, tmp_path):
    join_shards(shards[::-1], tmp_path / "other.h5")
    assert_whole(tmp_path / "other.h5")


def test_nothing_is_copied_and_the_shards_are_untouched(shards, tmp_path):
    before = [path.read_bytes() for path in shards]
    join_shards(shards, tmp_path / "joined.h5")
    assert [path.read_bytes() for path in shards] == before
    with h5py.File(tmp_path / "joined.h5") as file:
        assert all(file["/".join(map(str, key[:3]))].id.get_storage_size() == 0 for key in LAYOUT)


def test_a_moved_folder_still_reads(joined, tmp_path, monkeypatch):
    moved = tmp_path / "elsewhere" / "deep"
    shutil.move(joined.parent, moved)
    assert_whole(moved / "none.h5")
    # and by a relative path, from another folder
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert_whole("deep/none.h5")


def test_a_missing_shard_is_an_error_that_names_it_and_not_zeros(joined, shards):
    shards[2].unlink()
    with pytest.raises(
        FileNotFoundError, match=r"none\.h5: its features lie in .*100%b/none/2\.h5, which is not there"
    ):
        read_features(joined, IDS, "vision", "mean", 0)
    # who reads past our own function does not get zeros
    with h5py.File(joined) as file:
        values = file["vision/mean/0"][:]
    assert np.isnan(values[3:]).all()
    assert np.isfinite(values[:3]).all()


def test_shards_of_float16_join_and_read_as_float32(tmp_path):
    paths = [make_shard(tmp_path / f"{number}.h5", number, dtype="float16") for number in range(3)]
    join_shards(paths, tmp_path / "joined.h5")
    with h5py.File(tmp_path / "joined.h5") as file:
        assert file["vision/mean/0"].dtype == np.float16
    read = read_features(tmp_path / "joined.h5", IDS, "vision", "mean", 0)
    np.testing.assert_array_equal(read, values_of(LAYOUT[1], IDS))


def test_the_joined_file_has_the_shards_attributes_and_their_totals(joined):
    with h5py.File(joined) as file:
        attributes = dict(file.attrs)
    assert attributes["model"] == "m"
    assert json.loads(attributes["making"]) == MAKING
    assert (attributes["images"], attributes["shards"]) == (7, 3)
    assert attributes["images_per_second"] == pytest.approx(10)
    assert attributes["peak_memory_mb"] == 100
    assert attributes["seconds"] == 6
    assert attributes["batch_size"] == 6
    assert attributes["device"] == "gpu 0, gpu 1"
    assert not {"shard", "key"} & set(attributes)
    assert "geoprobe" in attributes


def test_shards_of_another_making_are_refused_and_what_differs_is_named(shards, tmp_path):
    make_shard(shards[1], 1, making=MAKING | {"weights_digest": "c", "chunk": 3})
    with pytest.raises(ValueError, match=r"1\.h5 and .*0\.h5 are no shards .* they differ in chunk, weights_digest"):
        join_shards(shards, tmp_path / "joined.h5")
    assert not (tmp_path / "joined.h5").exists()


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ([0, 1], r"2 shards are to be joined, of 3: missing \[2\], twice none"),
        ([0, 1, 2, 1], r"4 shards are to be joined, of 3: missing none, twice \[1\]"),
        ([0, 0, 2], r"missing \[1\], twice \[0\]"),
    ],
)
def test_each_shard_must_be_there_once(shards, tmp_path, chosen, sentence):
    with pytest.raises(ValueError, match=sentence):
        join_shards([shards[number] for number in chosen], tmp_path / "joined.h5")


def test_an_image_in_two_shards_is_refused(shards, tmp_path):
    shards[2].unlink()
    make_shard(shards[2], 2, ids=[IDS[4], IDS[1]])
    with pytest.raises(ValueError, match=r"2\.h5: image ü1 is in shard 0 and in shard 2"):
        join_shards(shards, tmp_path / "joined.h5")


def test_an_unfinished_shard_is_refused(shards, tmp_path):
    shards[0].unlink()
    make_shard(shards[0], 0, done=False)
    with pytest.raises(ValueError, match=r"0\.h5: is no finished shard"):
        join_shards(shards, tmp_path / "joined.h5")


def test_no_shards_at_all_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no shards"):
        join_shards([], tmp_path / "joined.h5")


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A store of more shards than a process may open files at first; the limit is put back."""
    monkeypatch.setitem(globals(), "SIZES", (1,) * 40)
    monkeypatch.setitem(globals(), "IDS", [f"ü{number}" for number in range(40)])
    monkeypatch.setattr("geoprobe.features.store.SPARE", len(os.listdir("/proc/self/fd")) + 20)
    join_shards([make_shard(tmp_path / f"many/{number}.h5", number) for number in range(40)], tmp_path / "many.h5")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield tmp_path / "many.h5", limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_more_shards_than_a_process_may_open_at_first_are_read_whole(many):
    path, hard = many
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    assert_whole(path, IDS)


def test_more_shards_than_a_process_may_ever_open_are_an_error_that_says_so(many, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (50, 60))
    with pytest.raises(OSError, match=r"many\.h5: it has 40 shards, and this process may have 60 files open"):
        read_features(many[0], IDS, "vision", "mean", 0)

"""Files that were cut off are refused by name before they are read; whole ones are let through."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from geoprobe.features.store import read_features
from geoprobe.images import hdf5, table
from geoprobe.runtime import rule_log
from geoprobe.whole import check_whole, damage_of


def write_h5(path):
    with h5py.File(path, "w") as file:
        file["values"] = np.arange(5000.0)


FRAME = pd.DataFrame({"id": [f"image {number}" for number in range(300)], "value": np.arange(300) / 7})
WRITERS = {
    "a.h5": write_h5,
    "a.parquet": FRAME.to_parquet,
    "a.csv": lambda path: FRAME.to_csv(path, index=False),
    "a.safetensors": lambda path: save_file({"weight": np.arange(500.0)}, path),
    "a.json": lambda path: path.write_text(json.dumps({"values": list(range(500))})),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_off_anywhere_is_damaged_and_a_whole_one_is_not(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    check_whole(path)
    places = np.random.default_rng(0).integers(0, len(content), 60)
    for place in [0, 1, len(content) - 1, *places]:
        path.write_bytes(content[:place])
        if name == "a.csv" and content[:place].endswith(b"\n"):  # a shorter table, and nothing says that it was longer
            continue
        with pytest.raises(ValueError, match=rf"{name} is damaged or was cut off \(.+\)\. Delete it and run again"):
            check_whole(path)


def test_what_is_no_file_or_of_another_format_is_let_through(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    for path in (tmp_path, tmp_path / "a.png", tmp_path / "absent.h5"):
        assert damage_of(path) == ""


def test_a_table_of_somebody_elses_may_end_without_a_line_break(tmp_path):
    (tmp_path / "a.csv").write_text("id\n1")
    assert damage_of(tmp_path / "a.csv", own=False) == ""
    assert damage_of(tmp_path / "a.csv")


def test_a_job_refuses_an_input_that_was_cut_off(tmp_path, capsys):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(SystemExit), rule_log(tmp_path / "job.log", [path]):
        pytest.fail("the job began")
    last = (tmp_path / "job.log").read_text().splitlines()[-1]
    assert last.startswith(f"ValueError: {path} is damaged or was cut off")
    assert last in capsys.readouterr().err


def test_features_whose_shard_was_cut_off_are_refused(tmp_path):
    with h5py.File(tmp_path / "shard.h5", "w") as shard:
        shard["vision/cls/0"] = np.ones((4, 3), np.float32)
    layout = h5py.VirtualLayout((4, 3), np.float32)
    layout[:] = h5py.VirtualSource("shard.h5", "vision/cls/0", (4, 3))
    with h5py.File(tmp_path / "joined.h5", "w") as file:
        file.create_dataset("ids", data=np.array(list("abcd"), object), dtype=h5py.string_dtype())
        file.create_virtual_dataset("vision/cls/0", layout)
    assert (read_features(tmp_path / "joined.h5", list("abcd"), "vision", "cls", 0) == 1).all()
    (tmp_path / "shard.h5").write_bytes((tmp_path / "shard.h5").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"shard\.h5 is damaged or was cut off"):
        read_features(tmp_path / "joined.h5", list("abcd"), "vision", "cls", 0)


def test_an_hdf5_file_of_images_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "mine.h5"
    write_h5(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"mine\.h5: damaged, or not laid out as is needed \(.*truncated"):
        hdf5.check({"path": str(path)})


def test_a_table_of_images_that_was_cut_off_in_a_line_is_named(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("path,latitude,longitude,title\na.jpg,1,2,A\nb.jpg,3,4,B")
    assert len(next(table.list_images({"path": str(path)}))) == 2
    path.write_text("path,latitude,longitude,title\na.jpg,1,2,A\nb.jpg,3.1")
    with pytest.raises(ValueError, match=r"mine\.csv: the last line has 2 fields under 4 columns, and no end"):
        list(table.list_images({"path": str(path)}))
    path.write_text("path,latitude,longitude,title\na.jpg,1,2\n")  # short, and meant to be
    assert len(next(table.list_images({"path": str(path)}))) == 1


def test_a_parquet_table_whose_beginning_was_overwritten_is_named(tmp_path):
    path = tmp_path / "mine.parquet"
    columns = {"path": ["a.jpg"] * 50, "latitude": np.arange(50.0), "longitude": np.arange(50.0)}
    pd.DataFrame(columns).to_parquet(path)
    page = b"<!DOCTYPE html><title>503 Service Unavailable</title>"
    path.write_bytes(page + path.read_bytes()[len(page) :])
    with pytest.raises(ValueError, match=r"mine\.parquet\" is not a Parquet file.* damaged \(.+\)"):
        list(table.list_images({"path": str(path)}))
    assert damage_of(path)

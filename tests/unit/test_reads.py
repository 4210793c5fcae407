"""What is seen of a user's own files without reading them, and what of the options each stage gets."""

import os

import pandas as pd
import pytest

from geoprobe.images.reads import folder_look, own_files, polygon_files, stage_options, table_look


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos/trip").mkdir(parents=True)
    for name in ("photos/a.jpg", "photos/trip/b.jpg"):
        (tmp_path / name).write_bytes(b"a photo")
    pd.DataFrame({"path": ["photos/a.jpg", "photos/gone.jpg"]}).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path


def test_files_are_those_that_a_path_or_a_pattern_names_and_no_addresses(folder):
    assert own_files({"path": "table.csv"}) == ["table.csv"]
    assert own_files({"metadata": "*.csv", "images": "photos"}) == ["table.csv"]
    assert own_files({"path": "https://x.example/table.csv"}) == own_files({"metadata": ["*.csv"]}) == []
    layers = [{"file": "table.csv"}, {"file": "table.csv"}, {"file": "https://x.example/polygons.zip"}]
    assert polygon_files({"layers": layers}) == ["table.csv"]


@pytest.mark.parametrize(
    ("options", "look", "photo"),
    [
        ({"source": "folder", "path": "photos"}, folder_look, "photos/trip/b.jpg"),
        ({"source": "table", "path": "table.csv"}, table_look, "photos/a.jpg"),
    ],
)
def test_a_look_changes_with_size_time_and_presence_of_photographs_alone(folder, options, look, photo):
    first, state = look(options), os.stat(photo)
    assert first == look(options) != ""
    (folder / "photos/notes.txt").write_text("no photo")
    assert look(options) == first
    looks = {first}
    for change in (
        lambda: os.utime(photo, (0, 0)),
        lambda: (folder / photo).write_bytes(b"a longer photo"),
        lambda: (folder / photo).rename(folder / "elsewhere.jpg"),
    ):
        change()
        looks.add(look(options))
    assert len(looks) == 4
    (folder / photo).write_bytes(b"a photo")
    os.utime(photo, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert look(options) == first


def test_what_cannot_be_listed_has_no_look(folder):
    (folder / "broken.csv").write_text('path\n"photos/a.jpg')
    assert table_look({"source": "table", "path": "broken.csv"}) == ""
    assert table_look({"source": "table", "path": "no.csv"}) == ""
    assert folder_look({"source": "folder", "path": "no folder"}) == ""


def test_a_stage_gets_what_it_reads():
    options = {"source": "yfcc100m", "metadata": "x", "min_accuracy": 14, "shards": 2, "caption_sets": []}
    assert stage_options("fetch_metadata", options) == {"source": "yfcc100m", "metadata": "x"}
    assert stage_options("plan_images", options) == {name: options[name] for name in options if name != "caption_sets"}

"""Source `hub`: data sets of every layout on a hub of our own."""

import hashlib
import zipfile

import numpy as np
import pandas as pd
import pytest
from hub_photos import (
    ARCHIVES,
    COLUMNS,
    FILES,
    LISTED,
    NETWORK,
    PICTURES,
    REPO,
    fetched,
    listing,
    parquet_file,
    put_on,
    serving,
    zipped,
)

from geoprobe.images import hub, sources
from geoprobe.images.fetch import fetch_file


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub."""
    yield from serving(monkeypatch, tmp_path)


@pytest.fixture
def data_set(server, tmp_path):
    """Put files on the hub; returns the source's options and the folder of its metadata."""
    return lambda *content, **options: (put_on(server, *content, **options), tmp_path / "metadata")


def test_rows_say_in_which_archive_their_image_is(data_set, server):
    options, folder = data_set()
    fetched(options, folder)
    rows = listing(options, folder).set_index("id")
    assert rows.index.tolist() == LISTED["name"].tolist()
    commit = server.commit(REPO, -1)
    base = f"{server.endpoint}/datasets/{REPO}/resolve/{commit}"
    assert rows["archive"].tolist() == [
        f"{base}/images/{name}" if name else "" for name in ["01.zip", "00.zip", "01.zip", "01.zip", ""]
    ]
    assert rows["member"].tolist() == ["01/a1.png", "00/b2.png", "01/c3.png", "01/d4.png", ""]
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in ARCHIVES.items()}
    assert rows["archive_sha256"].tolist() == [
        digests["images/01.zip"],
        digests["images/00.zip"],
        *[digests["images/01.zip"]] * 2,
        "",
    ]
    assert rows["reason"].tolist() == ["", "", "", "", "in none of the archives"]


def test_columns_are_taken_over_by_the_names_that_are_given(data_set):
    options, folder = data_set(captions=["town"])
    fetched(options, folder)
    rows = listing(options, folder)
    assert rows["group"].tolist() == ["s1", "u2", "s1", "", "u5"]
    assert rows["author"].tolist() == ["u1", "u2", "u1", "", "u5"]
    assert rows["country"].tolist() == ["FR", "KE", "", "JP", ""]
    assert rows["caption:town"].tolist() == ["Paris", "Nairobi", "", "東京", "Null"]
    np.testing.assert_array_equal(rows["latitude"], [48.8566, -1.2864, np.nan, 35.7, 0])
    np.testing.assert_array_equal(rows["longitude"], [2.3522, 36.8172, 5, 139.7, 0])
    assert not {"url", "path", "name", "lat"} & set(rows)


def test_the_image_is_where_its_row_says(data_set, tmp_path):
    options, folder = data_set()
    fetched(options, folder)
    rows = listing(options, folder)
    for row in rows[rows["reason"] == ""].itertuples():
        got = fetch_file(row.archive, tmp_path / "archive", NETWORK, sha256=row.archive_sha256)
        assert got["sha256"] == row.archive_sha256
        with zipfile.ZipFile(tmp_path / "archive") as archive:
            assert archive.read(row.member) == PICTURES[row.id]


def test_without_an_endpoint_of_ones_own_archives_are_named_as_the_hubs(data_set, server, monkeypatch):
    options, folder = data_set()
    del options["endpoint"]
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    fetched(options, folder)
    rows = listing(options, folder)
    assert rows["archive"][0] == f"hub://datasets/{REPO}@{server.commit(REPO, -1)}/images/01.zip"


def test_rows_of_other_archives_can_be_no_part_of_the_data_set(data_set, capsys):
    options, folder = data_set(archives=["images/00.zip"], unarchived="ignore")
    fetched(options, folder)
    (rows,) = hub.list_images(options, folder)
    assert rows["id"].tolist() == ["b2"]
    assert rows.index.tolist() == [0]
    told = capsys.readouterr().out
    assert "4 of 5 rows are not listed" in told
    assert "1 images of the archives are in no row" in told


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_list_may_be_several_files_of_either_kind(data_set, form):
    parts = [LISTED[:2], LISTED[2:]]
    files = {
        f"lists/{k}.{form}": parquet_file(part) if form == "parquet" else part.to_csv(index=False).encode()
        for k, part in enumerate(parts)
    }
    options, folder = data_set(files | ARCHIVES, metadata=[f"lists/*.{form}"])
    fetched(options, folder)
    assert listing(options, folder)["id"].tolist() == LISTED["name"].tolist()


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_list_is_read_in_chunks_that_make_up_the_whole(data_set, monkeypatch, chunk):
    options, folder = data_set(captions=["town"])
    fetched(options, folder)
    whole = listing(options, folder)
    monkeypatch.setattr(sources, "CHUNK", chunk)
    frames = list(hub.list_images(options, folder))
    assert max(map(len, frames)) == chunk
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)


# images elsewhere


def test_single_files_of_the_data_set_have_addresses(data_set, server, tmp_path):
    files = {"list.csv": FILES["list.csv"]} | {f"images/{name}.png": data for name, data in PICTURES.items()}
    options, folder = data_set(files, files="images/{id}.png")
    fetched(options, folder)
    rows = listing(options, folder)
    for row in rows.itertuples():
        assert len(row.urls) == 1
        fetch_file(row.urls[0], tmp_path / row.id, NETWORK)
        assert (tmp_path / row.id).read_bytes() == PICTURES[row.id]


def test_a_column_of_paths_can_name_the_files_and_the_members(data_set, server):
    listed = LISTED.assign(file=[f"00/{name} é.png" for name in LISTED["name"]])
    files = {"list.csv": listed.to_csv(index=False).encode(), "all.zip": zipped(dict.fromkeys(listed["file"], b""))}
    columns = COLUMNS | {"path": "file"}
    options, folder = data_set(files, columns=columns, files="photos/{path}")
    fetched(options, folder)
    assert listing(options, folder)["urls"][0][0].endswith("/photos/00/a1%20%C3%A9.png")
    options, folder = data_set(files, columns=columns, archives=["all.zip"], member="{path}")
    fetched(options, folder)
    rows = listing(options, folder)
    assert rows["member"].tolist() == listed["file"].tolist()
    assert "path" not in rows


def test_a_column_of_addresses_leads_to_images_on_the_web(data_set):
    listed = LISTED.assign(link=["https://a.example/1.jpg", "", *["https://a.example/2.jpg"] * 3])
    options, folder = data_set({"list.csv": listed.to_csv(index=False).encode()}, columns=COLUMNS | {"url": "link"})
    fetched(options, folder)
    rows = listing(options, folder)
    assert rows["urls"].tolist()[:2] == [["https://a.example/1.jpg"], []]
    assert rows["reason"].tolist() == ["", "no url", "", "", ""]


# members


def test_a_pattern_says_which_members_are_images_of_rows(data_set):
    members = {"01/a1.png": b"", "01/thumbs/b2.png": b"", "other/c3.png": b"", "01/d4.jpg": b"", "01/e5.png": b""}
    options, folder = data_set(
        FILES | {"01.zip": zipped(members)}, archives=["01.zip"], member="{archive_stem}/{id}.png"
    )
    fetched(options, folder)
    rows = listing(options, folder)
    # {id} may hold a slash, and no row is called "thumbs/b2"
    assert rows["member"].tolist() == ["01/a1.png", "", "", "", "01/e5.png"]


# errors


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"repo": "photos"}, r'repo is "photos"; a data set of the hub is named "owner/name"'),
        ({"archives": None}, r"nothing says where the images are; give one of archives, image_column, files and"),
        ({"files": "{id}.jpg"}, r"archives and files says where the images are"),
        ({"columns": {"lat": "lat"}}, r'columns names "lat"; allowed: id, latitude, '),
        ({"metadata": []}, r"metadata names no file"),
        ({"metadata": ["list.json"]}, r'metadata names "list\.json"; the list is read from CSV and Parquet files'),
        ({"member": "{archive_stem}.jpg"}, r'member is "\{archive_stem\}\.jpg"; it must hold \{id\} or \{path\} once'),
        ({"member": "{id}/{id}.jpg"}, r"must hold \{id\} or \{path\} once"),
        ({"member": "{id}{town}.jpg"}, r"nothing else in braces but \{archive_stem\}"),
        ({"member": "{id"}, r'member is "\{id", which cannot be read'),
        ({"member": "{path}"}, r"columns does not say which column is the path"),
        ({"archives": None, "files": "{archive_stem}/{id}"}, r'files is ".*nothing else in braces\.'),
        ({"unarchived": "drop"}, r'unarchived is "drop"; allowed: reject, ignore'),
    ],
)
def test_options_that_cannot_work_are_refused_in_one_sentence(data_set, changed, says):
    options, _ = data_set()
    hub.check(options)
    with pytest.raises(ValueError, match=says) as caught:
        hub.check(options | changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["metadata", "archives"])
def test_a_file_that_the_data_set_does_not_have_is_named_with_those_it_has(data_set, option):
    options, folder = data_set(**{option: ["train/*.csv"]})
    with pytest.raises(
        ValueError, match=rf'{option} names "train/\*\.csv", and {REPO} at .* has no such file .*list\.csv'
    ):
        fetched(options, folder)


def test_a_column_that_the_list_does_not_have_is_named_with_those_it_has(data_set):
    options, folder = data_set(columns=COLUMNS | {"latitude": "Breite"})
    fetched(options, folder)
    with pytest.raises(ValueError, match=rf"{REPO}, list\.csv: no column Breite among name, lat, lon"):
        listing(options, folder)


# description


def test_licence_is_as_stated_else_that_of_the_card_else_not_stated(data_set, server):
    options, folder = data_set()
    fetched(options, folder)
    described = hub.describe(options, folder)
    assert described["licence"] == "cc-by-4.0"
    assert described["source_version"] == f"{REPO}@{server.commit(REPO, -1)}"
    assert described["attribution"] == f"{server.endpoint}/datasets/{REPO}"
    assert hub.describe(options | {"licence": "CC0", "attribution": "Ann"}, folder)["licence"] == "CC0"
    assert hub.describe(options) | {"attribution": ""} == {
        "licence": "not stated",
        "attribution": "",
        "source_version": f"{REPO}@main",
    }


@pytest.mark.parametrize(
    ("licence", "says"), [(None, "not stated"), ("cc0-1.0", "cc0-1.0"), (["mit", "odbl"], "mit, odbl")]
)
def test_a_card_may_state_no_licence_or_several(data_set, licence, says):
    options, folder = data_set(access={"licence": licence})
    fetched(options, folder)
    assert hub.describe(options, folder)["licence"] == says

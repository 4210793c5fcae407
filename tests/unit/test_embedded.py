"""Images in a column of Parquet files: on a hub and on disk."""

import numpy as np
import pyarrow
import pytest
from hub_photos import LISTED, NETWORK, PICTURES, embedded, fetched, listing, parquet_file, picture, put_on, serving

from geoprobe.images import hub
from geoprobe.images.embedded import read_embedded
from geoprobe.images.fetch import fetch_file


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub."""
    yield from serving(monkeypatch, tmp_path)


@pytest.fixture
def data_set(server, tmp_path):
    """Put files on the hub; returns the source's options and the folder of its metadata."""
    return lambda *content, **options: (put_on(server, *content, **options), tmp_path / "metadata")


@pytest.mark.parametrize("struct", [True, False])
def test_images_embedded_in_parquet_are_named_by_column_and_row(data_set, server, tmp_path, struct):
    table = embedded(struct)
    files = {
        "data/train-0.parquet": parquet_file(table[:2]),
        "data/train-1.parquet": parquet_file(table[2:], row_group_size=2),
    }
    options, folder = data_set(files, metadata=["data/*.parquet"], image_column="picture", captions=["town"])
    fetched(options, folder)
    rows = listing(options, folder)
    assert rows["id"].tolist() == LISTED["name"].tolist()
    assert rows["member"].tolist() == ["picture/0", "picture/1", "picture/0", "picture/1", "picture/2"]
    assert rows["caption:town"].tolist() == LISTED["town"].tolist()
    np.testing.assert_array_equal(rows["latitude"], [48.8566, -1.2864, np.nan, 35.7, 0])
    for archive, part in rows.groupby("archive", sort=False):
        got = fetch_file(archive, tmp_path / "part.parquet", NETWORK)
        assert got["sha256"] == part["archive_sha256"].iloc[0]
        images = {
            name: (data, status)
            for name, data, status, _ in read_embedded(tmp_path / "part.parquet", part["member"], 10**6)
        }
        for row in part.itertuples():
            expected = (None, "member missing") if row.id == "d4" else (PICTURES[row.id], "")
            assert images[row.member] == expected


def test_of_parquet_files_with_images_only_the_other_columns_are_fetched(data_set, server):
    images = [picture(k, 300) for k in range(5)]
    table = embedded().set_column(
        embedded().schema.get_field_index("picture"), "picture", pyarrow.array(images, pyarrow.binary())
    )
    data = parquet_file(table, row_group_size=2, use_dictionary=False)
    options, folder = data_set({"train.parquet": data}, metadata=["train.parquet"], image_column="picture")
    fetched(options, folder)
    assert len(data) > 1_000_000
    assert server.sent("train.parquet") < 100_000
    server.asked.clear()
    fetched(options, folder)
    assert server.sent("train.parquet") == 0
    assert listing(options, folder)["id"].tolist() == LISTED["name"].tolist()


def test_embedded_images_without_ids_are_named_by_file_and_row(data_set):
    columns = {"latitude": "lat", "longitude": "lon"}
    options, folder = data_set(
        {"data/train-0.parquet": parquet_file(embedded())}, metadata=["data/*"], image_column="picture", columns=columns
    )
    with pytest.raises(ValueError, match="the list is read from Parquet files"):
        hub.check(options)
    options["metadata"] = ["data/*.parquet"]
    fetched(options, folder)
    assert listing(options, folder)["id"].tolist() == [f"data/train-0/{row}" for row in range(5)]


@pytest.mark.parametrize(
    ("column", "says"),
    [("town", 'the column "town" holds .*string; images are bytes'), ("photo", "no column photo among name")],
)
def test_a_column_that_holds_no_images_is_named(data_set, column, says):
    options, folder = data_set({"a.parquet": parquet_file(embedded())}, metadata=["a.parquet"], image_column=column)
    with pytest.raises(ValueError, match=rf"a\.parquet: {says}"):
        fetched(options, folder)


def test_embedded_images_too_large_or_not_there_are_reasons(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_file(embedded(), row_group_size=2))
    wanted = ["picture/0", "picture/9", "photo/1", "town/1", "picture/x", "../picture/1", "picture"]
    found = {name: (data, status) for name, data, status, _ in read_embedded(path, wanted, len(PICTURES["a1"]))}
    assert found.pop("picture/0") == (PICTURES["a1"], "")
    assert set(found) == set(wanted[1:])
    assert set(found.values()) == {(None, "member missing")}
    assert [status for _, _, status, _ in read_embedded(path, ["picture/0"], 100)] == ["too large"]
    path.write_bytes(path.read_bytes()[:-10])
    assert [status for _, _, status, _ in read_embedded(path, ["picture/0"], 100)] == ["archive broken"]

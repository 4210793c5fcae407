"""Source `urls`: tables of addresses on this machine and behind an address of their own."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from image_server import ImageServer

from geoprobe.images import sources, urls
from geoprobe.images.fetch import FetchError

NETWORK = {"attempts": 1, "timeout_s": 20, "allow_private": True}
HEADER = ["url", "latitude", "longitude", "id", "group", "title"]
ROWS = [
    ("https://a.example/1.jpg", 48.8566, 2.3522, "one", "Ann", "A hill"),
    ("", 1.0, 2.0, "two", "Ann", ""),
    ("http://b.example/x?y=1,2", 142.7, 35.7, "", "", "路"),
    ("", 3.0, 4.0, "", "", ""),
]


@pytest.fixture
def listed(tmp_path):
    """Write a table; returns its path."""

    def make(name="list.csv", rows=ROWS, columns=HEADER):
        path = tmp_path / "tables" / name
        path.parent.mkdir(exist_ok=True)
        frame = pd.DataFrame(rows, columns=columns)
        if name.endswith(".parquet"):
            frame.to_parquet(path, index=False)
        else:
            frame.to_csv(path, index=False)
        return path

    return make


@pytest.fixture
def address(listed, direct):
    """Write a table, as `listed`; returns its address on a server."""
    with ImageServer() as server:

        def make(*arguments, **options):
            path = listed(*arguments, **options)
            server.files[f"/{path.name}"] = path.read_bytes()
            return f"{server.root}/{path.name}"

        yield make


def listing(options, folder=None):
    return pd.concat(urls.list_images(options, folder), ignore_index=True)


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_each_row_has_its_address(listed, name):
    options = {"path": str(listed(name)), "captions": ["title"]}
    urls.check(options)
    rows = listing(options)
    assert rows["urls"].tolist() == [[row[0]] if row[0] else [] for row in ROWS]
    assert rows["id"].tolist() == ["one", "two", "http://b.example/x?y=1,2", "row 4"]
    assert rows["group"].tolist() == ["Ann", "Ann", "http://b.example/x?y=1,2", "row 4"]
    assert rows["reason"].tolist() == ["", "no url", "", "no url"]
    assert rows["caption:title"].tolist() == ["A hill", "", "路", ""]
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], [row[1:3] for row in ROWS])
    assert "url" not in rows


def test_a_list_of_addresses_can_be_written_to_a_table(listed, tmp_path):
    rows = listing({"path": str(listed())})
    rows.to_parquet(tmp_path / "rows.parquet")
    assert [list(found) for found in pd.read_parquet(tmp_path / "rows.parquet")["urls"]] == rows["urls"].tolist()


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_table_with_an_address_is_fetched_and_read(listed, address, tmp_path, name):
    path = listed(name)
    options = {"path": address(name)}
    urls.check(options)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (entry,) = urls.fetch_metadata(options | {"sha256": digest}, tmp_path / "metadata", NETWORK)
    assert entry == {"file": name, "url": options["path"], "bytes": path.stat().st_size, "sha256": digest}
    pd.testing.assert_frame_equal(listing(options, tmp_path / "metadata"), listing({"path": str(path)}))


def test_a_fetched_table_with_another_checksum_is_refused(address, tmp_path):
    options = {"path": address(), "sha256": "0" * 64}
    with pytest.raises(FetchError, match=r"list\.csv: checksum wrong"):
        urls.fetch_metadata(options, tmp_path / "metadata", NETWORK)


def test_a_fetched_table_without_addresses_is_refused(address, tmp_path):
    options = {"path": address(columns=["link", *HEADER[1:]])}
    with pytest.raises(ValueError, match=r"list\.csv.* no column url\. Rename or add it: each image needs url"):
        urls.fetch_metadata(options, tmp_path / "metadata", NETWORK)


def test_a_table_on_this_machine_is_recorded_as_it_is(listed, tmp_path):
    path = listed()
    (entry,) = urls.fetch_metadata({"path": str(path)}, tmp_path / "metadata", NETWORK)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry == {"file": str(path), "url": "", "bytes": path.stat().st_size, "sha256": digest}


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_table_is_read_in_chunks_that_make_up_the_whole(listed, monkeypatch, chunk):
    options = {"path": str(listed())}
    whole = listing(options)
    monkeypatch.setattr(sources, "CHUNK", chunk)
    frames = list(urls.list_images(options))
    assert max(map(len, frames)) == chunk
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)


def test_what_is_no_table_of_addresses_is_refused(listed):
    with pytest.raises(ValueError, match=r'path is "absent\.csv", and there is no such file'):
        urls.check({"path": "absent.csv"})
    with pytest.raises(ValueError, match=r"which ends neither in \.csv nor in \.parquet"):
        urls.check({"path": "https://a.example/list?format=csv"})
    with pytest.raises(ValueError, match="no column url"):
        urls.check({"path": str(listed(columns=["path", *HEADER[1:]]))})
    with pytest.raises(ValueError, match='captions names the column "heading"'):
        urls.check({"path": str(listed()), "captions": ["heading"]})


def test_licence_and_attribution_are_as_stated(listed):
    described = urls.describe({"path": "list.csv", "licence": "CC0"})
    assert described == {"licence": "CC0", "attribution": "not stated", "source_version": "list.csv"}

"""Source `yfcc100m`: the three forms of the metadata, the bucket's keys, and memory that does not grow."""

import bz2
import gzip
import hashlib
import itertools
import json
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from image_server import ImageServer

from geoprobe.images import yfcc100m
from geoprobe.images.fetch import FetchError

OPTIONS = {
    "min_accuracy": 12,
    "images_base": "https://bucket.test",
    "flickr_base": "https://flickr.test/",
    "flickr_size": "z",
}
# the 23 fields of the table, in its order, as the package yfcc100m has them
FIELDS = [
    "photoid", "uid", "unickname", "datetaken", "dateuploaded", "capturedevice", "title", "description", "usertags",
    "machinetags", "longitude", "latitude", "accuracy", "pageurl", "downloadurl", "licensename", "licenseurl",
    "serverid", "farmid", "secret", "secretoriginal", "ext", "marker",
]  # fmt: skip
# fields of the Webscope text that its description counts, from 0
PLACES = {"photoid": 1, "uid": 3, "longitude": 12, "latitude": 13, "accuracy": 14, "downloadurl": 16, "marker": 24}


def photo(number, **others):
    """A row of the table as Flickr would have it, all text."""
    return {
        "photoid": str(6985418000 + number),
        "uid": f"3908949{number % 3}@N00",
        "unickname": "guck%2Bxzs+%C3%BC",
        "datetaken": "2012-02-16 09:56:37.0",
        "dateuploaded": "1331840483",
        "capturedevice": "Canon+PowerShot+ELPH+310+HS",
        "title": f"IMG_{number:04d}",
        "description": "My+vacation+%22south%22",
        "usertags": "canon,key+west,a%2Cb",
        "machinetags": "",
        "longitude": "-81.804885",
        "latitude": "24.550558",
        "accuracy": "12",
        "pageurl": f"http://www.flickr.com/photos/39089491@N00/{number}/",
        "downloadurl": f"http://farm8.staticflickr.com/7205/{number}_df7747990d.jpg",
        "licensename": "Attribution-NonCommercial-NoDerivs License",
        "licenseurl": "http://creativecommons.org/licenses/by-nc-nd/2.0/",
        "serverid": "7205",
        "farmid": "8",
        "secret": "df7747990d",
        "secretoriginal": "692d7e0a7f",
        "ext": "jpg",
        "marker": "0",
    } | others


PHOTOS = [
    photo(1),
    photo(2, longitude="", latitude="", accuracy=""),
    photo(3, accuracy="11"),
    photo(4, marker="1", ext="mp4"),
    photo(5, longitude="139.7", latitude="-35.25", accuracy="16", ext="png"),
    photo(6, accuracy=""),
    photo(7, longitude="0.0", latitude="0.0"),
    photo(8, longitude="", latitude="", accuracy="", marker="1"),
]
KEPT = [row for row in PHOTOS if row["longitude"]]


def write_sqlite(path, rows):
    """Numbers as numbers and gaps as NULL: the loosest typing that SQLite allows."""
    numbers = ("photoid", "longitude", "latitude", "accuracy", "serverid", "marker")
    values = [[json.loads(row[n]) if n in numbers and row[n] else row[n] or None for n in FIELDS] for row in rows]
    with sqlite3.connect(path) as base:
        base.execute(f"CREATE TABLE yfcc100m_dataset ({', '.join(FIELDS)})")
        base.executemany(f"INSERT INTO yfcc100m_dataset VALUES ({', '.join('?' * 23)})", values)
    base.close()


def write_text_sqlite(path, rows):
    with sqlite3.connect(path) as base:
        base.execute(f"CREATE TABLE yfcc100m_dataset ({' text, '.join(FIELDS)} text)")
        base.executemany(
            f"INSERT INTO yfcc100m_dataset VALUES ({', '.join('?' * 23)})", [[row[n] for n in FIELDS] for row in rows]
        )
    base.close()


def text(rows, numbered=True):
    lines = []
    for number, row in enumerate(rows):
        fields = list(row.values())
        if numbered:
            fields = [str(number), fields[0], hashlib.md5(fields[0].encode()).hexdigest(), *fields[1:]]
        lines.append("\t".join(fields) + "\n")
    return "".join(lines).encode()


def write_bz2_streams(path, rows):
    """As several programs write bzip2: one stream after another in a file."""
    half = len(rows) // 2
    path.write_bytes(bz2.compress(text(rows[:half])) + bz2.compress(text(rows[half:])))


def write_parquet(path, rows):
    frame = pd.DataFrame(rows)
    for name in ("longitude", "latitude", "accuracy", "photoid"):
        frame[name] = pd.to_numeric(frame[name])
    frame["marker"] = frame["marker"].astype("int8")
    frame.to_parquet(path, index=False)


FORMS = {
    "sqlite": write_sqlite,
    "sqlite of text": write_text_sqlite,
    "text": lambda path, rows: path.write_bytes(text(rows)),
    "text of 23 fields": lambda path, rows: path.write_bytes(text(rows, numbered=False)),
    "gzip": lambda path, rows: path.write_bytes(gzip.compress(text(rows))),
    "bzip2": write_bz2_streams,
    "parquet": write_parquet,
}


@pytest.fixture
def listed(tmp_path):
    """Write rows in a form and list them; returns one frame."""

    def make(rows, form="text", **options):
        path = tmp_path / "metadata"
        FORMS[form](path, rows)
        options = OPTIONS | {"metadata": str(path)} | options
        yfcc100m.check(options)
        return pd.concat(list(yfcc100m.list_images(options, tmp_path)), ignore_index=True)

    return make


# what is listed


@pytest.mark.parametrize("form", FORMS)
def test_each_form_lists_the_rows_with_coordinates_in_order(listed, form, capsys):
    rows = listed(PHOTOS, form)
    assert rows["id"].tolist() == [row["photoid"] for row in KEPT]
    np.testing.assert_array_equal(rows["longitude"], [float(row["longitude"]) for row in KEPT])
    np.testing.assert_array_equal(rows["latitude"], [float(row["latitude"]) for row in KEPT])
    assert rows["group"].tolist() == [row["uid"] for row in KEPT]
    assert "2 rows without coordinates are not listed" in capsys.readouterr().out


@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_cannot_be_used_says_why(listed, form):
    reasons = listed(PHOTOS, form).set_index("id")["reason"]
    expected = ["", "accuracy below 12", "a video", "", "no accuracy", ""]
    assert reasons.tolist() == expected


def test_the_least_accuracy_is_an_option_and_is_itself_enough(listed):
    accuracies = range(1, 17)
    rows = [photo(number, accuracy=str(number)) for number in accuracies]
    for least in (1, 7, 16):
        reasons = listed(rows, min_accuracy=least)["reason"]
        assert reasons.tolist() == [f"accuracy below {least}" if number < least else "" for number in accuracies]


@pytest.mark.parametrize("form", FORMS)
def test_text_is_decoded_once_and_tags_are_parted(listed, form):
    (row,) = listed([photo(1, title="100%25+C%2B%2B", usertags="canon,key+west,a%2Cb")], form).to_dict("records")
    assert row["author"] == "guck+xzs ü"
    assert row["caption:title"] == "100% C++"
    assert row["caption:tags"] == "canon key west a,b"


def test_the_licence_is_its_address_or_else_its_name(listed):
    rows = listed([photo(1), photo(2, licenseurl="")])
    assert rows["licence"].tolist() == [PHOTOS[0]["licenseurl"], "Attribution-NonCommercial-NoDerivs License"]


def test_the_numbered_text_has_its_fields_where_webscope_counts_them():
    fields = text([photo(1)]).decode().rstrip("\n").split("\t")
    assert len(fields) == 25
    for name, place in PLACES.items():
        assert fields[place] == photo(1)[name]
        assert yfcc100m.TEXT_FIELDS[25][place] == name
    assert yfcc100m.FIELDS == FIELDS


@pytest.mark.parametrize("mark", ['"', '"a"b', "'", "#", "\\", "\\N"])
def test_quotation_marks_and_backslashes_in_text_are_only_characters(listed, mark):
    rows = listed([photo(1, title=mark), photo(2, description=mark), photo(3)])
    assert len(rows) == 3
    assert rows["caption:title"][0] == mark


def test_coordinates_that_are_no_numbers_are_missing_and_still_listed(listed):
    rows = listed([photo(1, longitude="west")])
    assert rows["longitude"].isna().all()
    assert rows["latitude"].tolist() == [24.550558]


def test_several_files_are_listed_one_after_another(tmp_path):
    for number in (1, 0):
        (tmp_path / f"yfcc100m_dataset-{number}.bz2").write_bytes(bz2.compress(text([photo(number)])))
    options = OPTIONS | {"metadata": str(tmp_path / "yfcc100m_dataset-*.bz2")}
    yfcc100m.check(options)
    ids = [frame["id"].item() for frame in yfcc100m.list_images(options, None)]
    assert ids == [photo(0)["photoid"], photo(1)["photoid"]]


def test_a_file_that_may_not_be_written_is_read(tmp_path):
    path = tmp_path / "yfcc100m?#%.sql"
    write_sqlite(path, PHOTOS)
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        options = OPTIONS | {"metadata": str(path)}
        yfcc100m.check(options)
        assert sum(map(len, yfcc100m.list_images(options, None))) == len(KEPT)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    finally:
        tmp_path.chmod(0o755)


# addresses


def key_by_the_published_rule(url):
    """The rule as the package yfcc100m words it: each byte of the MD5 as %x instead of %02x."""
    digits = hashlib.md5(url.encode()).hexdigest()
    pairs = [digits[i : i + 2] for i in range(0, 32, 2)]
    return "".join(pair[1] if pair[0] == "0" else pair for pair in pairs)


def test_a_digest_loses_the_leading_zero_of_every_byte():
    assert yfcc100m.short_hex(bytes.fromhex("69312a99b8d30a6d")) == "69312a99b8d3a6d"
    assert yfcc100m.short_hex(bytes.fromhex("000110ff")) == "0110ff"


def test_an_image_is_looked_for_in_the_bucket_and_then_at_flickr(listed):
    rows = listed([photo(number) for number in range(40)])
    keys = set()
    for number, addresses in enumerate(rows["urls"]):
        key = key_by_the_published_rule(photo(number)["downloadurl"])
        keys.add(len(key))
        assert list(addresses) == [
            f"https://bucket.test/data/images/{key[:3]}/{key[3:6]}/{key}.jpg",
            f"https://flickr.test/7205/{photo(number)['photoid']}_df7747990d_z.jpg",
        ]
    assert len(keys) > 1, "no key was shortened, so that the rule was not tried"


def test_an_image_with_another_extension_is_also_looked_for_under_it(listed):
    (addresses,) = listed([photo(1, ext="png")], flickr_size="")["urls"]
    assert [address.rsplit(".", 1)[1] for address in addresses] == ["jpg", "png", "jpg"]
    assert addresses[2] == f"https://flickr.test/7205/{photo(1)['photoid']}_df7747990d.jpg"


# fetching


@pytest.fixture
def server(direct):
    with ImageServer() as server:
        yield server


NETWORK = {"allow_private": True, "attempts": 1, "timeout_s": 30}


def test_metadata_are_fetched_checked_and_listed(server, tmp_path):
    path = tmp_path / "yfcc100m_dataset.sql"
    write_sqlite(path, PHOTOS)
    server.files[f"/{path.name}"] = path.read_bytes()
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    options = OPTIONS | {"metadata": f"{server.root}/{path.name}?version=1", "metadata_md5": digest}
    yfcc100m.check(options)
    (entry,) = yfcc100m.fetch_metadata(options, tmp_path / "metadata", NETWORK)
    assert (tmp_path / "metadata" / path.name).read_bytes() == path.read_bytes()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry == {"file": path.name, "url": options["metadata"], "bytes": path.stat().st_size, "sha256": sha256}
    (rows,) = yfcc100m.list_images(options, tmp_path / "metadata")
    assert rows["id"].tolist() == [row["photoid"] for row in KEPT]


def test_fetched_metadata_with_another_checksum_are_refused(server, tmp_path):
    server.files["/a.tsv"] = text(PHOTOS)
    with pytest.raises(FetchError, match="checksum wrong"):
        yfcc100m.fetch_metadata(
            OPTIONS | {"metadata": f"{server.root}/a.tsv", "metadata_md5": "0" * 32}, tmp_path / "metadata", NETWORK
        )


def test_a_page_in_place_of_the_metadata_is_refused(server, tmp_path):
    server.files["/a.tsv"] = b"<html>Access denied</html>"
    with pytest.raises(ValueError, match=r'metadata ".*a\.tsv" is text of 1 tab-separated'):
        yfcc100m.fetch_metadata(OPTIONS | {"metadata": f"{server.root}/a.tsv"}, tmp_path / "metadata", NETWORK)


def test_metadata_on_this_machine_stay_where_they_are_and_are_recorded(tmp_path):
    for number in range(2):
        (tmp_path / f"part-{number}").write_bytes(text([photo(number)]))
    manifest = yfcc100m.fetch_metadata(OPTIONS | {"metadata": str(tmp_path / "part-*")}, tmp_path / "metadata", NETWORK)
    for number, entry in enumerate(manifest):
        content = text([photo(number)])
        assert entry == {
            "file": str(tmp_path / f"part-{number}"),
            "url": "",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    assert len(manifest) == 2
    assert not (tmp_path / "metadata").exists()


def test_a_wrong_checksum_of_metadata_on_this_machine_is_told(tmp_path):
    (tmp_path / "a").write_bytes(text(PHOTOS))
    with pytest.raises(
        ValueError, match=rf'metadata ".*a": md5 is {hashlib.md5(text(PHOTOS)).hexdigest()} instead of 00ff'
    ):
        yfcc100m.fetch_metadata(OPTIONS | {"metadata": str(tmp_path / "a"), "metadata_md5": "00ff"}, None, NETWORK)


def test_one_checksum_of_several_files_is_refused(tmp_path):
    for number in range(2):
        (tmp_path / f"part-{number}").write_bytes(text(PHOTOS))
    with pytest.raises(ValueError, match=r'metadata_md5 is one checksum, and metadata ".*part-\*" are 2 files'):
        yfcc100m.check(OPTIONS | {"metadata": str(tmp_path / "part-*"), "metadata_md5": "00ff"})


# memory and chunks


@pytest.mark.parametrize("form", FORMS)
def test_no_frame_is_longer_than_a_chunk_and_no_row_is_lost(listed, tmp_path, monkeypatch, form):
    monkeypatch.setattr(yfcc100m, "CHUNK", 7)
    rows = [photo(number, longitude="" if number % 3 == 0 else "1") for number in range(50)]
    FORMS[form](tmp_path / "metadata", rows)
    frames = list(yfcc100m.list_images(OPTIONS | {"metadata": str(tmp_path / "metadata")}, None))
    assert max(map(len, frames)) <= 7
    assert list(itertools.chain(*(frame["id"] for frame in frames))) == [
        row["photoid"] for row in rows if row["longitude"]
    ]


def write_times(path, form, rows, times):
    """The rows of `rows` written so many times over, without holding them all."""
    if form == "sqlite of text":
        write_text_sqlite(path, rows)
        with sqlite3.connect(path) as base:
            for _ in range(times - 1):
                base.execute(f"INSERT INTO yfcc100m_dataset SELECT * FROM yfcc100m_dataset LIMIT {len(rows)}")
        base.close()
    elif form == "gzip":
        path.write_bytes(gzip.compress(text(rows), 1) * times)
    else:
        table = pa.Table.from_pandas(pd.DataFrame(rows))
        with pyarrow.parquet.ParquetWriter(path, table.schema) as writer:
            for _ in range(times):
                writer.write_table(table)


MEASURE = textwrap.dedent(
    """
    import json, sys

    from geoprobe.images import yfcc100m
    from geoprobe.runtime import peak_mb

    yfcc100m.CHUNK, yfcc100m.BLOCK = 10_000, 2**20
    peaks, count = [], 0
    for frame in yfcc100m.list_images(json.loads(sys.argv[1]), None):
        count += len(frame)
        peaks.append(peak_mb())
    print(json.dumps([count, peaks[len(peaks) // 4], peaks[-1]]))
    """
)


@pytest.mark.parametrize("form", ["sqlite of text", "gzip", "parquet"])
def test_the_memory_of_a_listing_does_not_grow_with_its_rows(tmp_path, form):
    rows = [photo(number, description="+".join(["words"] * 40)) for number in range(20_000)]
    write_times(tmp_path / "metadata", form, rows, 12)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(OPTIONS | {"metadata": str(tmp_path / "metadata")})],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    listed, after_a_quarter, at_the_end = json.loads(done.stdout.splitlines()[-1])
    assert listed == 240_000
    # MB; the other 180,000 rows are 130 MB of text, and as frames at least 100 MB
    assert at_the_end < after_a_quarter + 40


# errors


def test_metadata_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r'metadata is ".*absent\.sql", and there is no such file\. Give the SQLite'):
        yfcc100m.check(OPTIONS | {"metadata": str(tmp_path / "absent.sql")})


def test_a_table_without_a_column_is_refused_by_name(tmp_path):
    pd.DataFrame(PHOTOS).drop(columns=["secret", "accuracy"]).to_parquet(tmp_path / "a")
    with pytest.raises(ValueError, match=r'metadata ".*a" is a Parquet file with no column accuracy, secret\.'):
        yfcc100m.check(OPTIONS | {"metadata": str(tmp_path / "a")})


def test_a_sqlite_file_of_something_else_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "other.sql") as base:
        base.execute("CREATE TABLE places (name)")
    base.close()
    with pytest.raises(ValueError, match=r"a SQLite file whose table yfcc100m_dataset has no column photoid, uid"):
        yfcc100m.check(OPTIONS | {"metadata": str(tmp_path / "other.sql")})


@pytest.mark.parametrize(
    "content", [b"", b"<html>Access denied</html>\n", b"a\tb\tc\n", gzip.compress(b"a,b\n", mtime=0)]
)
def test_a_file_that_is_no_metadata_is_refused(tmp_path, content):
    (tmp_path / "wrong").write_bytes(content)
    with pytest.raises(
        ValueError, match=r'metadata ".*wrong" is text of \d tab-separated fields a line \(not 23 or 25\)'
    ):
        yfcc100m.check(OPTIONS | {"metadata": str(tmp_path / "wrong")})


def test_a_line_with_a_field_too_few_is_refused_with_the_file(tmp_path):
    broken = text([photo(1), photo(2), photo(3)]).splitlines(keepends=True)
    broken[1] = broken[1].split(b"\t", 1)[1]
    (tmp_path / "broken").write_bytes(b"".join(broken))
    with pytest.raises(ValueError, match=r'metadata ".*broken": .*25 columns, got 24'):
        list(yfcc100m.list_images(OPTIONS | {"metadata": str(tmp_path / "broken")}, None))


@pytest.mark.parametrize("name", ["images_base", "flickr_base"])
def test_an_address_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match=f'{name} is "bucket"; give an address that begins with http'):
        yfcc100m.check(OPTIONS | {"metadata": "https://bucket.test/yfcc.sql", name: "bucket"})


# description


def test_the_description_says_which_metadata_and_whose_licence():
    described = yfcc100m.describe(OPTIONS | {"metadata": "https://a.test/x.sql", "metadata_md5": "00ff"})
    assert described["source_version"] == "https://a.test/x.sql 00ff"
    assert described["min_accuracy"] == 12
    assert described["licence"].startswith("Creative Commons")

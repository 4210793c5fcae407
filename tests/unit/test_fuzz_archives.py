"""Archives of any bytes: each wanted member comes whole, or with its reason; nothing is written or without end."""

import bz2
import gzip
import io
import lzma
import struct
import zipfile

import pyarrow
import pyarrow.parquet
import pytest
from fuzzing import TEXTS, damaged, guarded
from hypothesis import example, given
from hypothesis import strategies as st
from test_archives import IMAGES, pack, pack_tar, pack_zip

from geoprobe.images.archives import read_members
from geoprobe.images.boundaries import fetch_boundaries
from geoprobe.images.embedded import copy_columns
from geoprobe.images.files import archive_members, is_image_name

STATUSES = ("", "unsafe member", "too large", "member missing", "archive broken")
LIMIT = 5_000
SMALL = {name: data[:300] for name, data in IMAGES.items()} | {"big.jpg": bytes(LIMIT + 1), "ä" * 120 + ".jpg": b"x"}
WANTED = [*SMALL, "a/0.jpg/../../b.jpg", "/etc/passwd", "image/1", "image/x", "./a/0.jpg"]
PLAIN = [pack_tar(SMALL), pack_tar({f"{'n' * 200}/{k}": b"x" for k in range(2)} | SMALL)]
WORDS = [
    b"../../x\0",
    b"/etc/passwd\0",
    b"ustar\0",
    b"x",
    b"L",
    b"g",
    b"S",
    b"2",
    b"0" * 12,
    b"7" * 11,
    b"\x80" + b"\xff" * 11,
]


def with_sums(data):
    """A tar file whose headers have the right checksums, so that what is in them is read."""
    blocks = [bytearray(data[start : start + 512]) for start in range(0, len(data), 512)]
    for block in blocks:
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def parquet_of_images():
    buffer = io.BytesIO()
    rows = [{"bytes": data, "path": name} for name, data in SMALL.items()]
    table = pyarrow.table(
        {"id": [str(k) for k in range(len(rows))], "image": rows, "raw": [row["bytes"] for row in rows]}
    )
    pyarrow.parquet.write_table(table, buffer, row_group_size=3)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


def read(folder, name, data, wanted=WANTED):
    path = folder / name
    path.write_bytes(data)
    with guarded(folder=folder):
        found = list(read_members(path, wanted, LIMIT))
        assert sorted(name for name, *_ in found) == sorted(wanted)
        for name, content, status, detail in found:
            assert status in STATUSES
            assert (content is None) == (status != "")
            assert content is None or len(content) <= LIMIT
            assert status == "unsafe member" or not name.startswith(("/", "../"))
            detail.encode("utf-8")
    with guarded(ValueError, naming=path, folder=folder), open(path, "rb") as file:
        assert all(is_image_name(member) for member in archive_members(file, path))


@given(data=damaged(PLAIN, WORDS))
def test_a_tar_file(folder, data):
    read(folder, "images.tar", with_sums(data))


@pytest.mark.parametrize(
    ("ending", "compress"), [("tar.gz", gzip.compress), ("tar.bz2", bz2.compress), ("tar.xz", lzma.compress)]
)
def test_a_compressed_tar_file(folder, ending, compress):
    @given(data=damaged(PLAIN, WORDS), damage=damaged([compress(PLAIN[0])]), inside=st.booleans())
    def run(data, damage, inside):
        read(folder, f"images.{ending}", compress(with_sums(data)) if inside else damage)

    run()


ZIPS = [
    pack(SMALL, "zip"),
    pack_zip(SMALL, compression=zipfile.ZIP_STORED),
    pack_zip(SMALL, compression=zipfile.ZIP_BZIP2),
]


@given(
    data=damaged(
        ZIPS, [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", struct.pack("<HHQ", 1, 8, 2**60), b"\x09\0", b"/"]
    )
)
def test_a_zip_file(folder, data):
    read(folder, "images.zip", data)


IMAGES_IN_PARQUET = parquet_of_images()


@given(data=damaged([IMAGES_IN_PARQUET], [b"PAR1"]))
@example(data=IMAGES_IN_PARQUET[:4] + bytes(60) + IMAGES_IN_PARQUET[64:])
def test_images_in_a_parquet_file(folder, data):
    path = folder / "images.parquet"
    path.write_bytes(data)
    with guarded(folder=folder):
        found = list(read_members(path, WANTED, LIMIT))
    assert sorted(name for name, *_ in found) == sorted(WANTED)
    assert all(status in STATUSES and (content is None or len(content) <= LIMIT) for _, content, status, _ in found)
    with guarded(ValueError), open(path, "rb") as file:
        copy_columns(file, ["id"], "image", folder / "columns.parquet")


@given(
    names=st.lists(
        st.one_of(TEXTS, st.lists(st.sampled_from(["..", ".", "", "a", "C:", "\\", "\0"]), max_size=5).map("/".join)),
        max_size=4,
        unique=True,
    )
)
def test_a_wanted_name_that_leads_out_is_never_read(folder, names):
    inside = folder / "unpacked"
    inside.mkdir(exist_ok=True)
    (folder / "secret").write_bytes(b"secret")
    with guarded(folder=folder):
        found = list(read_members(inside, [*names, "../secret"], LIMIT))
    assert sorted(name for name, *_ in found) == sorted([*names, "../secret"])
    assert {content for _, content, *_ in found} <= {None}


UNITS = pack_zip({"units.geojson": b"{}", "b/units.geojson": bytes(9000)})


@example(data=b"")
@example(data=UNITS[1:])  # the directory leads to a place before the beginning
@example(data=UNITS)  # the member holds no polygons
@given(data=damaged([UNITS], [b"../", b"\0"]))
def test_a_zip_file_of_boundaries(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("zipped")
    (folder / "units.zip").write_bytes(data)
    layer = {"file": str(folder / "units.zip"), "member": "units.geojson", "country": "c"}
    with guarded(ValueError, naming=["units.zip", "units.geojson"]):
        fetch_boundaries({"coast_km": 0, "layers": [layer]}, folder / "own.json", {})
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names <= {"units.zip", "units.geojson", "own.json"}
    assert len(list(folder.iterdir())) <= 3

"""A data set on a hub of our own: its list, its images and its archives, for tests."""

import io
import tarfile
import time
import zipfile

import huggingface_hub.constants
import pandas as pd
import pyarrow
import pyarrow.parquet
from hub_server import Hub
from pictures import noise

from geoprobe.images import hub

REPO = "ann/photos"
NETWORK = {"attempts": 3, "timeout_s": 20, "allow_private": True}
LISTED = pd.DataFrame(
    {
        "name": ["a1", "b2", "c3", "d4", "e5"],
        "lat": ["48.8566", "-1.2864", "", "35.7", "0"],
        "lon": ["2.3522", "36.8172", "5", "139.7", "0"],
        "seq": ["s1", "", "s1", "", ""],
        "user": ["u1", "u2", "u1", "", "u5"],
        "iso": ["FR", "KE", "", "JP", ""],
        "town": ["Paris", "Nairobi", "", "東京", "Null"],
    }
)
COLUMNS = {
    "id": "name",
    "latitude": "lat",
    "longitude": "lon",
    "group": ["seq", "user"],
    "country": "iso",
    "author": "user",
}


def picture(seed, side=64):
    return noise(seed, (side, side))


PICTURES = {name: picture(seed) for seed, name in enumerate(LISTED["name"])}


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


ARCHIVES = {
    "images/00.zip": zipped(
        {"00/": b"", "00/b2.png": PICTURES["b2"], "00/readme.txt": b"no", "00/zz.png": PICTURES["a1"]}
    ),
    "images/01.zip": zipped({f"01/{name}.png": PICTURES[name] for name in ("a1", "c3", "d4")}),
}
FILES = {"README.md": b"---\n", "list.csv": LISTED.to_csv(index=False).encode(), **ARCHIVES}


def parquet_file(content, **options):
    """Bytes of a Parquet file of a frame or an Arrow table."""
    buffer = io.BytesIO()
    table = content if isinstance(content, pyarrow.Table) else pyarrow.Table.from_pandas(content)
    pyarrow.parquet.write_table(table, buffer, **options)
    return buffer.getvalue()


def embedded(struct=True):
    """The list as an Arrow table with its images in the column picture; that of d4 is missing."""
    images = [PICTURES[name] for name in LISTED["name"]]
    images[3] = None
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]) if struct else pyarrow.binary()
    values = [{"bytes": data, "path": "x.png"} for data in images] if struct else images
    table = pyarrow.Table.from_pandas(LISTED.assign(lat=pd.to_numeric(LISTED["lat"]), lon=pd.to_numeric(LISTED["lon"])))
    return table.append_column("picture", pyarrow.array(values, kind))


def serving(monkeypatch, tmp_path):
    """Yield a hub, with no token anywhere and no waiting between attempts."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server = Hub()
    yield server
    server.close()


def put_on(server, content=FILES, access=None, **options):
    """Put files on a hub; returns options of the source that reads them."""
    server.add(REPO, content, **(access or {}))
    given = {"repo": REPO, "endpoint": server.endpoint, "metadata": ["list.csv"], "columns": COLUMNS}
    if not {"archives", "image_column", "files"} & set(options) and "url" not in options.get("columns", {}):
        given["archives"] = ["images/*.zip"]
    return given | options


def fetched(options, folder):
    """Fetch the metadata after a check; returns what was fetched."""
    hub.check(options)
    return hub.fetch_metadata(options, folder, NETWORK)


def listing(options, folder):
    """All rows in one frame."""
    return pd.concat(hub.list_images(options, folder), ignore_index=True)

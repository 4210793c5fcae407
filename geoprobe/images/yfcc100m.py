"""Source `yfcc100m`: the geotagged photos of the Yahoo Flickr Creative Commons 100 Million data set.

The metadata come as a SQLite file (table yfcc100m_dataset), as the tab-separated text of Yahoo Webscope (plain, gzip or
bzip2; the release with a line number and a hash beside the 23 fields, or the older one without), or as a Parquet
export whose columns are named as those of the table. Text in them is encoded as in a URL, with + for a space.

About half of the 100 million rows have no coordinates. These are not listed, only counted in the log: a table of tens
of millions of rows that all say "no coordinates" would tell nobody more. Videos and photos placed too coarsely are
listed with their reason.
"""

import bz2
import contextlib
import glob
import gzip
import hashlib
import sqlite3
import zlib
from pathlib import Path
from urllib.parse import quote, unquote_plus, urlsplit

import numpy as np
import pandas as pd
from tqdm import tqdm

from geoprobe.images.sources import CHUNK
from geoprobe.images.table import open_parquet

NETWORK = True
TABLE = "yfcc100m_dataset"
FIELDS = [
    "photoid",
    "uid",
    "unickname",
    "datetaken",
    "dateuploaded",
    "capturedevice",
    "title",
    "description",
    "usertags",
    "machinetags",
    "longitude",
    "latitude",
    "accuracy",
    "pageurl",
    "downloadurl",
    "licensename",
    "licenseurl",
    "serverid",
    "farmid",
    "secret",
    "secretoriginal",
    "ext",
    "marker",
]
# the text of Webscope, by its number of fields
TEXT_FIELDS = {23: FIELDS, 25: ["line", "photoid", "hash", *FIELDS[1:]]}
UNUSED = {
    "datetaken",
    "dateuploaded",
    "capturedevice",
    "description",
    "machinetags",
    "pageurl",
    "farmid",
    "secretoriginal",
}
USED = [name for name in FIELDS if name not in UNUSED]
BLOCK = 8 * 2**20  # bytes of text parsed at a time


def check(options):
    """Refuse metadata that are not there or none of the three forms, and addresses that are none."""
    for name in ("images_base", "flickr_base"):
        if not _is_url(options[name]):
            raise ValueError(f'{name} is "{options[name]}"; give an address that begins with http:// or https://.')
    if not _is_url(options["metadata"]):
        paths = _files(options, None)
        if len(paths) > 1 and options.get("metadata_md5"):
            raise ValueError(
                f'metadata_md5 is one checksum, and metadata "{options["metadata"]}" are {len(paths)} files.'
            )
        for path in paths:
            _check_form(path)


def fetch_metadata(options, folder, network):
    """Bring the metadata into `folder`; files on this machine stay where they are, and only their digests are taken.

    Raises:
        FetchError: they could not be fetched, or are not what `metadata_md5` says.
        ValueError: a file is none of the three forms, or not what `metadata_md5` says.
    """
    from geoprobe.images.fetch import fetch_file, file_digests, wrong_checksum

    metadata, md5 = options["metadata"], options.get("metadata_md5", "")
    manifest = []
    for path in _files(options, folder):
        if _is_url(metadata):
            manifest.append(fetch_file(metadata, path, network, md5=md5))
        else:
            print(f"yfcc100m: digest of {path}")
            digests = file_digests(path)
            if wrong := wrong_checksum(digests, md5):
                raise ValueError(f'metadata "{path}": {wrong}. Correct metadata_md5, or get the file again.')
            size = path.stat().st_size
            manifest.append({"file": str(path), "url": "", "bytes": size, "sha256": digests["sha256"]})
        _check_form(path)
    return manifest


def list_images(options, folder):
    """Yield the rows that have coordinates, with the addresses at which their images may be.

    Args:
        options: `metadata` (a path, a pattern of paths, or an address), `min_accuracy` (Flickr's accuracy of a
            position: 1 world, 3 country, 6 region, 11 city, 16 street), `images_base`, `flickr_base`, `flickr_size`
            ("" 500, "z" 640, "b" 1024 pixels at most on a side).
        folder: where fetch_metadata put them.

    Returns:
        Iterator of frames: id, latitude, longitude, group (the user), reason, licence, author, urls, caption:title,
        caption:tags.

    Raises:
        ValueError: a file is none of the three forms, or a line of it is broken.
    """
    left_out = 0
    with tqdm(unit="row", desc="yfcc100m: metadata", mininterval=5) as progress:
        for path in _files(options, folder):
            for texts, without in _check_form(path)(path):
                left_out += without
                progress.update(len(texts) + without)
                if len(texts):
                    yield _rows(texts, options)
    print(f"yfcc100m: {left_out} rows without coordinates are not listed")


def describe(options, folder=None):
    """Licences are those of the images; which metadata and which accuracy were asked for."""
    return {
        "licence": "Creative Commons, image by image: see the column licence of the plan",
        "attribution": "YFCC100M (Thomee et al. 2016, doi:10.1145/2812802); authors in the column author of the plan",
        "source_version": " ".join(filter(None, [options["metadata"], options.get("metadata_md5", "")])),
        "min_accuracy": options["min_accuracy"],
    }


def short_hex(digest):
    """Bytes in hexadecimal, each without its leading zero: the names of the images in the S3 bucket."""
    return ("%x" * len(digest)) % tuple(digest)


def _is_url(text):
    return text.startswith(("http://", "https://"))


def _files(options, folder):
    """The files of metadata: the fetched one, or those on this machine that the path or pattern names."""
    metadata = options["metadata"]
    if _is_url(metadata):
        return [Path(folder) / Path(urlsplit(metadata).path).name]
    found = [metadata] if Path(metadata).is_file() else sorted(glob.glob(metadata))
    if not found:
        raise ValueError(
            f'metadata is "{metadata}", and there is no such file. Give the SQLite, text or Parquet file of YFCC100M, '
            "or its address."
        )
    return [Path(name) for name in found]


def _check_form(path):
    """The reader of a file, by its first bytes; refuses a file without the columns that are used."""
    with open(path, "rb") as file:
        start = file.read(16)
    if start == b"SQLite format 3\0":
        with _connected(path) as connection:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({TABLE})")]
        reader, form = _read_sqlite, f"a SQLite file whose table {TABLE} has"
    elif start.startswith(b"PAR1"):
        with open_parquet(path) as file:
            columns = file.schema_arrow.names
        reader, form = _read_parquet, "a Parquet file with"
    else:
        with _open_text(path) as file:
            fields = file.readline().rstrip(b"\r\n").split(b"\t")
        columns = TEXT_FIELDS.get(len(fields), [])
        reader, form = _read_text, f"text of {len(fields)} tab-separated fields a line (not 23 or 25) with"
    missing = [name for name in USED if name not in columns]
    if missing:
        raise ValueError(f'metadata "{path}" is {form} no column {", ".join(missing)}. Is it the metadata of YFCC100M?')
    return reader


@contextlib.contextmanager
def _connected(path):
    """An open SQLite file; what is found damaged while it is read is an error of the file."""
    # nobody writes to the file, so that it needs no lock and may lie where we may not write
    address = f"file:{quote(str(Path(path).resolve()))}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
        # a field that is no UTF-8 is shown as such
        connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
        try:
            yield connection
        except (sqlite3.Error, TypeError) as error:
            raise ValueError(f'metadata "{path}": {error}. Mend or fetch it again.') from error


def _read_sqlite(path):
    """Yield text of the rows with coordinates and the number of rows without, by ranges of row numbers."""
    numbered = f"FROM {TABLE} WHERE rowid > ? AND rowid <= ?"
    with _connected(path) as connection:
        last = connection.execute(f"SELECT max(rowid) FROM {TABLE}").fetchone()[0] or 0
        for first in range(0, last, CHUNK):
            some = (first, first + CHUNK)
            rows = connection.execute(
                f"SELECT {', '.join(USED)} {numbered} AND longitude <> '' AND latitude <> ''", some
            ).fetchall()
            count = connection.execute(f"SELECT count(*) {numbered}", some).fetchone()[0]
            yield pd.DataFrame(rows, columns=USED, dtype=object).fillna("").astype(str), count - len(rows)


def _read_parquet(path):
    with open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=CHUNK, columns=USED):
            yield _with_coordinates(batch)


@contextlib.contextmanager
def _open_text(path):
    """The text, unpacked; what is found damaged while it is read is an error of the file."""
    with open(path, "rb") as file:
        start = file.read(3)
    unpack = bz2.open if start == b"BZh" else gzip.open if start[:2] == b"\x1f\x8b" else open
    try:
        with unpack(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f'metadata "{path}": {error}. Mend or fetch it again.') from error


def _read_text(path):
    import pyarrow as pa
    from pyarrow import csv

    with _open_text(path) as file:
        names = TEXT_FIELDS[file.readline().count(b"\t") + 1]
        file.seek(0)
        try:
            reader = csv.open_csv(
                file,
                csv.ReadOptions(column_names=names, block_size=BLOCK),
                csv.ParseOptions(delimiter="\t", quote_char=False),
                csv.ConvertOptions(include_columns=USED, column_types=dict.fromkeys(USED, pa.string())),
            )
            for block in reader:
                for first in range(0, len(block), CHUNK):
                    yield _with_coordinates(block.slice(first, CHUNK))
        except pa.ArrowInvalid as error:
            raise ValueError(f'metadata "{path}": {error}. Mend or fetch it again.') from error


def _with_coordinates(batch):
    """Text of the rows of an Arrow batch that have coordinates, and the number of rows without."""
    import pyarrow as pa
    from pyarrow import compute

    texts = pa.table({name: compute.fill_null(batch.column(name).cast(pa.string()), "") for name in USED})
    absent = pa.array(["", "nan"])
    without = compute.or_(*(compute.is_in(texts[name], absent) for name in ("longitude", "latitude")))
    kept = texts.filter(compute.invert(without))
    return kept.to_pandas(), len(texts) - len(kept)


def _rows(texts, options):
    """The contract's columns for the text of some rows."""
    accuracy = pd.to_numeric(texts["accuracy"], errors="coerce")
    reason = np.full(len(texts), "", dtype=object)
    reason[accuracy < options["min_accuracy"]] = f"accuracy below {options['min_accuracy']}"
    reason[accuracy.isna()] = "no accuracy"
    reason[texts["marker"] == "1"] = "a video"
    return pd.DataFrame(
        {
            "id": texts["photoid"],
            "latitude": pd.to_numeric(texts["latitude"], errors="coerce"),
            "longitude": pd.to_numeric(texts["longitude"], errors="coerce"),
            "group": texts["uid"],
            "reason": reason,
            "licence": texts["licenseurl"].where(texts["licenseurl"] != "", texts["licensename"]),
            "author": [_decode(text) for text in texts["unickname"]],
            "urls": _addresses(texts, options),
            "caption:title": [_decode(text) for text in texts["title"]],
            # tags are parted before they are decoded: one of them may hold a comma of its own
            "caption:tags": [_decode(text.replace(",", "+")) for text in texts["usertags"]],
        }
    )


def _decode(text):
    return unquote_plus(text) if "%" in text else text.replace("+", " ")


def _addresses(texts, options):
    """For each row its addresses, best first: the S3 bucket as JPEG and under its own extension, then Flickr."""
    bucket = f"{options['images_base'].rstrip('/')}/data/images"
    flickr = options["flickr_base"].rstrip("/")
    size = f"_{options['flickr_size']}" if options["flickr_size"] else ""
    addresses = []
    columns = ("downloadurl", "ext", "serverid", "photoid", "secret")
    for url, extension, server, photo, secret in zip(*(texts[name] for name in columns), strict=True):
        key = short_hex(hashlib.md5(url.encode(), usedforsecurity=False).digest())
        endings = dict.fromkeys(filter(None, ["jpg", extension]))
        addresses.append(
            [f"{bucket}/{key[:3]}/{key[3:6]}/{key}.{ending}" for ending in endings]
            + [f"{flickr}/{server}/{photo}_{secret}{size}.jpg"]
        )
    return addresses

"""Source `urls`: images anywhere on the web, listed in a CSV or Parquet table of addresses and coordinates."""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from geoprobe.images import table
from geoprobe.images.addresses import is_remote, local_path

NETWORK = True


def check(options):
    """Refuse a table that is absent or lacks a column; one that must be fetched first is only asked for its name."""
    path = options["path"]
    if is_remote(path):
        if not urlsplit(path).path.lower().endswith((".csv", ".parquet")):
            raise ValueError(f'path is "{path}", which ends neither in .csv nor in .parquet; give the address of one.')
        return
    if not Path(path).is_file():
        raise ValueError(f'path is "{path}", and there is no such file. Give a CSV or Parquet table, or its address.')
    table.check_columns(path, "url", options.get("captions", []))


def fetch_metadata(options, folder, network):
    """Fetch the table, if `path` is an address; a table on disk is only recorded.

    Raises:
        ValueError: the table lacks a column.
    """
    path = local_path(options["path"], folder)
    if is_remote(options["path"]):
        from geoprobe.images.fetch import fetch_file

        fetched = fetch_file(options["path"], path, network, sha256=options.get("sha256", ""))
        table.check_columns(path, "url", options.get("captions", []))
        return [fetched]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [{"file": str(path), "url": "", "bytes": path.stat().st_size, "sha256": digest}]


def list_images(options, folder=None):
    """Yield the rows of the table, each with its address; one without has that for its reason."""
    for rows in table.list_rows(local_path(options["path"], folder), "url", options.get("captions", [])):
        rows["urls"] = [[url] if url else [] for url in rows.pop("url")]
        yield rows


def describe(options, folder=None):
    """Licence and attribution as the user states them."""
    return table.describe(options)

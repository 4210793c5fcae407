"""Source `table`: your own photos, listed in a CSV or Parquet table of paths and coordinates.

A table may have any length: it is read in chunks. Source `urls` shares this reading.
"""

import contextlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from geoprobe import csv_files
from geoprobe.images import files, sources

NETWORK = False
COORDINATES = ("latitude", "longitude")
OPTIONAL = ("id", "group", "country", "licence", "author")


def _is_parquet(path):
    return Path(path).suffix.lower() == ".parquet"


@contextlib.contextmanager
def open_parquet(path):
    """An open Parquet file.

    Raises:
        ValueError: it is damaged or none, which may be found out while it is read; names it.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f'"{path}" is not a Parquet file, though named as one, or it is damaged ({why}).') from error


def column_names(path):
    """Names of the columns of a CSV or Parquet table.

    Raises:
        ValueError: the file is not the Parquet or UTF-8 text that its name says.
    """
    if _is_parquet(path):
        with open_parquet(path) as file:
            return file.schema_arrow.names
    with csv_files.reading(path, strict=True) as rows:
        return next(filter(None, rows), [])


def _is_ended(path):
    """Whether a text file ends in a line break."""
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, 2) - 1))
        return file.read() in (b"\n", b"\r", b"")


def _fields(rows, header, path):
    """Rows with as many fields as there are columns."""
    width, ended, row = len(header), _is_ended(path), header
    for row in rows:
        if len(row) > width and any(row[width:]):
            raise ValueError(
                f"{path}: a row has {len(row)} fields under {width} columns: {','.join(row)[:200]}. "
                "Put a field that holds a comma between quotation marks."
            )
        yield row[:width] if len(row) >= width else row + [""] * (width - len(row))
    if len(row) < width and not ended:
        raise ValueError(
            f"{path}: the last line has {len(row)} fields under {width} columns, and no end. Was the file cut off? "
            "Put a whole copy of it in its place."
        )


def _csv_frames(path, columns):
    with csv_files.reading(path, strict=True) as reader:
        rows = filter(None, reader)  # an empty line is no row
        header = next(rows, [])
        places = [header.index(name) for name in columns]
        # the fields that nobody asked for are let go row by row
        rows = ([row[place] for place in places] for row in _fields(rows, header, path))
        while chunk := list(itertools.islice(rows, sources.CHUNK)):
            yield pd.DataFrame(chunk, columns=columns, dtype="str")


def _as_text(array, name, path):
    """An Arrow array as text, a gap as ""."""
    import pyarrow
    import pyarrow.compute

    if pyarrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pyarrow.types.is_floating(array.type):
        array = pyarrow.compute.if_else(pyarrow.compute.is_nan(array), None, array)
    try:
        return array.cast(pyarrow.string()).fill_null("").to_pandas().astype("str")
    except (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid) as error:
        raise ValueError(f'{path}: the column "{name}" holds {array.type}, not text or numbers.') from error


def _parquet_frames(path, columns):
    with open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=sources.CHUNK, columns=list(columns)):
            yield pd.DataFrame({name: _as_text(batch.column(name), name, path) for name in columns})


def read_text(path, columns):
    """Yield frames of at most CHUNK rows of some columns of a CSV or Parquet table, in its order.

    All is text, and a gap is "": what a table calls 01 or NA is a name, not a number or a gap.

    Raises:
        ValueError: the file cannot be read as what its name says, or a row has more fields than there are columns.
    """
    frames = _parquet_frames if _is_parquet(path) else _csv_frames
    for frame in frames(path, list(dict.fromkeys(columns))):
        if len(frame):
            yield frame


def to_degrees(texts):
    """Text as float64 degrees, NaN where it is no finite number."""
    numbers = pd.to_numeric(texts, errors="coerce").astype(np.float64)
    return numbers.where(np.isfinite(numbers))


def check_columns(path, where, captions=()):
    """Refuse a table that lacks a column.

    Args:
        path: CSV or Parquet table.
        where: the column that says where an image is: "path" or "url".
        captions: columns that hold captions.

    Raises:
        ValueError: a column is not there; names the missing ones and those there are.
    """
    columns = column_names(path)
    missing = [name for name in (where, *COORDINATES) if name not in columns]
    if missing:
        raise ValueError(
            f'path is "{path}", whose columns are {", ".join(columns)}: no column {" and no column ".join(missing)}. '
            f"Rename or add it: each image needs {where}, latitude and longitude (degrees)."
        )
    for name in captions:
        if name not in columns:
            raise ValueError(f'captions names the column "{name}", which "{path}" does not have.')


def list_rows(path, where, captions=()):
    """Yield the rows of a table as frames of a source (see :mod:`geoprobe.images.sources`).

    Args:
        path: CSV or Parquet table.
        where: the column that says where an image is, "path" or "url"; it is taken over.
        captions: columns that hold captions.
    """
    names = column_names(path)
    optional = [name for name in OPTIONAL if name in names]
    first = 1
    for table in read_text(path, [where, *COORDINATES, *optional, *captions]):
        place = table[where]
        # a row that has neither an id nor a place can only be named by its number
        numbers = pd.Series([f"row {number}" for number in range(first, first + len(table))], dtype="str")
        first += len(table)
        unnamed = place.where(place != "", numbers)
        ids = table["id"].where(table["id"] != "", unnamed) if "id" in table else unnamed
        rows = pd.DataFrame({"id": ids, **{name: to_degrees(table[name]) for name in COORDINATES}})
        # an image without a group is one of its own
        rows["group"] = table["group"].where(table["group"] != "", ids) if "group" in table else ids
        for name in ("country", "licence", "author"):
            if name in table:
                rows[name] = table[name]
        for name in captions:
            rows[f"caption:{name}"] = table[name]
        rows[where] = place
        rows["reason"] = np.where(place == "", f"no {where}", "")
        yield rows


def check(options):
    """Refuse a table that is absent or has no path, latitude or longitude column."""
    path = Path(options["path"])
    if not path.is_file():
        raise ValueError(f'path is "{path}", and there is no such file. Give a CSV or Parquet table.')
    check_columns(path, "path", options.get("captions", []))


def list_images(options, folder=None):
    """Yield the rows of the table; one without a path has that for its reason."""
    yield from list_rows(options["path"], "path", options.get("captions", []))


def load_images(rows, options):
    """Yield each file as it is on disk, or the reason why it cannot be read. Paths are relative to the table."""
    folder = Path(options["path"]).parent
    for name in rows["path"]:
        yield files.read_file(folder / name)


def describe(options, folder=None):
    """Licence and attribution as the user states them."""
    return {
        "licence": options.get("licence", "not stated"),
        "attribution": options.get("attribution", "not stated"),
        "source_version": str(options["path"]),
    }

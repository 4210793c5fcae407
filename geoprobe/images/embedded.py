"""Images that lie in a column of a Parquet file, as data sets of the Hugging Face hub have them.

A value is the encoded file itself or a struct of its `bytes` and `path`. An image is named "<column>/<row>", the rows
of the file being counted from 0.
"""

import pyarrow
import pyarrow.parquet

from geoprobe.images import sources
from geoprobe.runtime import replacing

MAGIC = b"PAR1"
BATCH = 32  # images at a time


def image_names(column, rows):
    """Names of the images of some rows."""
    return [f"{column}/{row}" for row in rows]


def _holds_images(kind):
    if pyarrow.types.is_struct(kind):
        kind = next((field.type for field in kind if field.name == "bytes"), pyarrow.null())
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def copy_columns(file, columns, image_column, path):
    """Write some columns of a Parquet file to another one; only those are read.

    Args:
        file: the file, opened for binary reading.
        columns: names of the columns to copy, none of them the images.
        image_column: the column of the images; it is only looked at.
        path: Parquet file to write.

    Raises:
        ValueError: a column is not there, or holds no images.
    """
    try:
        _copy(file, columns, image_column, path)
    except (pyarrow.ArrowException, OSError) as error:
        # Arrow's own words have no number and no class of their own; a server's or a disk's have
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        raise ValueError(f"damaged or no Parquet file ({error})") from error


def _copy(file, columns, image_column, path):
    with pyarrow.parquet.ParquetFile(file) as source:
        schema = source.schema_arrow
        missing = [name for name in (image_column, *columns) if name not in schema.names]
        if missing:
            raise ValueError(f"no column {' and no column '.join(missing)} among {', '.join(schema.names)}")
        if not _holds_images(schema.field(image_column).type):
            kind = schema.field(image_column).type
            raise ValueError(f'the column "{image_column}" holds {kind}; images are bytes, or a struct with bytes')
        written = pyarrow.schema([schema.field(name) for name in columns])
        with replacing(path) as temporary, pyarrow.parquet.ParquetWriter(temporary, written) as writer:
            for batch in source.iter_batches(batch_size=sources.CHUNK, columns=list(columns)):
                writer.write_batch(batch.select(list(columns)))


def read_embedded(path, wanted, max_bytes):
    """Read images of a Parquet file, in the order of its rows; only the row groups that hold them are read.

    Args:
        path: Parquet file.
        wanted: names of images, "<column>/<row>".
        max_bytes: of one image.

    Yields:
        (name, bytes, "", "") or (name, None, status, detail) for each name, where status is "too large", "member
        missing" or "archive broken".
    """
    left, columns = set(wanted), {}
    for name in left:
        column, _, row = name.rpartition("/")
        if row.isascii() and row.isdigit():
            columns.setdefault(column, {})[int(row)] = name
    detail = "no such row or column"
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20) as file:
            for column, names in columns.items():
                if column in file.schema_arrow.names and _holds_images(file.schema_arrow.field(column).type):
                    for name, data in _rows_of(file, column, names):
                        left.discard(name)
                        yield name, *_judged(data, max_bytes)
    except (pyarrow.ArrowException, OSError) as error:
        for name in sorted(left):
            yield name, None, "archive broken", f"{type(error).__name__}: {error}"
        return
    for name in sorted(left):
        yield name, None, "member missing", detail


def _judged(data, max_bytes):
    if data is None:
        return None, "member missing", "the row holds no image"
    if len(data) > max_bytes:
        return None, "too large", f"{len(data)} bytes"
    return data, "", ""


def _rows_of(file, column, names):
    """Yield (name, bytes or None) of the named rows of a column."""
    first = 0
    for group in range(file.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        if any(row in names for row in range(first, last)):
            row = first
            for batch in file.iter_batches(batch_size=BATCH, row_groups=[group], columns=[column]):
                values = batch.column(0)
                for place in range(len(values)):
                    if row in names:
                        value = values[place].as_py()
                        yield names[row], value["bytes"] if isinstance(value, dict) else value
                    row += 1
        first = last

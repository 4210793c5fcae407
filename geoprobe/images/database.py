"""DuckDB as the images stage uses it: a fixed memory, files beside the output, Parquet written in one step."""

import contextlib

import duckdb

from geoprobe.runtime import provenance, replacing

MEMORY, THREADS = "512MB", 2  # each thread has buffers of its own
# what it has no code for is an error: it would fetch that code from a server of its makers' and run it
ALONE = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}


def quote(text):
    """A text as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


@contextlib.contextmanager
def open_database(scratch):
    """A database in memory that spills into a folder when it needs more than MEMORY."""
    with duckdb.connect(config=ALONE) as base:
        base.execute(f"SET threads = {THREADS}")
        base.execute(f"SET memory_limit = '{MEMORY}'")
        base.execute(f"SET temp_directory = {quote(scratch)}")
        yield base


def write_query(base, query, path):
    """Write the rows of a query as Parquet in one step, with provenance in the file's metadata."""
    with replacing(path) as temporary:
        metadata = ", ".join(f"{key}: {quote(value)}" for key, value in provenance().items())
        base.execute(f"COPY ({query}) TO {quote(temporary)} (FORMAT parquet, KV_METADATA {{{metadata}}})")

"""Which member of which archive holds the image of a row, by a pattern of the members' paths."""

import re
import string
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

ROW = ("id", "path")  # what a pattern may take from a row


def check_pattern(option, pattern, columns, others=()):
    """Refuse a pattern that does not lead from a path to one row.

    Args:
        option: the option's name, for the message.
        pattern: text with {id} or {path} once.
        columns: columns that the rows have.
        others: further placeholders that it may hold.

    Raises:
        ValueError: it holds something else, or a column that the rows do not have.
    """
    try:
        named = [name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None]
    except ValueError as error:
        raise ValueError(f'{option} is "{pattern}", which cannot be read: {error}.') from error
    own = [name for name in named if name in ROW]
    if len(own) != 1 or set(named) - {*ROW, *others}:
        allowed = ", ".join(f"{{{name}}}" for name in others)
        raise ValueError(
            f'{option} is "{pattern}"; it must hold {{id}} or {{path}} once, and nothing else in braces'
            f"{f' but {allowed}' if allowed else ''}."
        )
    if own[0] not in columns:
        raise ValueError(f'{option} is "{pattern}", and columns does not say which column is the {own[0]}.')


def row_name(pattern):
    """Whether the pattern takes "id" or "path" of a row; "id" without a pattern."""
    return "path" if "{path}" in (pattern or "") else "id"


def member_key(pattern, archive):
    """How to tell the row from a member's path.

    Args:
        pattern: path of a member with {id} or {path} once and {archive_stem} (the archive's name without endings), or
            "" where the member's name without its ending is the id.
        archive: path of the archive.

    Returns:
        Function of a member's path: the id or path, or None where the pattern does not fit.
    """
    if not pattern:
        return lambda member: PurePosixPath(member).stem
    stem = PurePosixPath(archive).name.split(".")[0]
    expression = ""
    for literal, name, _, _ in string.Formatter().parse(pattern):
        expression += re.escape(literal)
        if name is not None:
            expression += re.escape(stem) if name == "archive_stem" else "(.+)"
    fits = re.compile(expression, re.DOTALL).fullmatch

    def key(member):
        match = fits(member)
        return match.group(1) if match else None

    return key


class MemberIndex:
    """The members of any number of archives in a database, found by the key of a row.

    Args:
        base: an open database (see :func:`geoprobe.images.database.open_database`).
        archives: pairs of an archive's path and of the Parquet table of its members (column member).
        pattern: see :func:`member_key`.
    """

    def __init__(self, base, archives, pattern):
        self.base = base
        base.execute("CREATE TABLE members (key VARCHAR, archive INTEGER, number INTEGER, member VARCHAR)")
        base.execute("CREATE TABLE named (key VARCHAR)")
        for archive, (path, table) in enumerate(archives):
            found = pd.read_parquet(Path(table), columns=["member"])
            found.insert(0, "key", [*map(member_key(pattern, path), found["member"])])
            found.insert(1, "archive", archive)
            found.insert(2, "number", np.arange(len(found)))
            self._insert("members", found.dropna())

    def _insert(self, table, frame):
        self.base.register("added", frame)
        self.base.execute(f"INSERT INTO {table} SELECT {', '.join(frame.columns)} FROM added")
        self.base.unregister("added")

    def find(self, keys):
        """The number of the archive (-1 for none) and the member ("") for each key; of several, the first."""
        self.base.register("wanted", pd.DataFrame({"key": keys, "position": np.arange(len(keys))}))
        found = self.base.execute(
            """
            SELECT position, any_value(key) AS key, min(archive) AS archive,
                arg_min(member, (archive, number)) AS member
            FROM wanted JOIN members USING (key) GROUP BY position
            """
        ).df()
        self.base.unregister("wanted")
        self._insert("named", found[["key"]].drop_duplicates())
        archives, members = np.full(len(keys), -1), np.full(len(keys), "", dtype=object)
        archives[found["position"]], members[found["position"]] = found["archive"], found["member"]
        return archives, members

    def unnamed(self):
        """Number of images that no key has named."""
        return self.base.execute("SELECT count(*) FROM members ANTI JOIN named USING (key)").fetchone()[0]

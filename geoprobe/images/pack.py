"""The images of one shard as they arrive: their bytes end to end in one file, and a journal of every outcome.

    images.pack     the encoded images one after another, nothing else
    journal.jsonl   a line of JSON an outcome: the columns of the status table, where the bytes begin, and two keys
    lock            held by the process that writes

An image's bytes are written before its line, and both files only ever grow. So whenever a process is killed, what is
whole is a beginning of the journal and the bytes it names; opening drops the rest. Only after a crash of the machine
itself may the journal be ahead of the bytes, by at most the outcomes since both were last forced to disk: that many
lines are compared with their bytes by SHA-256.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from pathlib import Path

import pandas as pd

from geoprobe.runtime import replacing

SYNC_EVERY = 256  # outcomes between two times that the files are forced to disk, and lines compared on opening
TEXTS = ("id", "status", "detail", "url", "sha256", "phash")
NUMBERS = ("http_status", "length", "width", "height")
COLUMNS = ("id", "status", "detail", "retryable", "url", "http_status", "length", "sha256", "width", "height", "phash")
OK = "ok"


def _pack(folder):
    return Path(folder) / "images.pack"


def _journal(folder):
    return Path(folder) / "journal.jsonl"


def _again(folder):
    return f"Remove the folder {folder}, and run again with --forcerun download_images."


def _read_lines(folder):
    """Entries of the journal's whole lines, and where each line ends.

    Raises:
        ValueError: a line before the last SYNC_EVERY is no entry, which no crash explains.
    """
    path = _journal(folder)
    content = path.read_bytes() if path.is_file() else b""
    entries, ends, place = [], [], 0
    lines = content.split(b"\n")[:-1]
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
            entry["id"], entry["status"], entry["offset"]
        except (ValueError, TypeError, KeyError):
            if number < len(lines) - SYNC_EVERY:
                raise ValueError(f"{path}, line {number + 1} is damaged. {_again(folder)}") from None
            break
        place += len(line) + 1
        entries.append(entry)
        ends.append(place)
    return entries, ends


def _whole(folder, entries):
    """How many entries, from the first, have their bytes in the pack."""
    path = _pack(folder)
    if not path.is_file():
        return next((number for number, entry in enumerate(entries) if entry["status"] == OK), len(entries))
    size = path.stat().st_size
    with open(path, "rb") as file:
        for number, entry in enumerate(entries):
            if entry["status"] != OK:
                continue
            if entry["offset"] + entry["length"] > size:
                return number
            if number >= len(entries) - SYNC_EVERY:
                file.seek(entry["offset"])
                if hashlib.sha256(file.read(entry["length"])).hexdigest() != entry["sha256"]:
                    return number
    return len(entries)


class Pack:
    """An open pack; :func:`open_pack` makes it. Any thread may put.

    Attributes:
        outcomes: id to its latest entry.
    """

    def __init__(self, folder, file, journal):
        self.folder, self._file, self._lines = folder, file, journal
        self._lock, self._unsynced = threading.Lock(), 0
        entries, ends = _read_lines(folder)
        kept = _whole(folder, entries)
        self.outcomes = {entry["id"]: entry for entry in entries[:kept]}
        stored = [entry for entry in entries[:kept] if entry["status"] == OK]
        self._cut(stored[-1]["offset"] + stored[-1]["length"] if stored else 0, ends[kept - 1] if kept else 0)

    def _cut(self, size, lines_size):
        """Drop what is beyond the last whole outcome."""
        os.ftruncate(self._lines, lines_size)
        os.ftruncate(self._file, size)
        self._size, self._lines_size = size, lines_size

    def put(self, entry, data=None):
        """Record an outcome, and the bytes of an image. All of it is written, or an error raised and none of it.

        Args:
            entry: a dict of COLUMNS without length, and whatever else the writer wants to find again.
            data: the encoded image if the status is "ok".

        Raises:
            OSError: the disk is full or fails.
        """
        entry = {**entry, "offset": None, "length": None}
        with self._lock:
            try:
                if entry["status"] == OK:
                    entry |= {"offset": self._size, "length": len(data)}
                    _write(self._file, data)
                line = json.dumps(entry).encode() + b"\n"
                _write(self._lines, line)
            except BaseException:
                self._cut(self._size, self._lines_size)
                raise
            self._size += entry["length"] or 0
            self._lines_size += len(line)
            self.outcomes[entry["id"]] = entry
            self._unsynced += 1
            if self._unsynced == SYNC_EVERY:
                self._sync()

    def _sync(self):
        # the bytes before the lines that name them
        os.fsync(self._file)
        os.fsync(self._lines)
        self._unsynced = 0


def _write(file, data):
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


@contextlib.contextmanager
def open_pack(folder):
    """Open the pack in a folder, made if absent, to add to it; what a killed process left unfinished is dropped.

    Yields:
        A Pack.

    Raises:
        RuntimeError: another process has it open.
        ValueError: the journal is damaged where no crash explains it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as files:

        def opened(path):
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            files.callback(os.close, number)
            return number

        try:
            fcntl.flock(opened(folder / "lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"{folder} is being written by another process; wait for it to end, or end it, and run this again."
            ) from None
        pack = Pack(folder, opened(_pack(folder)), opened(_journal(folder)))
        try:
            yield pack
        finally:
            pack._sync()


def read_outcomes(folder):
    """Latest entry of each id in the journal of a pack, as a dict."""
    return {entry["id"]: entry for entry in _read_lines(folder)[0]}


def iter_images(folder, ids):
    """Yield the encoded images of ids, in their order.

    Raises:
        ValueError: an id has no image here, or its bytes are not those that were stored.
    """
    outcomes = read_outcomes(folder)
    with open(_pack(folder), "rb") as file:
        for name in ids:
            entry = outcomes.get(name, {"status": "never downloaded"})
            if entry["status"] != OK:
                raise ValueError(f"{folder} has no image {name} ({entry['status']}). {_again(folder)}")
            file.seek(entry["offset"])
            data = file.read(entry["length"])
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                raise ValueError(f"{folder}: the bytes of image {name} have changed on disk. {_again(folder)}")
            yield data


def status_table(outcomes, ids):
    """Outcomes as a frame in the order of ids: COLUMNS, where numbers may be missing.

    Raises:
        ValueError: an id has no outcome.
    """
    missing = [name for name in ids if name not in outcomes]
    if missing:
        raise ValueError(f"{len(missing)} of {len(ids)} images have no outcome yet, such as {missing[0]}.")
    frame = pd.DataFrame([outcomes[name] for name in ids], columns=list(COLUMNS))
    types = dict.fromkeys(TEXTS, "str") | dict.fromkeys(NUMBERS, "Int64") | {"retryable": "bool"}
    return frame.astype(types)


def write_status(folder, ids, path):
    """Write the status table (Parquet) of a pack in the order of ids. Equal outcomes give equal bytes.

    It does not say where an image lies in the pack, which hangs on the order in which they arrived.

    Returns:
        The table, see :func:`status_table`.

    Raises:
        ValueError: an id has no outcome.
    """
    frame = status_table(read_outcomes(folder), list(ids))
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)
    return frame

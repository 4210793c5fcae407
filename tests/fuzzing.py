"""What the fuzz tests share: valid files that are damaged in a few places, odd values, and what no parser may do."""

import base64
import contextlib
import faulthandler
import re
import warnings
import zlib
from pathlib import Path

from hypothesis import strategies as st

from geoprobe.images.formats import QUIET

HANG_S = 120  # an example takes milliseconds; one that takes this long does not end
MEMORY = 600 * 2**20  # bytes by which the process may grow in one example
PROCESS = Path("/proc/self")
# what a field that counts, measures or points is set to: nothing, one, and the ends of signed and unsigned numbers
EDGES = [
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


class File(bytes):
    """Bytes that are printed in a form short enough to be kept as an example."""

    def __repr__(self):
        return f"unpacked({base64.b85encode(zlib.compress(self, 9)).decode()!r})"


def unpacked(text):
    """The bytes that a failing example was printed as."""
    return File(zlib.decompress(base64.b85decode(text)))


def _cut(data, at, to, value):
    return data[: min(at, to)]


def _drop(data, at, to, value):
    return data[: min(at, to)] + data[max(at, to) :]


def _flip(data, at, to, value):
    return data[:at] + bytes([data[at] ^ (1 << to % 8)]) + data[at + 1 :] if at < len(data) else data


def _repeat(data, at, to, value):
    return data[:at] + data[min(at, to) : max(at, to)] + data[at:]


def _move(data, at, to, value):
    part = data[to : to + 16]
    return data[:at] + part + data[at + len(part) :]


def _number(data, at, to, value):
    size, order = (1, 2, 4, 8)[to % 4], ("little", "big")[value % 2]
    number = EDGES[value % len(EDGES)] % (1 << 8 * size)
    return data[:at] + number.to_bytes(size, order) + data[at + size :]


def _insert(data, at, to, value):
    return data[:at] + bytes([value % 256]) * (1 + to % 64) + data[at:]


EDITS = (_number, _flip, _cut, _drop, _repeat, _move, _insert)


@st.composite
def damaged(draw, seeds, words=(b"",)):
    """Bytes: one of some valid files after up to five edits, two of them joined, or anything at all.

    Args:
        seeds: list of bytes, the valid files.
        words: what is put in now and then because the format gives it a meaning.
    """
    if draw(st.integers(0, 15)) == 15:
        return File(draw(st.binary(max_size=200)))
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 5))):
        # headers lie at the beginning, directories at the end
        at, to = (
            draw(st.one_of(st.integers(0, len(data)), st.integers(0, 128), st.integers(-128, 0))) % (len(data) + 1)
            for _ in range(2)
        )
        kind = draw(st.integers(0, len(EDITS) + 1))
        value = draw(st.integers(0, 255))
        if kind < len(EDITS):
            data = EDITS[kind](data, at, to, value)
        elif kind == len(EDITS):
            data = data[:at] + draw(st.sampled_from(seeds))[to:]
        else:
            word = draw(st.sampled_from(words))
            data = data[:at] + word + data[at + (value % 2) * len(word) :]
    return File(data)


# what JSON and YAML can hold, with the numbers and texts that are read as something else elsewhere
TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "0", "-1", "nan", "inf", "1e999", "null", "true", "../x", "a/b", "{id}", "{", "%", "\0", "<b>", "']"]
    ),
    st.text(max_size=12),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from([2**63, -(2**63), 10**30]),
    st.floats(), TEXTS,
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)


@st.composite
def altered(draw, value, odd=VALUES):
    """Plain values (dicts, lists, texts, numbers) in which one to three parts are left out or are something else."""
    for _ in range(draw(st.integers(1, 3))):
        value = _alter(draw, value, odd)
    return value


def _alter(draw, value, odd):
    choice = draw(st.integers(0, 9))
    if isinstance(value, dict) and value and choice:
        key = draw(st.sampled_from(sorted(value, key=str)))
        rest = {name: part for name, part in value.items() if name != key}
        if choice == 1:
            return rest
        if choice == 2:
            return value | {draw(TEXTS): draw(odd)}
        return rest | {key: _alter(draw, value[key], odd)}
    if isinstance(value, list) and value and choice:
        place = draw(st.integers(0, len(value) - 1))
        if choice == 1:
            return value[:place] + value[place + 1 :]
        return [*value[:place], _alter(draw, value[place], odd), *value[place + 1 :]]
    return draw(odd)


def _all_files(folder):
    return {path: path.stat().st_size for path in Path(folder).rglob("*")}


def _memory(name):
    """VmRSS or VmHWM of this process, what it holds or the most that it held, in bytes."""
    return 1024 * int(re.search(rf"^{name}:\s*(\d+) kB$", (PROCESS / "status").read_text(), re.MULTILINE)[1])


@contextlib.contextmanager
def guarded(*errors, naming="", folder=None):
    """Let nothing happen inside but the documented errors.

    Args:
        errors: types that may be raised; their message holds `naming`.
        naming: a text or path, or a list of them of which one must be there.
        folder: in which nothing may be written, made or removed; None where something may.

    Yields:
        A list that holds the error afterwards, if there was one.
    """
    caught, before = [], folder and _all_files(folder)
    names = naming if isinstance(naming, list) else [naming]
    # the most that is held begins anew: of a process that once held much an example's own would not be seen
    (PROCESS / "clear_refs").write_text("5")
    memory = _memory("VmRSS")
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        with warnings.catch_warnings(record=True) as warned:
            # recorded, for an error in place of a warning might be caught by what is tested
            warnings.simplefilter("always")
            warnings.filterwarnings(**QUIET)
            try:
                yield caught
            except errors as error:
                caught.append(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
    unnamed = [error for error in caught if not any(str(name) in str(error) for name in names)]
    assert not unnamed, f"does not name {naming}: {unnamed!r}"
    assert not warned, [f"{warning.filename}: {warning.message}" for warning in warned]
    grown = _memory("VmHWM") - memory
    assert grown < MEMORY, f"grew by {grown >> 20} MB"
    assert not folder or _all_files(folder) == before

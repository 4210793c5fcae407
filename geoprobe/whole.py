"""Whether a file that a job is to read is whole, by what its format keeps at its end or says of its length.

None of this reads the file through: what was cut off is found, a byte that changed in the middle is not.
"""

import json
from pathlib import Path


def _h5_damage(path):
    import h5py

    try:
        h5py.File(path, "r").close()
    except OSError as error:
        if error.errno:  # the system's own, such as a missing permission, and not a word on the content
            raise
        return str(error)
    return ""


def _parquet_damage(path):
    import pyarrow.parquet

    with open(path, "rb") as file:
        if file.read(4) != b"PAR1":
            return "it does not begin like a Parquet file"
    try:
        pyarrow.parquet.read_metadata(path)
    except pyarrow.ArrowException as error:
        return str(error)
    return ""


def _json_damage(path):
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        return str(error)
    return ""


def _safetensors_damage(path):
    import safetensors

    try:
        # reads the header alone, and compares the size with what it says
        with safetensors.safe_open(path, framework="np"):
            return ""
    except safetensors.SafetensorError as error:
        return str(error)


def _table_damage(path):
    """Of tables that this project writes: their last line has an end."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return "" if file.read() == b"\n" else "its last line has no end"


DAMAGE = {
    ".h5": _h5_damage,
    ".hdf5": _h5_damage,
    ".parquet": _parquet_damage,
    ".json": _json_damage,
    ".safetensors": _safetensors_damage,
}
OWN_DAMAGE = {".csv": _table_damage}


def damage_of(path, own=True):
    """What is wrong with a file, or "" if it is whole, is no file, or is of no known format.

    Args:
        path: file.
        own: whether this project wrote it; a table of somebody else's may end without a line break.
    """
    path = Path(path)
    look = (DAMAGE | OWN_DAMAGE if own else DAMAGE).get(path.suffix.lower())
    return " ".join(look(path).split()) if look is not None and path.is_file() else ""


def check_whole(path, own=True):
    """Refuse a file that is damaged or was cut off; see :func:`damage_of`.

    Raises:
        ValueError: names the file, what is wrong with it, and what to do.
    """
    if damage := damage_of(path, own):
        mend = "Delete it and run again: it is made anew." if own else "Put a whole copy of it in its place."
        raise ValueError(f"{path} is damaged or was cut off ({damage}). {mend}")

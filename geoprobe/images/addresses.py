"""Files that the configuration gives by a path on this machine or by an address of the web."""

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit


def is_remote(place):
    """Whether a place is an address, and no path."""
    return str(place).lower().startswith(("http://", "https://"))


def file_name(address):
    """Name of the file at an address, without a query, which may hold a token."""
    return PurePosixPath(unquote(urlsplit(address).path)).name


def local_path(place, folder):
    """Where a file lies: in the folder that it was fetched into, or where the user has it."""
    return Path(folder) / file_name(place) if is_remote(place) else Path(place)

"""What the stages of a data set's images read: which of its options, and which files of the user's own.

An option that a stage does not read is no parameter of its jobs, so that a change of it leaves them as they are. A file
of the user's own is their input, or its look is their parameter, so that a change of it makes them again.
"""

import glob
import hashlib
import os
from pathlib import Path

from geoprobe.images import files, table
from geoprobe.images.folder import walk

STORED = {"caption_sets", "near_duplicate_bits", "licence", "attribution"}  # what only build_images reads
UNREAD = {
    "plan_images": STORED,
    # what the list is made of once it is there
    "fetch_metadata": STORED | {"balance", "shards"},
}
UNFETCHED = {
    "hub": {"member", "unarchived"},
    "im2gps": {"format", "swapped", "captions"},
    "landmarks": {"max_per_landmark"},
    "yfcc100m": {"min_accuracy", "images_base", "flickr_base", "flickr_size"},
}


def stage_options(stage, options):
    """Options of a data set without those that a stage, named as its rule, does not read."""
    unread = UNREAD[stage]
    if stage == "fetch_metadata":
        unread = unread | UNFETCHED.get(options["source"], set())
    return {name: value for name, value in options.items() if name not in unread}


def _named(options):
    """What is there of the paths, or of the patterns of paths, that the options name."""
    for key in ("path", "metadata", "images"):
        name = options.get(key)
        if isinstance(name, str):
            yield from [name] if Path(name).exists() else sorted(glob.glob(name))


def own_files(options):
    """The user's own files that a data set is listed from, a table, a list or an archive, as text."""
    return [name for name in _named(options) if Path(name).is_file()]


def polygon_files(options):
    """The user's own files of administrative polygons, of one entry of `boundaries`, as text."""
    names = dict.fromkeys(layer["file"] for layer in options["layers"])
    return [name for name in names if Path(name).is_file()]


def folder_look(options):
    """Digest of the names, sizes and times of the images below the folders that the options name; "" without any."""
    folders = [Path(name) for name in _named(options) if Path(name).is_dir()]
    return _look(path for folder in folders for path in walk(folder) if files.is_image_name(path.name))


def table_look(options):
    """Digest of the names, sizes and times of the photographs of a table on this machine; "" for other sources."""
    if options["source"] != "table" or not Path(options["path"]).is_file():
        return ""
    folder = Path(options["path"]).parent
    return _look(folder / name for frame in table.read_text(options["path"], ["path"]) for name in frame["path"])


def _look(paths):
    """Digest of what can be told of files without reading them, also that one is not there; "" without any file."""
    told = []
    for path in paths:
        try:
            state = os.stat(path)
            told.append(f"{path}\0{state.st_size} {state.st_mtime_ns}")
        except (OSError, ValueError):
            told.append(f"{path}\0not there")
    return hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:16] if told else ""

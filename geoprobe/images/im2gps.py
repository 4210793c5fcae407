"""Source `im2gps`: the test sets im2gps3k and yfcc4k of Vo, Jacobs and Hays 2017 (arXiv 1705.04838), and lists alike.

Two forms of list are read. `im2gps3k` is a CSV table with the headings IMG_ID, LAT, LON and, where it has it, AUTHOR,
such as those of im2gps3k, yfcc26k and MP-16. `yfcc4k` is the tab-separated text of YFCC100M without headings: field 1
is the photo's id, 3 its author, 8 to 10 title, description and tags, 12 longitude, 13 latitude, 17 the licence. List
and images may lie on this machine or have an address. Lists have been published with latitude and longitude under each
other's headings: that is found out and put right (see :mod:`geoprobe.images.swap`).
"""

import hashlib
import itertools
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_plus, urlsplit

import numpy as np
import pandas as pd

from geoprobe.images import files, sources, table
from geoprobe.images.addresses import is_remote, local_path
from geoprobe.images.folder import walk
from geoprobe.images.swap import detect_swap

NETWORK = True
FORMATS = ("im2gps3k", "yfcc4k")
CAPTIONS = {"title": 8, "description": 9, "tags": 10}
FIELDS = {"name": 1, "author": 3, "longitude": 12, "latitude": 13}
LICENCE_FIELD = 17
SWAP_ROWS = 2000  # of a chunk, looked at to tell latitude from longitude
NO_MEMBER = "member missing"


def check(options):
    """Refuse an unknown format, captions that it does not have, and files that are not there or no archive."""
    form = options["format"]
    if form not in FORMATS:
        raise ValueError(f'format is "{form}"; allowed: {", ".join(FORMATS)}.')
    allowed = CAPTIONS if form == "yfcc4k" else ()
    for name in options.get("captions", []):
        if name not in allowed:
            raise ValueError(
                f'captions names "{name}"; a list of the format {form} has {", ".join(allowed) or "none"}.'
            )
    metadata, images = options["metadata"], options["images"]
    if not is_remote(metadata) and not Path(metadata).is_file():
        raise ValueError(
            f'metadata is "{metadata}", and there is no such file. Give the list of images or its address.'
        )
    archive = urlsplit(images).path if is_remote(images) else images
    if not is_remote(images) and not Path(images).exists():
        raise ValueError(f'images is "{images}", and there is no such file or folder. Give an archive or a folder.')
    if not archive.lower().endswith((files.ZIP_SUFFIX, *files.TAR_SUFFIXES)) and not Path(images).is_dir():
        endings = ", ".join((files.ZIP_SUFFIX, *files.TAR_SUFFIXES))
        raise ValueError(f'images is "{images}", which is no folder and does not end like an archive ({endings}).')


def fetch_metadata(options, folder, network):
    """Fetch the list and the archive of images, where they have addresses; files on this machine are only recorded.

    What the archive holds is only known once it is here, and it is one of a test set, so it is fetched with the list.
    """
    from geoprobe.images.fetch import fetch_file

    fetched = []
    for name in ("metadata", "images"):
        path, sha256 = local_path(options[name], folder), options.get(f"{name}_sha256", "")
        if is_remote(options[name]):
            fetched.append(fetch_file(options[name], path, network, sha256=sha256))
        elif path.is_file():
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 and digest != sha256.lower():
                raise ValueError(f'{name} is "{path}", whose sha256 is {digest} and not {sha256}. Fetch it again.')
            fetched.append({"file": str(path), "url": "", "bytes": path.stat().st_size, "sha256": digest})
    return fetched


def _csv_list(path):
    """Frames of text: name, author, latitude, longitude, as the headings of the table say."""
    names = table.column_names(path)
    missing = [name for name in ("IMG_ID", "LAT", "LON") if name not in names]
    if missing:
        raise ValueError(
            f"{path}: no column {' and no column '.join(missing)} among {', '.join(names)}. "
            "A list of the format im2gps3k has IMG_ID, LAT and LON."
        )
    columns = {"IMG_ID": "name", "LAT": "latitude", "LON": "longitude"}
    if "AUTHOR" in names:
        columns["AUTHOR"] = "author"
    for frame in table.read_text(path, list(columns)):
        yield frame.rename(columns=columns)


def _text(line, number, path):
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {number}: not UTF-8 text. Is it the info.txt of yfcc4k?") from error


def _yfcc_list(path):
    """Frames of text: name, author, latitude, longitude, licence, title, description, tags."""
    places = {**FIELDS, **CAPTIONS}
    with open(path, "rb") as file:
        lines = ((number, _text(line, number, path)) for number, line in enumerate(file, 1))
        numbered = ((number, text.split("\t")) for number, text in lines if text.strip())
        while chunk := list(itertools.islice(numbered, sources.CHUNK)):
            for number, fields in chunk:
                if len(fields) <= max(places.values()):
                    raise ValueError(
                        f"{path}, line {number}: {len(fields)} tab-separated fields; a list of the format yfcc4k "
                        f"has {max(places.values()) + 1} or more. Is it the info.txt of yfcc4k?"
                    )
            frame = pd.DataFrame({name: [fields[k] for _, fields in chunk] for name, k in places.items()}, dtype="str")
            frame["licence"] = [fields[LICENCE_FIELD] if len(fields) > LICENCE_FIELD else "" for _, fields in chunk]
            # tags are parted before they are decoded: one of them may hold a comma of its own
            frame["tags"] = frame["tags"].str.replace(",", "+", regex=False)
            for name in CAPTIONS:
                frame[name] = [unquote_plus(text) for text in frame[name]]  # written as in a URL
            yield frame


def _frames(options, folder):
    read = _csv_list if options["format"] == "im2gps3k" else _yfcc_list
    for frame in read(local_path(options["metadata"], folder)):
        for name in table.COORDINATES:
            frame[name] = table.to_degrees(frame[name])
        yield frame


def is_swapped(options, folder=None):
    """Whether the list has latitude and longitude under each other's headings, by `swapped` or by looking at it.

    Raises:
        ValueError: it cannot be told (see :func:`geoprobe.images.swap.detect_swap`).
    """
    if options.get("swapped", "auto") != "auto":
        return bool(options["swapped"])
    some = [
        frame.iloc[:: max(1, len(frame) // SWAP_ROWS)][["latitude", "longitude"]].to_numpy()
        for frame in _frames(options, folder)
    ]
    positions = np.concatenate([np.empty((0, 2)), *some])
    return detect_swap(positions[:, 0], positions[:, 1], origin=str(local_path(options["metadata"], folder)))


def _members(images):
    """Path of each image in an archive or folder, by the stem of its name; of two images of a name, the first."""
    if images.is_dir():
        names = [path.relative_to(images).as_posix() for path in walk(images) if files.is_image_name(path.name)]
    else:
        with open(images, "rb") as file:
            names = files.archive_members(file, images)
    return {PurePosixPath(name).stem: name for name in reversed(names)}


def list_images(options, folder=None):
    """Yield the rows of the list, each with the archive or folder that its image is in and its path there.

    Args:
        options: `format`, one of FORMATS; `metadata`, the list, and `images`, an archive or a folder, as paths or
            addresses; `swapped`, "auto", True or False; `captions`, of CAPTIONS, for yfcc4k.
        folder: where fetch_metadata put what has an address.

    Raises:
        ValueError: the list is of another format, or it cannot be told whether its coordinates are exchanged.
    """
    place = local_path(options["images"], folder)
    swapped, members = is_swapped(options, folder), _members(place)
    if swapped:
        print(f"{options['metadata']}: latitude and longitude are in each other's columns; they are exchanged")
    named = set()
    for frame in _frames(options, folder):
        stems = [PurePosixPath(name).stem for name in frame["name"]]
        found = [members.get(stem, "") for stem in stems]
        named.update(stem for stem in stems if stem in members)
        first, second = table.COORDINATES[::-1] if swapped else table.COORDINATES
        rows = pd.DataFrame({"id": frame["name"], "latitude": frame[first], "longitude": frame[second]})
        rows["group"] = frame.get("author", "")
        for name in ("author", "licence"):
            if name in frame:
                rows[name] = frame[name]
        for name in options.get("captions", []):
            rows[f"caption:{name}"] = frame[name]
        rows["archive"] = [str(place) if member else "" for member in found]
        rows["member"] = found
        rows["archive_sha256"] = ""
        rows["reason"] = np.where(rows["member"] == "", NO_MEMBER, "")
        yield rows
    print(f"{place}: {len(members) - len(named)} of {len(members)} images are not in the list")


def describe(options, folder=None):
    """Licence and attribution as stated; whether the coordinates were exchanged, where the list is at hand."""
    described = {
        "licence": options.get("licence", "Creative Commons, image by image"),
        "attribution": options.get(
            "attribution", "Flickr, photo by photo; Vo, Jacobs and Hays 2017 (arXiv 1705.04838)"
        ),
        "source_version": f"{options['format']}: {options['metadata']}",
    }
    if folder is not None or not is_remote(options["metadata"]):
        described["latitude_longitude_exchanged"] = is_swapped(options, folder)
    return described

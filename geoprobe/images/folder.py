"""Source `folder`: photographs below a folder, at the positions that their EXIF data state.

Tags and their meaning: EXIF 2.32 (CIPA DC-008-2019), section 4.6.6, GPS attribute information.
"""

import datetime
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import ExifTags, Image
from tqdm import tqdm

from geoprobe.images import files, sources
from geoprobe.images.formats import register_plugins

NETWORK = False
GROUPS = ("folder", "day", "none")
COORDINATES = (
    (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "N", "S"),
    (ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "E", "W"),
)
NO_GPS = "no GPS in its EXIF"
NO_HEMISPHERE = "EXIF GPS without hemisphere"
NO_DENOMINATOR = "EXIF GPS with a zero denominator"
NO_DEGREES = "EXIF GPS that is not degrees, minutes and seconds"


def _degrees(value):
    """Degrees of one or more rationals (degrees, minutes, seconds; each may have decimals) and why there are none."""
    parts = value if isinstance(value, tuple) else (value,)
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        return np.nan, NO_DEGREES
    if not np.isfinite(numbers).all():  # Pillow's value of a rational with a zero denominator
        return np.nan, NO_DENOMINATOR
    # the sign is in the reference; a rounded second may be 60
    if not 1 <= len(numbers) <= 3 or min(numbers) < 0 or max([0, *numbers[1:]]) > 60:
        return np.nan, NO_DEGREES
    return sum(number / 60**power for power, number in enumerate(numbers)), ""


def gps_position(gps):
    """Position that a GPS directory of EXIF states.

    Args:
        gps: tag number to value, as Pillow's `Exif.get_ifd(ExifTags.IFD.GPSInfo)` returns it.

    Returns:
        latitude, longitude in degrees (north and east positive), "" or NaN, NaN and why there is no position. Whether
        the degrees are those of a place on the Earth is not looked at here.
    """
    position = []
    for tag, reference, positive, negative in COORDINATES:
        if tag not in gps:
            return np.nan, np.nan, NO_GPS
        degrees, reason = _degrees(gps[tag])
        if reason:
            return np.nan, np.nan, reason
        hemisphere = gps.get(reference, "")
        if isinstance(hemisphere, bytes):
            hemisphere = hemisphere.decode("latin-1")
        hemisphere = str(hemisphere).strip(" \0")[:1].upper()
        if hemisphere not in (positive, negative):
            return np.nan, np.nan, NO_HEMISPHERE
        position.append(-degrees if hemisphere == negative else degrees)
    return *position, ""


def _day(exif):
    """Date on which a photo was taken, as YYYY-MM-DD, or "" where its EXIF states none."""
    detail = exif.get_ifd(ExifTags.IFD.Exif)
    text = str(detail.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime) or "")
    found = re.match(r"(\d{4})[:-](\d\d)[:-](\d\d)", text)
    try:
        return datetime.date(*map(int, found.groups())).isoformat() if found else ""
    except ValueError:  # "0000:00:00 00:00:00" is written where the clock was not set
        return ""


def _open_reason(path, error):
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {error.strerror}"
    if path.suffix.lower() in files.HEIF_SUFFIXES and "HEIF" not in register_plugins():
        return "HEIC needs the package pillow_heif"
    return "not an image"


def read_photo(path):
    """What the EXIF data of a file state.

    Returns:
        A dict of latitude, longitude (degrees, NaN where unknown), day (YYYY-MM-DD), author ("" where unknown) and
        reason ("" or why the photo cannot be used).
    """
    photo = {"latitude": np.nan, "longitude": np.nan, "day": "", "author": "", "reason": ""}
    try:
        image = Image.open(path, formats=register_plugins())
    except Exception as error:  # a decoder may raise anything on a damaged file, and the reject says what
        return photo | {"reason": _open_reason(path, error)}
    with image:
        try:
            exif = image.getexif()
            latitude, longitude, reason = gps_position(exif.get_ifd(ExifTags.IFD.GPSInfo))
            author = exif.get(ExifTags.Base.Artist, "")
            day = _day(exif)
        except Exception as error:
            return photo | {"reason": f"EXIF cannot be read: {type(error).__name__}"}
    # a text of EXIF ends with its first zero byte
    author = author.partition("\0")[0].strip() if isinstance(author, str) else ""
    return {"latitude": latitude, "longitude": longitude, "day": day, "author": author, "reason": reason}


def _refuse(error):
    raise error


def walk(folder):
    """Yield the files below a folder, each folder's own first, in the order of their names. Links are not entered."""
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders.sort()
        for name in sorted(names):
            yield Path(place, name)


def check(options):
    """Refuse a folder that is absent and a grouping that is none."""
    if not Path(options["path"]).is_dir():
        raise ValueError(f'path is "{options["path"]}", and there is no such folder. Give the folder of your photos.')
    if options.get("group", GROUPS[0]) not in GROUPS:
        raise ValueError(f'group is "{options["group"]}"; allowed: {", ".join(GROUPS)}.')


def _row(path, folder, group):
    name = path.relative_to(folder).as_posix()
    readable = name.encode("utf-8", "backslashreplace").decode()
    if readable != name:
        photo = {"latitude": np.nan, "longitude": np.nan, "day": "", "author": "", "reason": "its name is not UTF-8"}
    else:
        photo = read_photo(path)
    parent = Path(readable).parent.as_posix()
    groups = {"folder": "" if parent == "." else parent, "day": photo.pop("day"), "none": ""}
    return {"id": readable, **photo, "group": groups[group], "path": str(folder / readable)}


def list_images(options, folder=None):
    """Yield a row for each image file below `path`, chunk by chunk.

    Args:
        options: `path`; `group`: "folder" (what lies in one subfolder; a file directly in `path` is a group of its
            own), "day" (on which the photo was taken) or "none" (each photo is a group of its own).
        folder: not used.

    Returns:
        Iterator of frames: id (path below the folder), latitude, longitude, author, reason, group, path (absolute).

    A file whose name does not end like an image is not listed, only counted.
    """
    root = Path(options["path"]).absolute()
    group = options.get("group", GROUPS[0])
    rows, listed, others = [], 0, 0
    with tqdm(unit="file", desc=f"{root.name}: EXIF", mininterval=5) as progress:
        for path in walk(root):
            progress.update()
            # a link that leads nowhere is listed, what is no file (a pipe, a socket) is not
            if not files.is_image_name(path.name) or (path.exists() and not path.is_file()):
                others += 1
                continue
            rows.append(_row(path, root, group))
            listed += 1
            if len(rows) == sources.CHUNK:
                yield pd.DataFrame(rows)
                rows = []
    if rows:
        yield pd.DataFrame(rows)
    print(f"{root}: {listed} image files listed, {others} files of other kinds skipped")


def load_images(rows, options):
    """Yield each file as it is on disk, or the reason why it cannot be read."""
    for path in rows["path"]:
        yield files.read_file(path)


def describe(options, folder=None):
    """Licence and attribution as the user states them."""
    return {
        "licence": options.get("licence", "not stated"),
        "attribution": options.get("attribution", "not stated"),
        "source_version": str(options["path"]),
        "grouped_by": options.get("group", GROUPS[0]),
    }

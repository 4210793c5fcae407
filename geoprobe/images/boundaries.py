"""Where the files of administrative polygons are: the user's own, or fetched (they may not be shipped)."""

import hashlib
import shutil
import zipfile
import zlib
from pathlib import Path

from geoprobe.images import polygons
from geoprobe.images.addresses import file_name, is_remote
from geoprobe.images.archives import COMPRESSIONS
from geoprobe.images.fetch import fetch_file
from geoprobe.images.files import whole_archive
from geoprobe.runtime import replacing, write_json

ENCRYPTED = 1  # a flag of a member of a zip file


def fetch_boundaries(options, manifest, network):
    """Bring the files of all layers onto this machine, check their columns, and write a manifest.

    Args:
        options: coast_km, and layers: a list of {file (a path or an http(s) URL), member (of a zip file), layer,
            country, region, district}.
        manifest: JSON file to write; what is fetched lies in the folder of its name.
        network: limits and pace of fetching.

    Raises:
        ValueError: a file is absent or lacks a column that the options name; names both.
        FetchError: a URL cannot be fetched.
    """
    folder = Path(manifest).with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    layers, fetched = [], {}
    for layer in options["layers"]:
        path = layer["file"]
        if is_remote(path):
            if path not in fetched:
                fetched[path] = _fetch(path, folder, network)
            path = _place(folder, path, file_name(path))
        if "member" in layer:
            path = _extract(Path(path), layer["member"], folder)
        levels = {key: layer[key] for key in ("layer", *polygons.LEVELS) if key in layer}
        layers.append({"path": str(path), **levels})
    polygons.check({"layers": layers})
    content = {"layers": layers, "coast_km": options["coast_km"], "files": list(fetched.values())}
    write_json(content, manifest)


def _fetch(url, folder, network):
    return fetch_file(url, _place(folder, url, file_name(url)), network)


def _place(folder, origin, name):
    """Where a file goes: under its name, in a folder of its origin's own, as FRA/adm2.geojson has a namesake."""
    return folder / hashlib.sha256(origin.encode()).hexdigest()[:8] / name


def _extract(archive, member, folder):
    """One member of a zip file as a file in the folder, under its last name."""
    target = _place(folder, f"{archive}/{member}", Path(member).name)
    target.parent.mkdir(exist_ok=True)
    with whole_archive(archive), zipfile.ZipFile(archive) as file:
        names = file.namelist()
        if member in names:
            _unpack(file, member, target)
    if member not in names:
        raise ValueError(f'member is "{member}", which "{archive}" does not hold: {", ".join(names)}.')
    return target


def _crc(path):
    """The checksum that a zip file has of its members."""
    total = 0
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            total = zlib.crc32(part, total)
    return total


def _unpack(file, member, target):
    """Write a member of an open zip file, unless it is there already."""
    entry, free = file.getinfo(member), shutil.disk_usage(target.parent).free
    if target.is_file() and target.stat().st_size == entry.file_size and _crc(target) == entry.CRC:
        return
    if entry.compress_type not in COMPRESSIONS or entry.flag_bits & ENCRYPTED:
        raise zipfile.BadZipFile(f"{member} is encrypted, or compressed in another way than deflate")
    if entry.file_size > free:
        raise zipfile.BadZipFile(f"{member} says that it has {entry.file_size} bytes, and there is room for {free}")
    with replacing(target) as temporary, file.open(entry) as source, open(temporary, "wb") as copy:
        shutil.copyfileobj(source, copy)

"""The files of a model: which of them hold its weights, how large those are, and whether they are what was fetched."""

import fnmatch
import hashlib
import json
import os
import re
import struct
from pathlib import Path

from tqdm import tqdm

CHUNK = 1 << 22
SHOWN = 2_000_000_000  # bytes from which reading them all shows its progress
CONFIGS = ("config.json", "open_clip_config.json")
SIDE_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "additional_chat_templates/*.jinja")
# What a loader needs beside them: its configuration, and the name that the files of weights have, safe and pickled.
LAYOUTS = {
    "transformers": ("config.json", ("model.safetensors", "pytorch_model.bin")),
    "timm": ("config.json", ("model.safetensors", "pytorch_model.bin")),
    "open_clip": ("open_clip_config.json", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")),
}
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes of a number
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}  # as safetensors calls them


def hub_id(row):
    """Name of the hub repository of a row: a bare name of timm means the one that timm's authors keep."""
    return f"timm/{row['id']}" if row["loader"] == "timm" and "/" not in row["id"] else row["id"]


def is_random(row):
    """Whether the weights of a row of the registry are drawn from a seed, so that none are read."""
    return row.get("weights") == "random"


def side_files(names):
    """Of the files of a model those that say how it is built and fed: configuration, processor, tokenizer.

    No Python file is among them, nor what lists the shards of weights.
    """
    chosen = [name for name in names if any(_matches(name, pattern) for pattern in SIDE_FILES)]
    return sorted(name for name in chosen if not name.endswith(".index.json"))


def _matches(name, pattern):
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)


def weight_files(names, read, whole):
    """Files of weights under one name: a single file, or the list of its shards and those.

    Args:
        names: of the files that there are.
        read: from a name to a path that can be read.
        whole: name of the single file, such as model.safetensors.

    Returns:
        Names; none if there are no such weights.

    Raises:
        ValueError: the list cannot be read, or names a shard that is not there.
    """
    index = f"{whole}.index.json"
    if whole in names:
        return [whole]
    if index not in names:
        return []
    try:
        shards = sorted(set(json.loads(Path(read(index)).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no list of weights ({error!r}); get it anew") from error
    if missing := [shard for shard in shards if shard not in names]:
        raise ValueError(f'{index} names "{missing[0]}", which is not beside it; get that file too')
    return [index, *shards]


def weights_in(folder, loader="", pickles=True):
    """Files that hold the weights of the model in a folder, safetensors before pickles.

    Args:
        folder: of the model.
        loader: the one that reads them; without, or for `local`, the weights that any of them would read.
        pickles: whether pickles count.

    Returns:
        Paths of the files with numbers in them, sorted by name; none where there are none.

    Raises:
        ValueError: there is a list of weights, but it cannot be read or its files are not all there.
    """
    folder = Path(folder)
    names = {path.name for path in folder.iterdir()}
    for place in range(2 if pickles else 1):
        for _, wholes in [LAYOUTS[loader]] if loader in LAYOUTS else LAYOUTS.values():
            try:
                found = weight_files(names, folder.joinpath, wholes[place])
            except ValueError as error:
                raise ValueError(f"{folder}: {error}") from error
            if found:
                return [folder / name for name in found if not name.endswith(".index.json")]
    return []


def _some_weights(folder, loader):
    paths = weights_in(folder, loader)
    if not paths:
        wholes = [whole for _, pair in LAYOUTS.values() for whole in pair]
        raise ValueError(f"{folder} holds no weights; a model has one of {', '.join(dict.fromkeys(wholes))} or shards")
    return paths


def sha256_of(path, progress):
    """SHA-256 of a file in hexadecimal digits; `progress` is told of each piece's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            progress.update(len(chunk))
    return digest.hexdigest()


def hashing(paths, label):
    """A progress bar over the bytes of some files, shown where they are many."""
    total = sum(Path(path).stat().st_size for path in paths)
    bar = {"unit": "B", "unit_scale": True, "unit_divisor": 1000, "mininterval": 5}
    return tqdm(total=total, desc=f"sha256 of {label}", disable=total < SHOWN, **bar)


def _blob_digest(path):
    """The sha256 by which a cache of the hub's library names a large file's content, or "".

    In such a cache a file is a link to blobs/<name>, where the name is the sha256 of what Git LFS keeps. Only this one
    link is looked at: where it leads further, to contents that several repositories share, names are no sha256.
    """
    if not path.is_symlink():
        return ""
    target = Path(os.readlink(path))
    return target.name if target.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", target.name) else ""


def digest_weights(folder, loader=""):
    """SHA-256 over names and contents of the files that hold a model's weights, in hexadecimal digits.

    It is the same for the same files in a plain folder and in a cache of the hub's library. What the cache calls by
    its sha256 is not read again: that it is so was checked when it was fetched.

    Args:
        folder: of the model.
        loader: see :func:`weights_in`.

    Raises:
        ValueError: no weights are there, or not all of those that are listed.
    """
    paths = _some_weights(folder, loader)
    known = {path: _blob_digest(path) for path in paths}
    digest = hashlib.sha256()
    with hashing([path for path in paths if not known[path]], folder) as progress:
        for path in paths:
            digest.update(f"{path.name} {known[path] or sha256_of(path, progress)}\n".encode())
    return digest.hexdigest()


def _header(path):
    """Header of a safetensors file: its length in eight bytes, then JSON; tensor name to dtype, shape, offsets."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        text = file.read(length) if 8 + length <= size else b""
    try:
        entries = {name: entry for name, entry in json.loads(text).items() if "dtype" in entry}
        found = {name: (str(entry["dtype"]), *map(int, entry["data_offsets"])) for name, entry in entries.items()}
        if any(len(entry) != 3 or not 0 <= entry[1] <= entry[2] <= size for entry in found.values()):
            raise ValueError("a tensor lies outside of the file")
        return found
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is no whole safetensors file; delete it and get it anew") from error


def weights_bytes(folder, dtype, loader=""):
    """Bytes that a model's weights take in memory, by what its files say; the weights are not read.

    Of safetensors the headers are read: what is stored as floating point counts in `dtype`, and other tensors as they
    are. A pickle is taken for float32. A loader that reads a part of a model, as the vision tower of a CLIP, needs
    less.

    Args:
        folder: of the model.
        dtype: float32, bfloat16 or float16.
        loader: see :func:`weights_in`.

    Raises:
        ValueError: no weights are there, or a file is damaged.
    """
    total = 0
    for path in _some_weights(folder, loader):
        if path.suffix != ".safetensors":
            total += path.stat().st_size * DTYPES[dtype] // DTYPES["float32"]
            continue
        for kind, first, last in _header(path).values():
            scale = DTYPES[dtype] / FLOAT_BYTES[kind] if kind in FLOAT_BYTES else 1
            total += round((last - first) * scale)
    return total


def folder_of(manifest):
    """Folder of the files that a manifest of fetched weights lists.

    Raises:
        ValueError: the manifest cannot be read, or a file is gone or has another size; says what to do.
    """
    again = f"delete {manifest} and run again to fetch it"
    try:
        fetched = json.loads(Path(manifest).read_text(encoding="utf-8"))
        folder, files = Path(fetched["folder"]), [(entry["path"], entry["bytes"]) for entry in fetched["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{manifest} is no manifest of fetched weights ({error!r}); {again}") from error
    if not folder.is_dir():
        raise ValueError(f"{folder}, where {manifest} says that the weights lie, is gone; {again}")
    for name, size in files:
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}, which {manifest} lists, is gone; {again}")
        if path.stat().st_size != size:
            raise ValueError(f"{path} has {path.stat().st_size} bytes instead of the {size} that were fetched; {again}")
    return folder

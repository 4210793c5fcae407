"""The image store: one HDF5 file a data set, one row an image, with the encoded files as obtained."""

import hashlib
import io
import json

import h5py
import numpy as np
from PIL import Image, ImageOps

from geoprobe.geodesy import check_positions
from geoprobe.runtime import provenance, replacing

NUMBERS = {"latitudes": np.float64, "longitudes": np.float64}
TEXTS = ("ids", "geocells", "countries", "groups")


def write_store(path, encoded, columns, captions, attributes):
    """Write an image store in one step.

    Args:
        path: HDF5 file.
        encoded: encoded image files, an iterable of n bytes objects.
        columns: latitudes and longitudes (float64 degrees, WGS 84), ids, geocells, countries, groups (text):
            n values each.
        captions: caption set to n captions.
        attributes: source, licence, attribution, ...; versions, time and digest are added.

    Raises:
        ValueError: coordinates are not degrees, ids repeat, or the lengths differ.
    """
    count = len(columns["ids"])
    texts = {name: columns[name] for name in TEXTS}
    texts |= {f"captions/{name}": values for name, values in captions.items()}
    for name, values in {**texts, **{name: columns[name] for name in NUMBERS}}.items():
        if len(values) != count:
            raise ValueError(f"{path}: {len(values)} {name} for {count} ids; the columns differ in length")
    if len(set(columns["ids"])) != count:
        raise ValueError(f"{path}: ids repeat; each image needs an id of its own")
    check_positions(np.column_stack([columns["latitudes"], columns["longitudes"]]), origin=str(path))
    digest = hashlib.sha256()
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        images = file.create_dataset("images", (count,), dtype=h5py.vlen_dtype(np.uint8))
        written = 0
        for row, data in enumerate(encoded):
            written = row + 1
            if written > count:
                break
            images[row] = np.frombuffer(data, dtype=np.uint8)
            digest.update(hashlib.sha256(data).digest())
        if written != count:
            raise ValueError(f"{path}: {'more' if written > count else written} images for {count} rows")
        for name, dtype in NUMBERS.items():
            file[name] = np.asarray(columns[name], dtype=dtype)
            digest.update(file[name][:].tobytes())
        for name, values in sorted(texts.items()):
            file.create_dataset(name, data=np.asarray(values, dtype=object), dtype=h5py.string_dtype())
            # JSON, so that neither a name nor the end of a value can be taken for another
            digest.update(json.dumps([name, list(values)]).encode())
        for name, value in {**attributes, **provenance(), "digest": digest.hexdigest()}.items():
            file.attrs[name] = value


def read_columns(path):
    """Everything of an image store but the images.

    Returns:
        A dict: ids, geocells, countries, groups (text arrays), latitudes, longitudes (float64 degrees),
        captions (set to text array), digest, attributes.
    """
    with h5py.File(path, "r") as file:
        columns = {name: file[name][:] for name in NUMBERS}
        columns |= {name: file[name].asstr()[:] for name in TEXTS}
        columns["captions"] = {name: data.asstr()[:] for name, data in file.get("captions", {}).items()}
        columns["attributes"] = dict(file.attrs)
        columns["digest"] = file.attrs["digest"]
    return columns


def read_positions(path):
    """Latitude and longitude in degrees, shape (n, 2), and ids, of an image store."""
    with h5py.File(path, "r") as file:
        return np.column_stack([file["latitudes"][:], file["longitudes"][:]]), file["ids"].asstr()[:]


def decode_image(data):
    """A PIL image, upright by its EXIF orientation, in red, green, blue."""
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def read_images(path, rows):
    """Yield the images of an image store at the given row numbers as PIL images."""
    with h5py.File(path, "r") as file:
        for row in rows:
            yield decode_image(file["images"][row].tobytes())


def read_squares(path, rows, size=None):
    """Yield images of a store as squares, cropped to their middle.

    Args:
        path: image store.
        rows: row numbers.
        size: side in pixels; by default the first image's shorter side, at most 128.

    Yields:
        uint8 red, green, blue, shape (size, size, 3).
    """
    for image in read_images(path, rows):
        size = size or min(128, *image.size)
        if image.size != (size, size):
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        yield np.asarray(image)


def read_pixels(path, size):
    """All images of a store as squares of `size` pixels, uint8, shape (n, size, size, 3)."""
    with h5py.File(path, "r") as file:
        count = len(file["images"])
    pixels = np.empty((count, size, size, 3), dtype=np.uint8)
    for row, image in enumerate(read_squares(path, range(count), size)):
        pixels[row] = image
    return pixels

"""The image store: one HDF5 file a data set, one row an image, with the encoded files as obtained."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import h5py
import numpy as np
from PIL import Image, ImageOps

from geoprobe.geodesy import check_positions
from geoprobe.images.formats import open_header
from geoprobe.runtime import provenance, replacing
from geoprobe.secrets import redact_values

NUMBERS = {"latitudes": np.float64, "longitudes": np.float64}
TEXTS = ("ids", "geocells", "countries", "groups")
OPTIONAL_TEXTS = ("authors", "licences")
CHUNK = 1024  # images by which the file grows


class StoreWriter:
    """An image store that grows image by image, as their number may not be known before they are loaded."""

    def __init__(self, file, path):
        self.file, self.path, self.count = file, path, 0
        self.digest = hashlib.sha256()
        self.images = file.create_dataset(
            "images", (0,), maxshape=(None,), chunks=(CHUNK,), dtype=h5py.vlen_dtype(np.uint8)
        )

    def append(self, data):
        """Add one encoded image file."""
        if self.count == len(self.images):
            self.images.resize((self.count + CHUNK,))
        self.images[self.count] = np.frombuffer(data, dtype=np.uint8)
        self.digest.update(hashlib.sha256(data).digest())
        self.count += 1

    def finish(self, columns, captions, attributes):
        """Write what is known of the images; see :func:`write_store`."""
        texts = {name: columns[name] for name in (*TEXTS, *OPTIONAL_TEXTS) if name in columns}
        texts |= {f"captions/{name}": values for name, values in captions.items()}
        ids = texts["ids"]
        for name, values in {**texts, **{name: columns[name] for name in NUMBERS}}.items():
            if len(values) != len(ids):
                raise ValueError(f"{self.path}: {len(values)} {name} for {len(ids)} ids; the columns differ in length")
        if self.count != len(ids):
            raise ValueError(f"{self.path}: {self.count} images for {len(ids)} rows")
        if len(set(ids)) != len(ids):
            raise ValueError(f"{self.path}: ids repeat; each image needs an id of its own")
        check_positions(np.column_stack([columns["latitudes"], columns["longitudes"]]), origin=str(self.path))
        self.images.resize((self.count,))
        for name, dtype in NUMBERS.items():
            self.file[name] = np.asarray(columns[name], dtype=dtype)
            self.digest.update(self.file[name][:].tobytes())
        for name, values in sorted(texts.items()):
            self.file.create_dataset(name, data=np.asarray(values, dtype=object), dtype=h5py.string_dtype())
            # JSON, so that neither a name nor the end of a value can be taken for another
            self.digest.update(json.dumps([name, list(values)]).encode())
        if "clusters" in columns:  # those of the source; the pipeline's own are in a table beside
            self.file["clusters"] = np.asarray(columns["clusters"], dtype=np.int64)
            self.digest.update(self.file["clusters"][:].tobytes())
        for name, value in {**redact_values(attributes), **provenance(), "digest": self.digest.hexdigest()}.items():
            self.file.attrs[name] = value


@contextlib.contextmanager
def writing_store(path):
    """A :class:`StoreWriter` whose file is renamed to `path` when all is written, and removed on an error."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        yield StoreWriter(file, path)


def write_store(path, encoded, columns, captions, attributes):
    """Write an image store in one step.

    Args:
        path: HDF5 file.
        encoded: encoded image files, an iterable of n bytes objects.
        columns: latitudes and longitudes (float64 degrees, WGS 84), ids, geocells, countries, groups (text) and,
            where the source has them, licences, authors (text) and clusters (int): n values each.
        captions: caption set to n captions.
        attributes: source, licence, attribution, ...; versions, time and digest are added.

    Raises:
        ValueError: coordinates are not degrees, ids repeat, or the lengths differ.
    """
    with writing_store(path) as writer:
        for data in encoded:
            writer.append(data)
        writer.finish(columns, captions, attributes)


def export_store(store, clusters, path):
    """Write a file that the paper's scripts read: images, latitudes, longitudes and clusters by their names.

    The images stay where they are: the file links to the store by a relative path, so move both together.

    Args:
        store: image store.
        clusters: cluster of each of its images, shape (n,); -1 for none.
        path: HDF5 file to write.

    Raises:
        ValueError: there are not as many clusters as images.
    """
    with h5py.File(store, "r") as file:
        count, digest = len(file["images"]), file.attrs["digest"]
    if len(clusters) != count:
        raise ValueError(f"{store} has {count} images, but there are clusters for {len(clusters)}; assign them again.")
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        link = os.path.relpath(store, Path(path).parent)
        for name in ("images", *NUMBERS, "ids"):
            file[name] = h5py.ExternalLink(link, name)
        file["clusters"] = np.asarray(clusters, dtype=np.int64)
        for name, value in {"images_digest": digest, **provenance()}.items():
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
    with open_header(data) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def read_images(path, rows):
    """Yield the images of an image store at the given row numbers as PIL images."""
    with h5py.File(path, "r") as file:
        for row in rows:
            yield decode_image(file["images"][row].tobytes())


def read_squares(path, rows, size=None, most=128):
    """Yield images of a store as squares, cropped to their middle.

    Args:
        path: image store.
        rows: row numbers.
        size: side in pixels; by default the first image's shorter side, at most `most`.

    Yields:
        uint8 red, green, blue, shape (size, size, 3).
    """
    for image in read_images(path, rows):
        size = size or min(most, *image.size)
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

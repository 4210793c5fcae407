"""HDF5 files of others, and stores read back: of any layout and any bytes either values come or one sentence."""

import io

import h5py
import numpy as np
import pytest
from fuzzing import damaged, guarded
from hypothesis import example, given
from hypothesis import strategies as st
from image_server import photo
from test_fuzz_tables import check_rows

from geoprobe.features.reading import open_layers
from geoprobe.features.store import list_layers, read_features, read_parameters
from geoprobe.images import hdf5

IDS = ["a", "b", "c"]


def file_bytes(fill):
    """Bytes of an HDF5 file that a function fills."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def fill_photos(file):
    images = file.create_dataset("images", (3,), dtype=h5py.vlen_dtype(np.uint8))
    for row in range(3):
        images[row] = np.frombuffer(photo(row)[:200], dtype=np.uint8)
    file["latitudes"], file["longitudes"], file["clusters"] = [1.0, -90.0, 2.5], [3.0, 180.0, np.nan], [4, 0, -1]
    for name in ("ids", "groups", "captions/places"):
        file.create_dataset(name, data=IDS, dtype=h5py.string_dtype())
    file.attrs["licence"] = "CC0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hdf5")


def read_photos(path, folder):
    """All that the source does with a file."""
    options = {"path": str(path)}
    with guarded(ValueError, naming=path, folder=folder):
        hdf5.check(options)
        for rows in hdf5.list_images(options):
            check_rows([rows])
            assert len(list(hdf5.load_images(rows, options))) == len(rows)
        assert all(isinstance(value, str) for value in hdf5.describe(options).values())


@given(data=damaged([file_bytes(fill_photos)], [b"TREE", b"SNOD", b"HEAP", b"OHDR"]))
def test_a_file_of_any_bytes(folder, data):
    path = folder / "photos.h5"
    path.write_bytes(data)
    read_photos(path, folder)


NUMBERS = st.one_of(st.floats(), st.integers(-(2**31), 2**31), st.sampled_from([0, 91, -181]))
KINDS = st.sampled_from(
    ["f4", "f8", "f2", "i1", "u8", "S3", "c8", "?", "vlen", "text", "vlen f8", "compound", "enum", "object", "time"]
)


def make(file, name, kind, shape, value):
    """A dataset of one of the types of HDF5, whatever it is to hold."""
    if kind == "vlen":
        data = file.create_dataset(name, shape, h5py.vlen_dtype(np.uint8))
        if shape:
            for place in np.ndindex(*shape):
                data[place] = np.arange(len(str(value)) % 5, dtype=np.uint8)
    elif kind == "text":
        file.create_dataset(
            name, data=np.full(shape, "ä\ud800".encode("utf-8", "replace"), object), dtype=h5py.string_dtype()
        )
    elif kind == "vlen f8":
        file.create_dataset(name, shape, h5py.vlen_dtype(np.float64))
    elif kind == "compound":
        file.create_dataset(name, data=np.zeros(shape, [("a", "f8"), ("b", "S2")]))
    elif kind == "enum":
        file.create_dataset(name, shape, h5py.enum_dtype({"A": 0, "B": 1}, "i4"))
    elif kind == "object":
        file.create_dataset(name, shape, h5py.ref_dtype)
    elif kind == "time":
        file.create_dataset(name, data=np.zeros(shape, "M8[s]").astype(h5py.opaque_dtype("M8[s]")))
    else:
        with np.errstate(all="ignore"):
            file.create_dataset(name, data=np.full(shape, value).astype(kind))


SHAPES = st.sampled_from([(3,), (3,), (3,), (2,), (0,), (), (3, 2), (3, 2, 2, 3)])
PARTS = st.one_of(
    st.tuples(KINDS, SHAPES, NUMBERS), st.sampled_from(["group", "soft", "loop", "external", "empty", "type", "gone"])
)
NAMES = ("images", "latitudes", "longitudes", "ids", "groups", "clusters", "captions", "captions/x", "captions/y/z")


@example(parts={"latitudes": ("f8", (3, 2), 1.0)})
@example(parts={"images": ("f8", (), 0)})
@example(parts={"images": ("text", (3,), 0)})
@example(parts={"captions": ("text", (3,), 0)})
@example(parts={"ids": ("compound", (3,), 0)})
@example(parts={"groups": ("S3", (3, 2), 0)})
@example(parts={"longitudes": ("S3", (3,), 0)})
@example(parts={"clusters": ("f2", (3,), 0.5)})
@example(parts={"clusters": ("?", (3,), 0)})
@example(parts={"images": "loop"})
@given(parts=st.dictionaries(st.sampled_from(NAMES), PARTS, min_size=1, max_size=3))
def test_a_file_of_any_layout(folder, parts):
    path = folder / "photos.h5"
    with h5py.File(path, "w") as file:
        fill_photos(file)
        for name, part in sorted(parts.items()):
            if any(name.startswith(f"{above}/") for above in parts):
                continue
            if name in file:
                del file[name]
            if isinstance(part, tuple):
                make(file, name, *part)
            elif part == "group":
                file.create_group(name)
            elif part in ("soft", "loop", "external"):
                links = {
                    "soft": h5py.SoftLink("/nowhere"),
                    "loop": h5py.SoftLink(f"/{name}"),
                    "external": h5py.ExternalLink("/etc/passwd", "/"),
                }
                file[name] = links[part]
            elif part == "empty":
                file[name] = h5py.Empty("f8")
            elif part == "type":
                file[name] = np.dtype("f8")
    read_photos(path, folder)


def fill_features(file):
    file.create_dataset("ids", data=IDS, dtype=h5py.string_dtype())
    for layer in range(2):
        file[f"vision/cls/{layer}"] = np.arange(12, dtype=np.float32).reshape(3, 4)
    file.attrs["parameters"] = 12


@given(data=damaged([file_bytes(fill_features)], [b"TREE", b"SNOD", b"HEAP"]))
@example(data=b"")
@example(data=file_bytes(fill_photos))
def test_a_feature_store_of_any_bytes(folder, data):
    path = folder / "features.h5"
    path.write_bytes(data)
    with guarded(ValueError, FileNotFoundError, naming=path, folder=folder):
        for tower, pooling, layer in list_layers(path):
            values = read_features(path, IDS, tower, pooling, layer)
            assert values.dtype == np.float32
            assert len(values) == 3
            with open_layers(path, np.array(IDS), 1000) as layer_rows:
                rows = layer_rows(tower, pooling, layer)
                for _, held in rows.chunks(np.arange(3))():
                    assert np.isfinite(held).all()
        assert read_parameters(path) >= 0


def test_an_error_of_who_reads_a_store_stays_what_it_is(folder):
    path = folder / "features.h5"
    path.write_bytes(file_bytes(fill_features))
    with pytest.raises(TypeError, match=r"^of the reader$"), open_layers(path, np.array(IDS), 1000):
        raise TypeError("of the reader")

"""Source `hdf5`: a file with images, latitudes and longitudes, as the paper's own files and our stores have."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from geoprobe.hdf5_files import reading
from geoprobe.images import sources

NETWORK = False
NEEDED = ("images", "latitudes", "longitudes")
TAKEN_OVER = ("ids", "groups", "clusters")
REAL = ("latitudes", "longitudes", "clusters")


def _captions(file, path):
    """Datasets of captions by set.

    Raises:
        ValueError: what is called captions is no group of them.
    """
    captions = file.get("captions", {})
    if isinstance(captions, h5py.Dataset | h5py.Datatype):
        raise ValueError(f'path is "{path}", whose captions are no group; each set of captions is a dataset in it.')
    return captions


def _fault(name, data):
    """What is wrong with the shape or type of a dataset, or ""."""
    base, text = h5py.check_vlen_dtype(data.dtype), h5py.check_string_dtype(data.dtype) is not None
    if name == "images":
        # a row is a file's bytes: a list of them, or a line of a table
        whole = base is not None and np.issubdtype(base, np.integer) and data.ndim == 1
        whole = whole or (base is None and data.dtype.kind in "iu" and data.ndim == 2)
        return "" if whole else "an encoded file a row, as numbers"
    if data.ndim != 1:
        return "one value a row"
    if name in REAL:
        return "" if data.dtype.kind in "iuf" else "numbers"
    return "" if text or data.dtype.kind in "iufb" else "text or numbers"


def _refuse_foreign(file, path):
    """Refuse datasets whose values lie in other files: a file from elsewhere must not read what is on this machine.

    The links of an exported file are let through where they lead to the image store that it names by its digest.
    Refused is also what holds other values than it should.
    """
    names = [name for name in (*NEEDED, *TAKEN_OVER) if name in file]
    names += [f"captions/{name}" for name in _captions(file, path)]
    for name in names:
        data = file[name]
        if not isinstance(data, h5py.Dataset):
            raise ValueError(f'path is "{path}", whose {name} is no dataset.')
        if data.external or data.is_virtual:
            raise ValueError(f'path is "{path}", whose {name} lies in other files; copy it into the file itself.')
        # the file that holds it, behind links of the dataset or of a group above it
        if data.file.id != file.id and str(data.file.attrs.get("digest")) != str(file.attrs.get("images_digest", "")):
            raise ValueError(
                f'path is "{path}", whose {name} is a link to {data.file.filename}; copy it into the file.'
            )
        if fault := _fault(name, data):
            raise ValueError(
                f'path is "{path}", whose {name} ({data.dtype}, shape {data.shape}) does not hold {fault}.'
            )


def check(options):
    """Refuse a file that is absent, is no HDF5, or lacks images, latitudes or longitudes."""
    path = Path(options["path"])
    if not path.is_file():
        raise ValueError(f'path is "{path}", and there is no such file.')
    if not h5py.is_hdf5(path):
        raise ValueError(f'path is "{path}", which is not an HDF5 file.')
    with reading(path) as file:
        missing = [name for name in NEEDED if name not in file]
        if missing:
            raise ValueError(
                f'path is "{path}", which has no dataset {" and no dataset ".join(missing)} '
                f"(it has {', '.join(file) or 'none'}). Each image needs images, latitudes and longitudes."
            )
        _refuse_foreign(file, path)
        lengths = {name: len(file[name]) for name in (*NEEDED, *TAKEN_OVER) if name in file}
        lengths |= {f"captions/{name}": len(values) for name, values in _captions(file, path).items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'path is "{path}", whose datasets differ in length: {lengths}.')


def _texts(dataset, rows):
    """Values of a dataset as text, whether it holds text or numbers."""
    if h5py.check_string_dtype(dataset.dtype) is None:
        return dataset[rows].astype(str)
    # what is no UTF-8 is shown as such, and two different ids stay different
    return dataset.asstr(errors="backslashreplace")[rows]


def _whole_numbers(values, path):
    """Cluster numbers as int64, however the file stores them.

    Raises:
        ValueError: they are no whole numbers.
    """
    if values.dtype.kind in "iuf":
        wide = values.astype(np.float64)  # as the limit is too much for half precision
        if (np.isfinite(wide) & (wide == np.floor(wide)) & (np.abs(wide) < 2.0**63)).all():
            return values.astype(np.int64)
    raise ValueError(f"{path}: the dataset clusters ({values.dtype}) does not hold whole numbers. Number the clusters.")


def list_images(options, folder=None):
    """Yield the rows of the file, chunk by chunk.

    Ids, groups, captions and clusters (as source_cluster) are taken over where the file has them; without ids, an
    image's id is the number of its row.
    """
    with reading(options["path"]) as file:
        count = len(file["images"])
        for start in range(0, count, sources.CHUNK):
            rows = slice(start, min(start + sources.CHUNK, count))
            numbers = np.arange(rows.start, rows.stop)
            ids = _texts(file["ids"], rows) if "ids" in file else numbers.astype(str)
            frame = pd.DataFrame(
                {
                    "id": ids,
                    "latitude": file["latitudes"][rows].astype(np.float64),
                    "longitude": file["longitudes"][rows].astype(np.float64),
                    "group": _texts(file["groups"], rows) if "groups" in file else ids,
                    "row": numbers,
                    "reason": "",
                }
            )
            if "clusters" in file:
                frame["source_cluster"] = _whole_numbers(file["clusters"][rows], options["path"])
            for name, values in _captions(file, options["path"]).items():
                frame[f"caption:{name}"] = _texts(values, rows)
            yield frame


def load_images(rows, options):
    """Yield the encoded files of the rows as they are stored."""
    with reading(options["path"]) as file:
        images = file["images"]
        for row in rows["row"]:
            yield np.asarray(images[row], dtype=np.uint8).tobytes(), ""


def describe(options, folder=None):
    """Licence and attribution of the file, where it has them."""
    with reading(options["path"]) as file:
        attributes = {name: str(file.attrs[name]) for name in ("licence", "attribution") if name in file.attrs}
    return {"licence": "not stated", "attribution": "not stated", **attributes, "source_version": str(options["path"])}

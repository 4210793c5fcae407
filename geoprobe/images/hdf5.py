"""Source `hdf5`: a file with images, latitudes and longitudes, as the paper's own files and our stores have."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from geoprobe.geodesy import check_positions

NEEDED = ("images", "latitudes", "longitudes")


def check(options):
    """Refuse a file that is absent, is no HDF5, or lacks images, latitudes or longitudes."""
    path = Path(options["path"])
    if not path.is_file():
        raise ValueError(f'path is "{path}", and there is no such file.')
    if not h5py.is_hdf5(path):
        raise ValueError(f'path is "{path}", which is not an HDF5 file.')
    with h5py.File(path, "r") as file:
        missing = [name for name in NEEDED if name not in file]
        if missing:
            raise ValueError(
                f'path is "{path}", which has no dataset {" and no dataset ".join(missing)} '
                f"(it has {', '.join(file) or 'none'}). Each image needs images, latitudes and longitudes."
            )
        lengths = {name: len(file[name]) for name in NEEDED}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'path is "{path}", whose datasets differ in length: {lengths}.')


def list_images(options):
    """Rows of the file; ids, groups, captions are taken over where it has them, else an id is the row's number."""
    path = Path(options["path"])
    with h5py.File(path, "r") as file:
        count = len(file["images"])
        names = file["ids"].asstr()[:] if "ids" in file else np.arange(count).astype(str)
        rows = pd.DataFrame(
            {
                "id": names,
                "latitude": file["latitudes"][:].astype(np.float64),
                "longitude": file["longitudes"][:].astype(np.float64),
                "group": file["groups"].asstr()[:] if "groups" in file else names,
                "row": np.arange(count),
            }
        )
        for name in file.get("captions", {}):
            rows[f"caption:{name}"] = file["captions"][name].asstr()[:]
    check_positions(rows[["latitude", "longitude"]].to_numpy(), origin=str(path))
    return rows, rows.iloc[:0][["id", "latitude", "longitude"]].assign(reason="")


def load_images(rows, options):
    """Yield the encoded files of the rows as they are stored."""
    with h5py.File(options["path"], "r") as file:
        images = file["images"]
        for row in rows["row"]:
            yield np.asarray(images[row], dtype=np.uint8).tobytes(), ""


def describe(options):
    """Licence and attribution of the file, where it has them."""
    with h5py.File(options["path"], "r") as file:
        attributes = {name: str(file.attrs[name]) for name in ("licence", "attribution") if name in file.attrs}
    return {"licence": "not stated", "attribution": "not stated", **attributes, "source_version": str(options["path"])}

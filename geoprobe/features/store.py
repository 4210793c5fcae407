"""The feature store: one HDF5 file a data set, model and prompt, /<tower>/<pooling>/<layer> of shape (images, width).

Layer k is the residual stream after block k, counted from 0, without the final norm. `ids` repeat the image
store's; a reader joins on them. A store that was made in shards links to their files; it is read like any other.
"""

import resource
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from geoprobe.hdf5_files import reading
from geoprobe.whole import check_whole

DONE = "chunks_done"
SPARE = 256  # files that a process has open beside the shards of a store
STORED = {"float32": h5py.h5t.IEEE_F32LE, "float16": h5py.h5t.IEEE_F16LE}


def _create_allocated(group, name, shape, dtype):
    """A contiguous dataset whose space exists at once.

    Written like this, a chunk changes raw data only: a job killed in the middle leaves a file that opens.
    """
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, name.encode(), STORED[dtype], space, properties)
    return group[name]


def partial_of(output):
    """Where the store lies until it is whole."""
    output = Path(output)
    return output.with_name(output.name + ".partial")


def write_ids(file, ids):
    """Write the ids of the images, in the order of the rows."""
    file.create_dataset("ids", data=np.asarray(ids, dtype=object), dtype=h5py.string_dtype())


def open_partial(path, key, ids, layout, chunks, dtype="float32"):
    """Open the unfinished store of an earlier run if it is of the same making, else start one.

    Args:
        path: of the unfinished store.
        key: changes with all that decides about the values.
        ids: of the images, one a row.
        layout: (tower, pooling, layer, width) of every dataset.
        chunks: number of chunks that are marked when they are whole.
        dtype: float32 or float16, in which the features are stored.

    Returns:
        The open file; its dataset DONE says which chunks are there.
    """
    if path.is_file():
        try:
            file = h5py.File(path, "r+")
        except OSError as error:
            print(f"{path}: cannot be read ({error}); starting anew")
        else:
            if file.attrs.get("key") == key and DONE in file:
                print(f"{path}: resuming, {int(file[DONE][:].sum())} of {chunks} chunks are there")
                return file
            file.close()
            print(f"{path}: made from other images, weights, options or code; starting anew")
        path.unlink()
    file = h5py.File(path, "w")
    write_ids(file, ids)
    file.create_dataset(DONE, data=np.zeros(chunks, dtype=np.uint8))
    for tower, pooling, layer, width in layout:
        _create_allocated(file.require_group(f"{tower}/{pooling}"), str(layer), (len(ids), width), dtype)
    file.attrs["key"] = key
    file.flush()
    return file


def list_layers(path):
    """(tower, pooling, layer) of every dataset of a feature store, in order.

    Raises:
        ValueError: the file is damaged, or no feature store.
    """
    with reading(path) as file:
        return [
            (tower, pooling, int(layer))
            for tower in sorted(set(file) - {"ids"})
            for pooling in sorted(file[tower])
            for layer in sorted(file[tower][pooling], key=int)
        ]


def read_parameters(path):
    """Number of parameters of the model that a feature store was extracted with, all its towers together.

    Raises:
        ValueError: the store does not say, as it was made by an earlier version.
    """
    with reading(path) as file:
        if "parameters" not in file.attrs:
            raise ValueError(f"{path}: does not say how many parameters its model has; delete it to extract it again.")
        return int(file.attrs["parameters"])


def _allow_open_files(path, shards):
    """Let this process open as many files as a virtual dataset has shards: it opens all of them, and closes none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < shards + SPARE:
        if resource.RLIM_INFINITY != hard < shards + SPARE:
            raise OSError(
                f"{path}: it has {shards} shards, and this process may have {hard} files open, {SPARE} of them others; "
                "raise that limit (ulimit -n), or choose fewer features.shards."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (shards + SPARE, hard))


def _check_sources(path, data):
    """HDF5 reads a fill value from a file that is not there, that it cannot open, or whose end is not there."""
    sources = data.virtual_sources() if data.is_virtual else []
    _allow_open_files(path, len(sources))
    for source in sources:
        shard = Path(path).parent / source.file_name.replace("%%", "%")
        if not shard.is_file():
            raise FileNotFoundError(
                f"{path}: its features lie in {shard}, which is not there; move the folder of shards along with it, "
                "or delete both to extract them again."
            )
        check_whole(shard)


def match_rows(path, stored, ids):
    """Rows of a feature store in the order of the given image ids.

    Args:
        path: of the store, for the message.
        stored: the store's ids, shape (n,).
        ids: image ids, shape (n,).

    Returns:
        Row numbers, shape (n,); None where the store has this order already.

    Raises:
        ValueError: the store's ids are not the given ones; says how many differ and names one.
    """
    ids = np.asarray(ids)
    if len(stored) == len(ids) and (stored == ids).all():
        return None
    order = pd.Index(stored).get_indexer(ids)
    missing = np.flatnonzero(order < 0)
    if len(missing) or len(stored) != len(ids):
        raise ValueError(
            f"{path}: holds {len(stored)} images, {len(ids)} were asked for, {len(missing)} of them are not there"
            + (f" (such as {ids[missing[0]]})" if len(missing) else "")
            + ". It was extracted from another image store; delete it to extract it again."
        )
    return order


def open_layer(file, path, tower, pooling, layer):
    """The dataset of one layer of an open feature store.

    Raises:
        FileNotFoundError: the store was joined of shards, and one of them is not there; names it.
        OSError: it was joined of more shards than this process may open files.
    """
    data = file[f"{tower}/{pooling}/{layer}"]
    _check_sources(path, data)
    return data


def read_features(path, ids, tower, pooling, layer):
    """Features of one layer in the order of the given image ids.

    Args:
        path: feature store.
        ids: image ids, shape (n,).
        tower, pooling, layer: which dataset.

    Returns:
        float32, shape (n, width).

    Raises:
        FileNotFoundError: the store was joined of shards, and one of them is not there; names it.
        ValueError: the store's ids are not the given ones (says how many differ and names one), or it is damaged.
    """
    with reading(path) as file:
        data = open_layer(file, path, tower, pooling, layer)
        order = match_rows(path, file["ids"].asstr()[:], ids)
        values = data[:].astype(np.float32, copy=False)
    return values if order is None else values[order]

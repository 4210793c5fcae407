"""The feature store: one HDF5 file a data set, model and prompt, /<tower>/<pooling>/<layer> of shape (images, width).

Layer k is the residual stream after block k, counted from 0, without the final norm. `ids` repeat the image
store's; a reader joins on them.
"""

import h5py
import numpy as np

DONE = "chunks_done"


def _create_allocated(group, name, shape):
    """A contiguous float32 dataset whose space exists at once.

    Written like this, a chunk changes raw data only: a job killed in the middle leaves a file that opens.
    """
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, properties)
    return group[name]


def open_partial(path, key, ids, layout, chunks):
    """Open the unfinished store of an earlier run if it is of the same making, else start one."""
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
            print(f"{path}: made from other images, weights or options; starting anew")
        path.unlink()
    file = h5py.File(path, "w")
    file.create_dataset("ids", data=np.asarray(ids, dtype=object), dtype=h5py.string_dtype())
    file.create_dataset(DONE, data=np.zeros(chunks, dtype=np.uint8))
    for tower, pooling, layer, width in layout:
        _create_allocated(file.require_group(f"{tower}/{pooling}"), str(layer), (len(ids), width))
    file.attrs["key"] = key
    file.flush()
    return file


def list_layers(path):
    """(tower, pooling, layer) of every dataset of a feature store, in order."""
    with h5py.File(path, "r") as file:
        return [
            (tower, pooling, int(layer))
            for tower in sorted(set(file) - {"ids"})
            for pooling in sorted(file[tower])
            for layer in sorted(file[tower][pooling], key=int)
        ]


def read_features(path, ids, tower, pooling, layer):
    """Features of one layer in the order of the given image ids.

    Args:
        path: feature store.
        ids: image ids, shape (n,).
        tower, pooling, layer: which dataset.

    Returns:
        float32, shape (n, width).

    Raises:
        ValueError: the store's ids are not the given ones; says how many differ and names one.
    """
    with h5py.File(path, "r") as file:
        stored = file["ids"].asstr()[:]
        values = file[f"{tower}/{pooling}/{layer}"][:]
    if len(stored) == len(ids) and (stored == np.asarray(ids)).all():
        return values
    row = {name: index for index, name in enumerate(stored)}
    missing = [name for name in ids if name not in row]
    if missing or len(stored) != len(ids):
        raise ValueError(
            f"{path}: holds {len(stored)} images, {len(ids)} were asked for, {len(missing)} of them are not there"
            + (f" (such as {missing[0]})" if missing else "")
            + ". It was extracted from another image store; delete it to extract it again."
        )
    return values[[row[name] for name in ids]]

"""One feature store of several shards, which stay where they are: virtual datasets with relative paths."""

import json
import os
from pathlib import Path

import h5py
import numpy as np

from geoprobe.features.store import DONE, list_layers, write_ids
from geoprobe.runtime import provenance, replacing


def _read_shard(path):
    """Number, count of all shards, attributes and ids of one shard."""
    with h5py.File(path, "r") as file:
        if DONE in file or "making" not in file.attrs or "shard" not in file.attrs:
            raise ValueError(f"{path}: is no finished shard of a feature store; delete it to extract it again")
        attributes, ids = dict(file.attrs), file["ids"].asstr()[:]
    number, count = map(int, attributes["shard"].split("/"))
    return number, count, attributes, ids


def _check_making(path, attributes, other, others):
    """Refuse shards that were made from different things; say which."""
    if attributes["making"] == others["making"]:
        return
    here, there = json.loads(attributes["making"]), json.loads(others["making"])
    differ = [name for name in here.keys() | there.keys() if here.get(name) != there.get(name)]
    raise ValueError(
        f"{path} and {other} are no shards of one feature store: they differ in {', '.join(sorted(differ))}; "
        "delete the older one to extract it again."
    )


def _check_numbers(shards):
    """Refuse shards of which one is missing or there twice, or whose images overlap."""
    numbers, count = [number for number, *_ in shards], shards[0][1]
    if numbers != list(range(count)):
        missing = sorted(set(range(count)) - set(numbers))
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        raise ValueError(
            f"{len(shards)} shards are to be joined, of {count}: missing {missing or 'none'}, twice {twice or 'none'}"
        )
    owner = {}
    for number, _, _, ids, path in shards:
        for name in ids:
            if name in owner:
                raise ValueError(f"{path}: image {name} is in shard {owner[name]} and in shard {number}")
            owner[name] = number


def join_shards(paths, output):
    """Write a feature store that links to its shards by relative paths, so that their folder can be moved with it.

    Args:
        paths: feature stores of all shards, in any order; the rows follow the numbers of the shards.
        output: HDF5 file.

    Raises:
        ValueError: the shards are not of the same making, not each there once, not finished, or share images.
    """
    if not paths:
        raise ValueError(f"{output}: there are no shards to join")
    shards = sorted(((*_read_shard(path), Path(path)) for path in paths), key=lambda shard: shard[0])
    first, first_path = shards[0][2], shards[0][4]
    for _, _, attributes, _, path in shards[1:]:
        _check_making(path, attributes, first_path, first)
    _check_numbers(shards)
    layers = list_layers(first_path)
    ids = np.concatenate([ids for *_, ids, _ in shards])
    with replacing(output) as temporary, h5py.File(temporary, "w") as file:
        write_ids(file, ids)
        for key in layers:
            _link(file, "/".join(map(str, key)), len(ids), shards, Path(output).parent)
        for name, value in {**first, **_totals(shards, ids), **provenance()}.items():
            file.attrs[name] = value
        del file.attrs["key"], file.attrs["shard"]
    print(f"{output}: {len(ids)} images of {len(shards)} shards, {len(layers)} datasets")


def _link(file, name, count, shards, folder):
    """A virtual dataset of one layer of all shards."""
    with h5py.File(shards[0][4], "r") as source:
        width, dtype = source[name].shape[1], source[name].dtype
    layout, start = h5py.VirtualLayout((count, width), dtype), 0
    for *_, ids, path in shards:
        if len(ids):
            # HDF5 reads % as the start of a pattern of file names
            relative = os.path.relpath(path.resolve(), folder.resolve()).replace("%", "%%")
            layout[start : start + len(ids)] = h5py.VirtualSource(relative, name, (len(ids), width))
        start += len(ids)
    # read past read_features, what is missing is at least not taken for zeros
    file.create_virtual_dataset(name, layout, fillvalue=np.nan)


def _totals(shards, ids):
    """Attributes that speak of all shards."""
    attributes = [shard[2] for shard in shards]
    return {
        "images": len(ids),
        "shards": len(shards),
        "images_per_second": float(np.mean([one["images_per_second"] for one in attributes])),
        "peak_memory_mb": float(max(one["peak_memory_mb"] for one in attributes)),
        "seconds": float(sum(one["seconds"] for one in attributes)),
        "batch_size": min(one["batch_size"] for one in attributes),
        "device": ", ".join(dict.fromkeys(one["device"] for one in attributes)),
    }

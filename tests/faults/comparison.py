"""Whether two folders of results say the same: all but what tells when, where and how fast a file was made."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet
from PIL import Image

# of a file's making, and not of its content
MAKING = {"created", "retrieved", "versions", "python", "geoprobe", "provenance", "device", "seconds", "throughput"} | {
    "images_per_second",
    "decode_seconds",
    "forward_seconds",
    "peak_memory_mb",
    "host",
}
LEFT_OUT = ("logs", "benchmarks")
DATES = re.compile(
    rb"/(CreationDate|ModDate) \([^)]*\)|<dc:date>[^<]*</dc:date>|startxref\s+\d+|\d{10} \d{5} [nf]"
    rb"|\d{4}-\d\d-\d\dT[\d:]+Z"
)
LEFT_BEHIND = re.compile(r"\.(tmp|partial|part)$|checkpoint\.pt$")


def files_of(folder):
    """Relative paths of results, without logs, locks and what a killed job leaves to be resumed."""
    found = {}
    for path in Path(folder).rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in LEFT_OUT and path.name != ".snakemake_timestamp":
            found[str(relative)] = path
    return found


def left_behind(folder):
    """Files that jobs write to and that should be gone when all is whole."""
    return sorted(name for name in files_of(folder) if LEFT_BEHIND.search(name))


def without_making(mapping):
    return {name: value for name, value in mapping.items() if name not in MAKING}


def same_h5(one, other):
    def content(path):
        found = {}

        def add(name, item):
            attributes = {key: np.asarray(value).tolist() for key, value in without_making(dict(item.attrs)).items()}
            values = None
            if isinstance(item, h5py.Dataset):
                values = item[()]
                values = (
                    [np.asarray(value).tobytes() for value in np.ravel(values)] if values.dtype == object else values
                )
            found[name] = (attributes, values)

        with h5py.File(path) as file:
            add("/", file)
            file.visititems(add)
        return found

    first, second = content(one), content(other)
    return first.keys() == second.keys() and all(
        first[name][0] == second[name][0]
        and (
            first[name][1] == second[name][1]
            if not isinstance(first[name][1], np.ndarray)
            else first[name][1].tobytes() == second[name][1].tobytes()
        )
        for name in first
    )


def same_parquet(one, other):
    frames = []
    for path in (one, other):
        frame = pd.read_parquet(path)
        attributes = without_making(frame.attrs)
        frame.attrs = {}
        assert pyarrow.parquet.read_metadata(path).num_rows == len(frame)
        frames.append((frame.drop(columns=[name for name in frame if name in MAKING]), attributes))
    return frames[0][0].equals(frames[1][0]) and json.dumps(frames[0][1], default=str, sort_keys=True) == json.dumps(
        frames[1][1], default=str, sort_keys=True
    )


def same_csv(one, other):
    first, second = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (one, other))
    first, second = (frame.drop(columns=[name for name in frame if name in MAKING]) for frame in (first, second))
    return first.equals(second)


def same_json(one, other):
    def cleaned(value):
        if isinstance(value, dict):
            return {name: cleaned(item) for name, item in without_making(value).items()}
        return [cleaned(item) for item in value] if isinstance(value, list) else value

    first, second = (cleaned(json.loads(path.read_text())) for path in (one, other))
    return first == second


def same_png(one, other):
    with Image.open(one) as first, Image.open(other) as second:
        return first.size == second.size and first.tobytes() == second.tobytes()


def same_text(one, other):
    return DATES.sub(b"", one.read_bytes()) == DATES.sub(b"", other.read_bytes())


BY_SUFFIX = {
    ".h5": same_h5,
    ".parquet": same_parquet,
    ".csv": same_csv,
    ".json": same_json,
    ".png": same_png,
}


def differs(one, other):
    """Whether two files of one format differ in their content."""
    return not BY_SUFFIX.get(Path(one).suffix, same_text)(one, other)


def differences(one, other):
    """Sentences on what two results folders do not share; none if they are the same."""
    first, second = files_of(one), files_of(other)
    found = [f"{name} is missing" for name in sorted(first.keys() - second.keys())]
    found += [f"{name} is left over" for name in sorted(second.keys() - first.keys())]
    for name in sorted(first.keys() & second.keys()):
        if differs(first[name], second[name]):
            found.append(f"{name} differs")
    return found

"""What a run of many images takes, and the unit costs of the stages that hold a whole data set.

    python benchmarks/scale.py [--images 100000000]      # bytes of features, by the layout that extraction writes
    python benchmarks/scale.py --measure                 # seconds and memory of the stages, by the number of images

Measured are plan_images, build_images, assign_folds and assign_clusters on as many tiny JPEG files as --sizes says,
each in a process of its own; what an image more takes is the difference of two sizes, in seconds of CPU, which other
work on the machine changes least. Photographs, 640 x 480 pixels, take longer to decode. docs/scale.md has the figures
and what follows from them.
"""

import argparse
import io
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
from PIL import Image

from geoprobe.clusters.assign import assign_images
from geoprobe.features.layout import choose_readings, list_datasets
from geoprobe.images import hdf5
from geoprobe.images.build import build_store
from geoprobe.images.gazetteer import load_towns
from geoprobe.images.plan import plan_images
from geoprobe.images.store import read_columns, read_positions
from geoprobe.probes.folds import assign_folds
from geoprobe.runtime import peak_mb, write_table

# Blocks and width of each tower, by the published configurations, and the poolings that it has.
VISION, NO_CLASS, TEXT = ("cls", "mean", "maxmin"), ("mean", "maxmin"), ("last", "mean", "maxmin")
SHAPES = {
    "ViT-B/16": {"vision": (12, 768, VISION)},
    "CLIP-L/14": {"vision": (24, 1024, VISION)},
    "DINOv2-g/14": {"vision": (40, 1536, VISION)},
    "Qwen2.5-VL-3B": {"vision": (32, 1280, NO_CLASS), "text": (36, 2048, TEXT)},
}
ALL = ("cls", "last", "mean", "maxmin")
CHOICES = {
    "all layers, all poolings": (ALL, "all", 2),
    "every fourth layer, cls, last, mean": (("cls", "last", "mean"), 4, 2),
    "last layer, mean": (("mean",), [-1], 2),
}
BALANCE = {"minimum": 5, "maximum": 10**9, "seed": 1}
FOLDS = {"count": 5, "blocks": "degrees", "block_degrees": 5, "buffer_km": 320, "seed": 42}
CLUSTERS = {"by": "kmeans", "embedding": "statistics", "matched": None, "components": 16, "seed": 1, "count": 8}
STAGES = ("plan_images", "build_images", "assign_folds", "assign_clusters")


def feature_bytes(shape, poolings, layers, itemsize):
    """Bytes of one image's features, of the datasets that :func:`geoprobe.features.layout.list_datasets` lists.

    Args:
        shape: tower to (blocks, width, poolings).
        poolings, layers: of the configuration's `features`.
        itemsize: 2 for float16, 4 for float32.
    """
    towers = {
        name: SimpleNamespace(blocks=range(blocks), width=width, poolings=has)
        for name, (blocks, width, has) in shape.items()
    }
    datasets = list_datasets(towers, choose_readings(towers, poolings, layers))
    return itemsize * sum(width for *_, width in datasets)


def feature_table(images):
    """A row a model: bytes of an image's features under each choice, and TB of so many images."""
    rows = []
    for model, shape in SHAPES.items():
        row = {"model": model}
        for choice, options in CHOICES.items():
            size = feature_bytes(shape, *options)
            row[choice] = f"{size:,} B, {size * images / 1e12:,.1f} TB"
        rows.append(row)
    return pd.DataFrame(rows)


def make_images(path, count, size):
    """An HDF5 file of unlike JPEG files near towns, as the source `hdf5` reads it."""
    generator = np.random.default_rng(0)
    towns = load_towns()[["latitude", "longitude"]].to_numpy()
    positions = towns[generator.integers(len(towns), size=count)] + generator.normal(0, 0.05, (count, 2))
    with h5py.File(path, "w") as file:
        file["latitudes"], file["longitudes"] = positions.T.clip([[-90], [-180]], [[90], [180]])
        images = file.create_dataset("images", (count,), dtype=h5py.vlen_dtype(np.uint8))
        for row in range(count):
            pixels = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(buffer, format="JPEG", quality=90)
            images[row] = np.frombuffer(buffer.getvalue(), np.uint8)


def run_stage(stage, folder, results):
    """Run one stage on what those before it made; gives seconds of CPU, and MB by which the process's peak rose."""
    options = {"source": "hdf5", "path": str(folder / "images.h5"), "balance": BALANCE, "caption_sets": ["places"]}
    plan, left_out, store = (folder / name for name in ("plan.parquet", "left_out.parquet", "store.h5"))
    before, start = peak_mb(), time.process_time()
    if stage == "plan_images":
        plan_images(hdf5.list_images(options), plan, left_out, "many", BALANCE)
    elif stage == "build_images":
        build_store(store, folder / "rejects.parquet", folder / "balance.csv", "many", options, plan, left_out)
    elif stage == "assign_folds":
        (positions, ids), columns = read_positions(store), read_columns(store)
        write_table(
            assign_folds(ids, positions, columns["geocells"], columns["groups"], columns["countries"], FOLDS),
            folder / "folds.parquet",
        )
    else:
        names = {"clusters": "clusters.parquet", "summary": "clusters.csv", "fitted": "clusters.h5"}
        options = CLUSTERS | {"names": {"by": "number"}}
        assign_images(store, "many", options, {name: folder / path for name, path in names.items()})
    results.put((time.process_time() - start, peak_mb() - before))


def measure(counts, size):
    """Seconds of CPU and MB of each stage: {stage: [(seconds, MB), ...]}, as many as there are counts."""
    context, found = multiprocessing.get_context("spawn"), {stage: [] for stage in STAGES}
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            make_images(Path(scratch, "images.h5"), count, size)
            for stage in STAGES:
                results = context.SimpleQueue()
                process = context.Process(target=run_stage, args=(stage, Path(scratch), results))
                process.start()
                process.join()
                if process.exitcode:
                    raise RuntimeError(f"{stage} of {count} images ended with exit code {process.exitcode}; see above.")
                found[stage].append(results.get())
                print(f"{count} images of {size[0]} x {size[1]}: {stage} done", file=sys.stderr, flush=True)
    return found


def unit_table(sizes, photographs):
    """A row a stage: what a million images more take in minutes of CPU and GB, a million photographs in minutes."""
    tiny, photos = measure(sizes, (12, 9)), measure(photographs, (640, 480))
    rows = []
    for stage in STAGES:
        (few_s, few_mb), (many_s, many_mb) = tiny[stage]
        (few_photos_s, _), (many_photos_s, _) = photos[stage]
        share, photo_share = 1e6 / (sizes[1] - sizes[0]), 1e6 / (photographs[1] - photographs[0])
        rows.append(
            {
                "stage": stage,
                "minutes": (many_s - few_s) * share / 60,
                "GB": (many_mb - few_mb) * share / 1000,
                "minutes of photographs": (many_photos_s - few_photos_s) * photo_share / 60,
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000_000, help="default: 100,000,000")
    parser.add_argument("--measure", action="store_true", help="measure the stages instead")
    parser.add_argument(
        "--sizes", type=int, nargs=2, default=(10_000, 40_000), help="tiny images (default: 10000 40000)"
    )
    parser.add_argument(
        "--photographs", type=int, nargs=2, default=(500, 2500), help="larger images (default: 500 2500)"
    )
    arguments = parser.parse_args()
    if arguments.measure:
        table = unit_table(arguments.sizes, arguments.photographs)
        print(f"a million images more, from {arguments.sizes[0]:,} and {arguments.sizes[1]:,}:")
        print(table.to_markdown(index=False, floatfmt=".3g"))
    else:
        print(feature_table(arguments.images).to_markdown(index=False))

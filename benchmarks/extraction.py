"""Extraction of every layer against the bare forward pass on tensors that are ready: same model, same run; a ratio.

    python benchmarks/extraction.py [--images 2048] [--threads 1]

The bare forward reads no file, decodes no image, pools nothing and writes nothing: it is the limit.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.features import extract_features
from geoprobe.images.bluemarble import render_tiles
from geoprobe.images.store import write_store
from geoprobe.models.loading import load_model

SMALL = {"image_size": 32, "patch_size": 8, "width": 128, "depth": 4, "heads": 4}
BASE = {"image_size": 224, "patch_size": 16, "width": 768, "depth": 12, "heads": 12}
BATCH = {"small": 256, "base": 8}


def make_store(path, count, size):
    """An image store of tiles at random places, as JPEG files of a side of `size` pixels."""
    generator = np.random.default_rng(0)
    positions = np.column_stack([generator.uniform(-60, 70, count), generator.uniform(-180, 180, count)])
    encoded = []
    for tile in render_tiles(positions, 32, 7):
        buffer = io.BytesIO()
        Image.fromarray(tile).resize((size, size)).save(buffer, format="JPEG")
        encoded.append(buffer.getvalue())
    names = [str(row) for row in range(count)]
    columns = dict.fromkeys(("ids", "geocells", "countries", "groups"), names)
    columns |= {"latitudes": positions[:, 0], "longitudes": positions[:, 1]}
    write_store(path, encoded, columns, {}, {"source": "benchmark"})


def compare(name, architecture, count, folder):
    """Images a second of the bare forward and of extraction, and their ratio."""
    folder = Path(folder)
    config = {"architecture": architecture, "mean": 0, "std": 1}
    save_encoder(folder / name, build_encoder(**architecture, seed=0), config)
    row = {"model": name, "loader": "local", "id": str(folder / name), "revision": "none", "supervision": "none"}
    make_store(folder / f"{name}.h5", count, architecture["image_size"])
    model, batch = load_model(row).module, BATCH[name]
    ready = torch.randn(batch, 3, architecture["image_size"], architecture["image_size"])
    with torch.inference_mode():
        model(ready)
        start = time.perf_counter()
        for _ in range(0, count, batch):
            model(ready)
        bare = count / (time.perf_counter() - start)
    start = time.perf_counter()
    extract_features(folder / f"{name}.h5", row, "none", folder / "features.h5", ["cls", "mean"], batch, 1024)
    ours = count / (time.perf_counter() - start)
    print(f"{name}: bare forward {bare:.1f} images/s, extraction {ours:.1f} images/s, ratio {ours / bare:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, default=2048, help="of the small model; the base has 1/64 (default: 2048)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        compare("small", SMALL, arguments.images, scratch)
        compare("base", BASE, max(8, arguments.images // 64), scratch)

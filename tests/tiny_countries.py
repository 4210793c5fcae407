"""Pictures in the colours of countries, a tiny encoder, and their fine-tuning."""

import io
import json

import numpy as np
import pandas as pd
import torch
from PIL import Image

from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.finetune import grid
from geoprobe.finetune.grid import finetune_model
from geoprobe.finetune.splits import assign_parts
from geoprobe.images.store import write_store

ARCHITECTURE = {"image_size": 16, "patch_size": 8, "width": 32, "depth": 2, "heads": 2}
COLOURS = {"BR": (20, 160, 30), "CA": (240, 245, 250), "DE": (120, 120, 120), "EG": (230, 200, 120),
           "FR": (20, 40, 200), "JP": (200, 30, 40)}  # fmt: skip
EACH = 20
OPTIONS = {
    "learning_rates": [1e-5, 3e-3, 1.0],
    "seeds": [1, 2],
    "epochs": 4,
    "batch_size": 24,
    "warmup": 0.1,
    "weight_decay": 0.05,
    "patience": 4,
    "mixed_precision": "no",
    "train": "all",
    "poolings": ["cls", "mean"],
}
# differs between two runs of one making
MEASURED = ("measured", "provenance")


def make_store(path, size=(16, 16)):
    """Pictures in the colour of their country, noisy; groups of two."""
    generator = np.random.default_rng(0)
    encoded, countries = [], []
    for number in range(EACH * len(COLOURS)):
        country = list(COLOURS)[number % len(COLOURS)]
        noise = generator.normal(0, 25, (size[1], size[0], 3))
        pixels = (np.array(COLOURS[country]) + noise).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="png")
        encoded.append(buffer.getvalue())
        countries.append(country)
    columns = {
        "ids": [f"image {number:03}" for number in range(len(encoded))],
        "latitudes": np.linspace(-60, 60, len(encoded)),
        "longitudes": np.linspace(-170, 170, len(encoded)),
        "geocells": [""] * len(encoded),
        "countries": countries,
        "groups": [f"{country} {number // 12}" for number, country in enumerate(countries)],
    }
    write_store(path, encoded, columns, {}, {"source": "test"})
    return columns


def make_row(folder):
    save_encoder(
        folder,
        build_encoder(**ARCHITECTURE, seed=1),
        {"architecture": ARCHITECTURE, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    )
    return {"model": "tiny", "loader": "local", "id": str(folder), "revision": "none", "supervision": "vision-only",
            "dtype": "float32", "weights": "safetensors"}  # fmt: skip


def make_all(folder):
    """Folder with an image store, a split and an encoder, and the encoder's row."""
    columns = make_store(folder / "images.h5")
    split = assign_parts(
        columns["ids"], columns["countries"], columns["groups"], minimum=5, maximum=EACH, seed=1, shares=(0.6, 0.2, 0.2)
    )
    split.to_parquet(folder / "split.parquet")
    return folder, make_row(folder / "encoder")


def finetune(made, folder, split=None, row=None, code="", budget=10**8, **options):
    """Fine-tune; the results and the predictions."""
    source, own = made
    finetune_model(
        source / "images.h5",
        split or source / "split.parquet",
        row or own,
        folder / "results.json",
        folder / "predictions.parquet",
        options={**OPTIONS, **options},
        resamples=50,
        seed=1,
        names={"dataset": "colours", "model": "tiny"},
        budget=budget,
        code=code,
    )
    assert sorted(path.name for path in folder.iterdir()) == ["predictions.parquet", "results.json"]
    return read(folder)


def read(folder):
    """Results, without what was measured on the way, and predictions."""
    results = json.loads((folder / "results.json").read_text())
    results = {name: value for name, value in results.items() if name not in MEASURED}
    return results, pd.read_parquet(folder / "predictions.parquet")


def assert_same(first, second):
    """Both ended with the same numbers to the last bit."""
    assert first[0] == second[0]
    pd.testing.assert_frame_equal(first[1], second[1])


def accuracy(results, metric="top1"):
    """The mean over seeds on the whole test part."""
    (row,) = (row for row in results["test"] if (row["member"], row["by"], row["metric"]) == ("mean", "all", metric))
    return row["value"]


def make_task(made, **options):
    """The Task of a fine-tuning, ready to train."""
    source, row = made
    split, _ = grid._join(source / "images.h5", pd.read_parquet(source / "split.parquet"))
    options = {**OPTIONS, **options}
    given = (source / "images.h5", split, row, None, "sound", options, torch.device("cpu"), "no", 0, 10**8)
    task, _, _ = grid._make_task(*given)
    grid._prepare_backbone(task, options["train"])
    return task

"""All that the figures of config/paper.yaml read, made up at the paper's size: see paper_size.py for the tables.

Stores of images hold pictures only where a figure shows them, and fits the predictions of one layer alone.
"""

import functools
import io
import itertools
import os
import time

import h5py
import numpy as np
import pandas as pd
import paper_size
import yaml
from paper_size import DATASETS, DEPTHS, IMAGES, ROOT
from PIL import Image

from geoprobe.analysis import published
from geoprobe.analysis.comparison import parquet_parts
from geoprobe.clusters.table import cluster_table, typical_rows
from geoprobe.figures.contact_sheet import SHEET
from geoprobe.images.store import write_store
from geoprobe.runtime import write_table

PROBES = ("ridge", "mlp")
TARGETS = {"ridge": ("degrees", "sphere"), "mlp": ("degrees",)}
CVS = {"ridge": paper_size.CVS, "mlp": paper_size.CVS[:2]}
CONTROLS = {"ridge": paper_size.CONTROLS, "mlp": ("none",)}
# Millions of parameters by what a name ends in or holds.
SIZES = {"s14": 22, "g14": 1100, "h14": 632, "12b": 12_000, "7b": 7_000, "4b": 4_300, "3b": 3_700, "1b": 1_000}
SIZES |= {"b16": 86, "b32": 88, "b14": 87, "l16": 304, "l14": 304, "300m": 304, "streetclip": 304}


def prompts_of(model):
    """Prompts that a run asks a model with."""
    return paper_size.prompt_names() if model in paper_size.TEXT_DEPTHS else ["none"]


def parameters(model):
    """Number of parameters by the name of a model."""
    return 1_000_000 * next(size for end, size in SIZES.items() if end in model)


def write_summaries(folder):
    """The layers of all models and their choices, as `compare_models` writes them, but for the CSV of the layers."""
    with parquet_parts(folder / "families.parquet") as add:
        for model, dataset, probe in itertools.product(DEPTHS, DATASETS, PROBES):
            for prompt in prompts_of(model):
                asked = functools.partial(list, [prompt])
                add(
                    paper_size.families(
                        dataset, probe, CVS[probe], CONTROLS[probe], lambda _, asked=asked: asked(), TARGETS[probe],
                        every_pooling=probe == "ridge", of=[model],
                    )
                )  # fmt: skip
    rows = pd.concat(
        [
            paper_size.choices(dataset, probe, CVS[probe], CONTROLS[probe], prompts_of, TARGETS[probe])
            for dataset, probe in itertools.product(DATASETS, PROBES)
        ],
        ignore_index=True,
    )
    write_table(rows.replace("", np.nan), folder / "choices.parquet")


def write_analyses(folder):
    """Parts of the closer analyses, one a model."""
    makers = {
        "transfer": paper_size.transfers,
        "correlations": paper_size.correlations,
        "correlation": paper_size.correlation_summary,
    }
    for dataset, (name, make) in itertools.product(DATASETS, makers.items()):
        for model, rows in make(dataset).groupby("model"):
            rows = rows.drop(columns=["family", "label", "supervision"])
            write_table(rows, folder / dataset / model / "none" / "ridge" / f"{name}.csv")


def image_ids(dataset):
    """Ids of the images of a data set."""
    return [f"{dataset}/{row}" for row in range(IMAGES)]


def write_images(results, dataset):
    """Store, rejects, balance and clusters of one data set; pictures where a figure shows them."""
    truth, _ = paper_size.predictions(IMAGES)
    rng = np.random.default_rng(1)
    ids = image_ids(dataset)
    names = {int(number): name for number, name in paper_size.cluster_names().items()}
    table = cluster_table(ids, rng.integers(0, len(names), IMAGES), rng.random(IMAGES), names)
    write_table(table, results / "clusters" / f"{dataset}.parquet")
    shown = {row for number in names for row in typical_rows(table, number, SHEET)}
    pictures = [_picture(rng) for _ in range(50)]
    encoded = (pictures[row % len(pictures)] if row in shown else b"none" for row in range(IMAGES))
    columns = {"ids": ids, "latitudes": truth[:, 0], "longitudes": truth[:, 1], "groups": ids}
    columns |= {"geocells": ["cell"] * IMAGES, "countries": ["FR"] * IMAGES}
    write_store(results / "images" / f"{dataset}.h5", encoded, columns, {}, {"source": "made up"})
    # as many are listed and left out as YFCC100M has more
    lost, _ = paper_size.predictions(5 * IMAGES)
    frame = pd.DataFrame({"latitude": lost[:, 0], "longitude": lost[:, 1], "reason": "geocell full"})
    write_table(frame, results / "images" / f"{dataset}.rejects.parquet")
    balance = pd.DataFrame({"continent": np.resize(paper_size.CONTINENTS, 180), "country": range(180)})
    balance = balance.assign(kept=1_100, geocell_full=rng.integers(1_000, 9_000, 180), left_out=20)
    balance["listed"] = balance[["kept", "geocell_full", "left_out"]].sum(axis=1)
    write_table(balance, results / "images" / f"{dataset}.balance.csv")


def _picture(rng):
    """A photo of 500 pixels as JPEG: colours that flow into each other."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_fits(results, dataset):
    """Held-out predictions of each model's last layer, and how many parameters it has."""
    truth, _ = paper_size.predictions(IMAGES)
    for number, model in enumerate(DEPTHS):
        rng = np.random.default_rng(number)
        pull = rng.uniform(0.2, 0.7)
        predicted = pull * truth + (1 - pull) * truth.mean(axis=0) + rng.normal(0, 12, truth.shape)
        pooling, depth = paper_size.towers(model)[-1][1:]
        for probe in PROBES:
            path = results / "probes" / dataset / model / "none" / f"{probe}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file.create_dataset("ids", data=image_ids(dataset), dtype=h5py.string_dtype())
                where = f"vision/{pooling}/{depth - 1}/all/degrees/blocked/none/predictions"
                file[where] = np.clip(predicted, [-90, -180], [90, 180]).astype(np.float32)
        path = results / "features" / dataset / model / "none.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.attrs["parameters"] = parameters(model)


def compared(tables, choices):
    """The paper's numbers beside made-up ones, `analysis/published.csv`."""
    datasets = dict(zip(DATASETS, DATASETS, strict=True))
    asking = [name for name in paper_size.prompt_names() if name not in ("none", "neutral") and "random" not in name]
    ridge = choices, ["ridge"], {"cv": "blocked", "choice": "inner"}, datasets
    found = published.mean_r2(*ridge, ["none"]) + published.prompted_r2(*ridge, asking)
    found += published.coefficient_correlation(tables["correlation"], datasets, ["none"])
    found += published.relative_r2(tables["dimensions"], datasets, ["none"])
    found += published.country_accuracy(tables["finetuning"], datasets)
    found += published.steering(paper_size.steering(), "qwen2-5-vl-3b", "landmarks")
    models = {name: {"id": row["id"], "label": row["label"]} for name, row in paper_size.models().items()}
    return published.compare(published.read_numbers(ROOT / "config/published/numbers.csv"), found, models)


def write_files(folder):
    """Write all that figures read under `folder`/results, as a run would."""
    results = folder / "results"
    paper_size.write_tables(folder)
    write_summaries(results / "analysis")
    write_analyses(results / "analysis")
    names = ("correlation", "dimensions", "finetuning")
    tables = {name: pd.read_csv(results / "analysis" / f"{name}.csv") for name in names}
    choices = pd.read_parquet(results / "analysis" / "choices.parquet")
    write_table(compared(tables, choices), results / "analysis" / "published.csv")
    for dataset in DATASETS:
        write_images(results, dataset)
        write_fits(results, dataset)
    for model in yaml.safe_load((ROOT / "config/paper.yaml").read_text())["interventions"]["steering"]["models"]:
        write_table(paper_size.steering(), results / "steering" / "steering-landmarks" / model / "landmark.csv")
    order_times(results)


# Files by stage, each later than those it is made of.
STAGES = (
    ["images/*"],
    ["features/*/*/*"],
    ["clusters/*"],
    ["probes/*/*/*/*"],
    ["analysis/*/*/*/*/*", "directions/*/*/*/*", "steering/*/*/*"],
    [
        f"analysis/{name}.*"
        for name in ("families", "choices", "differences", "supervisions", "text_effect", "baselines")
    ],
    ["analysis/localizability.csv", "analysis/transfer.csv", "analysis/correlation*.csv", "analysis/dimensions.csv"],
    ["analysis/fairness.csv", "analysis/prompt_*.csv", "analysis/finetuning*.csv"],
    ["analysis/published.csv"],
)


def order_times(results):
    """Give the files the times of a run that has just ended, so that Snakemake makes none of them anew."""
    for number, patterns in enumerate(STAGES):
        at = time.time() - 60 + number
        for path in itertools.chain.from_iterable(map(results.glob, patterns)):
            os.utime(path, (at, at))

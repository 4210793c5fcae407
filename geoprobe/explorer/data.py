"""What the explorer shows: chosen scores, layer curves, held-out predictions and thumbnails, as plain values."""

import itertools

import h5py
import numpy as np
import pandas as pd

from geoprobe.analysis.families import chosen_rows, headline_rows, read_summary
from geoprobe.explorer.budget import plan_maps
from geoprobe.explorer.maps import CELL_DEGREES, Images, Maps
from geoprobe.explorer.page import size_of
from geoprobe.figures.coastlines import load_coastlines
from geoprobe.probes.metrics import WITHIN_KM
from geoprobe.runtime import provenance

# Names, decimals, and whether less is better: those of a chosen layer, of which the page shows one.
METRICS = {
    "r2": ("R²", 2, False),
    "selectivity": ("Selectivity (R²)", 2, False),
    "r2_latitude": ("R² of latitude", 2, False),
    "r2_longitude": ("R² of longitude", 2, False),
    "r2_folds": ("Mean R² of folds", 2, False),
    "r2_haversine": ("R² on the sphere", 2, False),
    "median_km": ("Median error (km)", 0, True),
    **{f"within_{limit}km": (f"Within {limit:,} km (share)", 3, False) for limit in WITHIN_KM},
    "geoscore": ("GeoScore", 0, False),
    "proximity_error": ("Proximity error (share)", 3, True),
    "rmse_degrees": ("Root mean squared error (degrees)", 1, True),
    "mae_degrees": ("Mean absolute error (degrees)", 1, True),
    "spearman_latitude": ("Rank correlation of latitude", 2, False),
    "spearman_longitude": ("Rank correlation of longitude", 2, False),
    "clipped": ("Latitudes beyond a pole (share)", 3, True),
    "wrapped": ("Longitudes beyond 180° (share)", 3, True),
}
CELL = ("low", "high", "images", "layers", "reason")
CURVE = ("layer", "r2", "low", "high", "median_km")
READ = ["family", "label", "supervision", "dataset", "prompt", "probe", "cluster", "tower", "pooling", "target", "cv"]
READ += ["control", *CURVE]
LEFT_OUT = -1  # a map that the page has no room for


def plain(value):
    """A number of four decimals, a text, or None for what is missing."""
    if isinstance(value, str):
        return value
    if value is None or not np.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else round(float(value), 4)


def read_curves(path, target, poolings):
    """Rows of the layers of families on true labels, without the rest in memory; see :data:`READ` for the columns."""
    rows = read_summary(path, READ, control="none", target=target)
    return rows[rows["pooling"].isin(poolings)].reset_index(drop=True)


def _row(own, curves, columns):
    """One row of the heatmap: its scores and curves by cluster."""
    return {
        "family": own["family"].iloc[0],
        "label": own["label"].iloc[0],
        "supervision": own["supervision"].iloc[0],
        "cells": {cell["cluster"]: [plain(cell[name]) for name in columns] for cell in own.to_dict("records")},
        "curves": {
            cluster: [
                {"tower": tower} | {name: [plain(value) for value in part[name]] for name in CURVE}
                for tower, part in of_cluster.sort_values("layer").groupby("tower")
            ]
            for cluster, of_cluster in curves.groupby("cluster")
        },
        "maps": {},
    }


def tabulate(choices, families, shown, columns):
    """Views, the rows that they are made of, and the maps that these could have.

    Args:
        choices: rows of one target on the true labels.
        families: of :func:`read_curves`.
        shown: see :func:`prepare`.
        columns: of a cell.

    Returns:
        Views, one a data set, probe, cross-validation and prompt, whose models are numbers of rows; rows, which several
        views may share, as a model without text input is the same under each prompt; and a frame with a row a map:
        row, dataset, origin, prompt, probe, cluster, cv, tower, images.
    """
    views, rows, numbers, wanted = [], [], {}, []
    conditions = choices[["dataset", "probe", "cv"]].drop_duplicates().to_dict("records")
    conditions.sort(key=lambda condition: condition["cv"] != shown["cv"])
    for condition, prompt in itertools.product(conditions, shown["prompts"]):
        prompts = list(dict.fromkeys([prompt, "none"]))  # a model without text input has no other
        chosen = chosen_rows(choices, prompts, shown["choice"], **condition)
        layers = headline_rows(families, prompts, shown["poolings"], **condition)
        models = []
        for _, own in chosen.groupby(["family", "label"], sort=False):
            first = own.iloc[0]
            key = (*condition.values(), *first[["prompt", "family", "label"]])
            if key not in numbers:
                numbers[key] = len(rows)
                curves = layers[layers["origin"] == first["origin"]]
                if shown["choice"] == "depth":
                    curves = curves[curves["tower"] == first["tower"]]
                rows.append(_row(own, curves, columns))
                wanted.append(own.assign(row=numbers[key]))
            models.append(numbers[key])
        views.append({**condition, "prompt": prompt, "models": models})
    names = ["row", "dataset", "origin", "prompt", "probe", "cluster", "cv", "tower", "images"]
    return views, rows, pd.concat(wanted, ignore_index=True)[names]


def id_bytes(store, thumbnails):
    """Bytes that the name of an image takes in the page."""
    if not thumbnails:
        return 0
    with h5py.File(store, "r") as file:
        return size_of([str(name) for name in file["ids"].asstr()[:]]) / len(file["ids"])


def prepare(paths, stores, jobs, models, shown, options, around=0):
    """Everything that the page shows.

    Args:
        paths: choices and families, paths of the summaries.
        stores: data set to paths of its image store, folds and clusters (table with cluster and name).
        jobs: (data set, model, prompt, probe) to paths of fits and of the choices of that model.
        models: model to its family.
        shown: prompts of the run, poolings, target and choice, and the cross-validation that comes first.
        options: `explorer` of the configuration.
        around: bytes of the page beside these values.

    Returns:
        A dict of plain values: what made it, metrics, rows, views (one a data set, probe, prompt and cross-validation),
        images by data set, maps, coastlines, and what was left out to keep the page within its size.
    """
    first = {}
    for model, family in models.items():
        first.setdefault(family, model)  # of the seeds of an encoder the map shows the first
    choices = read_summary(paths["choices"], target=shown["target"], control="none")
    choices = choices[choices["dataset"].isin(stores)]
    metrics = {name: about for name, about in METRICS.items() if name in choices}
    columns = [*metrics, *CELL]
    families = read_curves(paths["families"], shown["target"], shown["poolings"])
    views, rows, wanted = tabulate(choices, families, shown, columns)
    content = {
        "made": provenance(),
        "metrics": {
            name: {"label": label, "digits": digits, "lower": lower} for name, (label, digits, lower) in metrics.items()
        },
        "columns": columns,
        "choice": shown["choice"],
        "target": shown["target"],
        "cellDegrees": CELL_DEGREES,
        "pictures": options["thumbnails"],
        "coastlines": [np.round(line, 2).tolist() for line in load_coastlines()],
        "views": views,
        "rows": rows,
    }
    left = options["page_megabytes"] * 1e6 - around - size_of(content)
    names = {name: id_bytes(store, options["thumbnails"]) for name, (store, _, _) in stores.items()}
    kept, points, dropped = plan_maps(wanted, shown, options, left, names)
    images = {
        name: Images(store, folds, read_summary(clusters), options, points)
        for name, (store, folds, clusters) in stores.items()
    }
    maps = Maps(jobs, images, shown["target"], shown["poolings"], shown["choice"])
    for keep, own in zip(kept, wanted.itertuples(), strict=True):
        job = (own.dataset, first[own.origin], own.prompt, own.probe)
        rows[own.row]["maps"][own.cluster] = maps.find(job, own.cluster, own.cv, own.tower) if keep else LEFT_OUT
    tested = wanted.groupby(["dataset", "cluster"])["images"].max()
    content["images"] = {name: of.describe(tested[name].astype(int).to_dict()) for name, of in images.items()}
    content["maps"] = maps.made
    content["limits"] = {
        "megabytes": options["page_megabytes"],
        "points": points,
        "asked": options["points"],
        "leftOut": dropped,
        "thumbnails": 0,
        "of": 0,
    }
    if options["thumbnails"]:
        left = min(options["megabytes"] * 1e6, options["page_megabytes"] * 1e6 - around - size_of(content))
        for name, of in images.items():
            most = options["most"] // len(images)
            found = content["images"][name]["thumbnails"] = of.thumbnails(most, left / len(images))
            content["limits"]["thumbnails"] += len(found)
            content["limits"]["of"] += min(most, len(of.shown()))
    return content

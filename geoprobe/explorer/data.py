"""What the explorer shows: chosen scores, layer curves, held-out predictions and thumbnails, as plain values."""

import base64
import io
import itertools

import h5py
import numpy as np
import pandas as pd

from geoprobe.analysis.families import chosen_rows, headline_rows, read_summary
from geoprobe.analysis.selection import UNCHOSEN
from geoprobe.figures.coastlines import load_coastlines
from geoprobe.geodesy import great_circle_km
from geoprobe.images.store import decode_image
from geoprobe.probes.labels import ALL
from geoprobe.probes.metrics import to_positions
from geoprobe.runtime import provenance

METRICS = {"r2": "R²", "median_km": "Median error (km)", "selectivity": "Selectivity (R²)"}
CELL = ("low", "high", "images", "layers", "reason")
CURVE = ("layer", "r2", "low", "high", "median_km")
READ = ["family", "label", "supervision", "dataset", "prompt", "probe", "cluster", "tower", "pooling", "target", "cv"]
READ += ["control", *CURVE]
CELL_DEGREES = 4
SOUTH_WEST = np.array([-90.0, -180.0])


def encode(values, kind):
    """Base64 of numbers, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


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


def chosen_predictions(file, row, folds, cluster, target, cv, poolings):
    """Held-out predictions by the layer that was chosen in each fold.

    Args:
        file: open file of fits.
        row: of the choices of one model: tower and layers, in words.
        folds: fold in which each member of the cluster was tested, shape (n,).
        cluster, target, cv: names.
        poolings: names, the preferred first.

    Returns:
        Latitude and longitude in degrees, shape (n, 2), not a number where an image was not tested; None where nothing
        was fitted.
    """
    fits = []
    for word in row["layers"].split(", ") if isinstance(row["layers"], str) else []:
        *tower, layer = word.split()  # "3", or "text 11" where folds differ in their tower
        fit = None
        if layer != UNCHOSEN:
            [tower] = tower or [row["tower"]]
            pooling = next(name for name in poolings if name in file[tower])
            fit = file.get(f"{tower}/{pooling}/{layer}/{cluster}/{target}/{cv}/none")
        fits.append(fit)
    fitted = {fit.name: fit for fit in fits if fit is not None}
    if not fitted:
        return None
    read = {name: fit["predictions"][:].astype(np.float64) for name, fit in fitted.items()}
    if len(read) == 1 and None not in fits:
        [predicted] = read.values()
    else:
        numbers = next(iter(fitted.values()))["folds"][:]
        predicted = np.full(next(iter(read.values())).shape, np.nan)
        for number, fit in zip(numbers, fits, strict=True):
            if fit is not None:
                predicted[folds == number] = read[fit.name][folds == number]
    at = np.full((len(predicted), 2), np.nan)
    tested = np.isfinite(predicted).all(axis=1)
    if tested.any():
        at[tested] = to_positions(predicted[tested], target)
    return at


def aggregate(truth, at):
    """Median error of the images in each equal-angle cell.

    Args:
        truth, at: true and predicted latitude and longitude in degrees, shape (n, 2); untested images are left out.

    Returns:
        A list of [latitude and longitude of the cell's centre in degrees, median error in km, images].
    """
    tested = np.isfinite(at).all(axis=1)
    truth, at = truth[tested], at[tested]
    cells = np.floor((truth - SOUTH_WEST) / CELL_DEGREES).astype(int)
    frame = pd.DataFrame({"y": cells[:, 0], "x": cells[:, 1], "km": great_circle_km(truth, at)})
    found = frame.groupby(["y", "x"])["km"].agg(["median", "size"]).reset_index()
    centres = (found[["y", "x"]].to_numpy() + 0.5) * CELL_DEGREES + SOUTH_WEST
    return [
        [*map(plain, centre), plain(km), int(size)]
        for centre, km, size in zip(centres, found["median"], found["size"], strict=True)
    ]


class Images:
    """Images of one data set of which something is shown: a sample of each cluster, with where they were taken."""

    def __init__(self, store, folds, clusters, options):
        self.store, self.options = store, options
        with h5py.File(store, "r") as file:
            self.truth = np.column_stack([file["latitudes"][:], file["longitudes"][:]])
            self.about = {name: str(file.attrs.get(name, "")) for name in ("attribution", "licence", "source")}
        self.folds = pd.read_parquet(folds)
        self.names = {ALL: "All images"} | dict(zip(clusters["cluster"], clusters["name"].astype(str), strict=True))
        self.members, self.sampled = {}, {}

    def sample(self, file, cluster):
        """Members of a cluster, rows of the store, and which of them are shown, both rising."""
        if cluster not in self.members:
            self.members[cluster] = members = file[f"rows/{cluster}"][:]
            most = self.options["points"]
            generator = np.random.default_rng([len(self.members), len(members)])
            shown = np.arange(len(members))
            if len(members) > most:
                shown = np.sort(generator.choice(len(members), most, replace=False))
            self.sampled[cluster] = shown
        return self.members[cluster], self.sampled[cluster]

    def describe(self, share):
        """What the page needs of the images; `share` of the thumbnails are of this data set."""
        shown = {cluster: self.members[cluster][rows] for cluster, rows in self.sampled.items()}
        rows = np.unique(np.concatenate([np.empty(0, dtype=int), *shown.values()]))
        order = sorted(shown, key=lambda cluster: (cluster != ALL, len(cluster), cluster))
        content = {
            "about": self.about,
            "order": order,
            "truth": encode(self.truth[rows], "<f4"),
            "rows": encode(rows, "<u4"),
            "clusters": {
                cluster: {
                    "name": self.names.get(cluster, cluster),
                    "images": len(self.members[cluster]),
                    "points": encode(np.searchsorted(rows, own), "<u4"),
                }
                for cluster, own in shown.items()
            },
            "ids": None,
            "thumbnails": {},
        }
        if self.options["thumbnails"]:
            with h5py.File(self.store, "r") as file:
                content["ids"] = [str(name) for name in file["ids"].asstr()[:][rows]]
            content["thumbnails"] = self.thumbnails(rows, share)
        return content

    def thumbnails(self, rows, share):
        """Small JPEG files of a random part of the rows, by their number among them, with author and licence."""
        most = min(len(rows), int(self.options["most"] * share))
        left = self.options["megabytes"] * 1e6 * share
        found = {}
        with h5py.File(self.store, "r") as file:
            credits = [name for name in ("authors", "licences") if name in file]
            for number in np.random.default_rng(len(rows)).choice(len(rows), most, replace=False).tolist():
                picture, buffer = decode_image(file["images"][rows[number]].tobytes()), io.BytesIO()
                picture.thumbnail((self.options["edge"], self.options["edge"]))
                picture.save(buffer, "JPEG", quality=80)
                entry = {"jpeg": base64.b64encode(buffer.getvalue()).decode()}
                entry |= {name: file[name].asstr()[rows[number]] for name in credits}
                left -= sum(map(len, entry.values()))
                if left < 0:
                    break
                found[number] = entry
        return found


class Maps:
    """Predictions of models, each kept once though several views show it."""

    def __init__(self, files, images, target, poolings, choice):
        self.files, self.images, self.target, self.poolings, self.choice = files, images, target, poolings, choice
        self.numbers, self.made, self.choices = {}, [], {}

    def find(self, job, cluster, cv, tower):
        """Number of a map among those made; None where nothing was fitted."""
        key = (job, cluster, cv, tower)
        if key not in self.numbers:
            made = self._make(*key)
            self.numbers[key] = None if made is None else len(self.made)
            self.made += [] if made is None else [made]
        return self.numbers[key]

    def _make(self, job, cluster, cv, tower):
        fits, choices = self.files[job]
        if job not in self.choices:
            table = pd.read_parquet(choices)
            chosen = (table["choice"] == self.choice) & (table["target"] == self.target) & (table["control"] == "none")
            self.choices[job] = table[chosen]
        table = self.choices[job]
        table = table[(table["cluster"] == cluster) & (table["cv"] == cv)]
        if self.choice == "depth":
            table = table[table["tower"] == tower]
        if table.empty:
            return None
        images, row = self.images[job[0]], table.iloc[0]
        with h5py.File(fits, "r") as file:
            members, shown = images.sample(file, cluster)
            folds = images.folds[cv].to_numpy()[members]
            at = chosen_predictions(file, row, folds, cluster, self.target, cv, self.poolings)
        if at is None:
            return None
        made = {"model": job[1], "layers": row["layers"], "at": encode(at[shown], "<f4"), "cells": None}
        if len(members) > len(shown):
            made["cells"] = aggregate(images.truth[members], at)
        return made


def _model(row, of_family, curves, maps, model, metrics):
    """One row of the heatmap: its scores, curves and maps by cluster."""
    job = (row["dataset"], model, row["prompt"], row["probe"])
    return {
        "label": row["label"],
        "supervision": row["supervision"],
        "cells": {
            own["cluster"]: {name: plain(own[name]) for name in (*metrics, *CELL)}
            for own in of_family.to_dict("records")
        },
        "curves": {
            cluster: [
                {"tower": tower} | {name: [plain(value) for value in part[name]] for name in CURVE}
                for tower, part in own.sort_values("layer").groupby("tower")
            ]
            for cluster, own in curves.groupby("cluster")
        },
        "maps": {
            own["cluster"]: maps.find(job, own["cluster"], own["cv"], own["tower"])
            for own in of_family.to_dict("records")
        },
    }


def prepare(paths, stores, jobs, models, shown, options):
    """Everything that the page shows.

    Args:
        paths: choices and families, paths of the summaries.
        stores: data set to paths of its image store, folds and clusters (table with cluster and name).
        jobs: (data set, model, prompt, probe) to paths of fits and of the choices of that model.
        models: model to its family.
        shown: prompts of the run, poolings, target and choice, and the cross-validation that comes first.
        options: `explorer` of the configuration.

    Returns:
        A dict of plain values: what made it, metrics, images by data set, maps, coastlines, and views, one a data set,
        probe, prompt and cross-validation.
    """
    first = {}
    for model, family in models.items():
        first.setdefault(family, model)  # of the seeds of an encoder the map shows the first
    images = {
        name: Images(store, folds, pd.read_csv(clusters, dtype={"cluster": str}), options)
        for name, (store, folds, clusters) in stores.items()
    }
    maps = Maps(jobs, images, shown["target"], shown["poolings"], shown["choice"])
    choices = read_summary(paths["choices"])
    choices = choices[choices["dataset"].isin(stores) & (choices["target"] == shown["target"])]
    choices = choices[choices["control"] == "none"]
    metrics = {name: label for name, label in METRICS.items() if name in choices}
    families = read_curves(paths["families"], shown["target"], shown["poolings"])
    views = []
    conditions = choices[["dataset", "probe", "cv"]].drop_duplicates().to_dict("records")
    conditions.sort(key=lambda condition: condition["cv"] != shown["cv"])
    for condition, prompt in itertools.product(conditions, shown["prompts"]):
        prompts = list(dict.fromkeys([prompt, "none"]))  # a model without text input has no other
        chosen = chosen_rows(choices, prompts, shown["choice"], **condition)
        layers = headline_rows(families, prompts, shown["poolings"], **condition)
        rows = []
        for (family, _), own in chosen.groupby(["family", "label"], sort=False):
            row = own.iloc[0]
            curves = layers[layers["origin"] == row["origin"]]
            if shown["choice"] == "depth":
                curves = curves[curves["tower"] == row["tower"]]
            rows.append(_model(row, own, curves, maps, first[row["origin"]], metrics) | {"family": family})
        views.append({**condition, "prompt": prompt, "models": rows})
    return {
        "made": provenance(),
        "metrics": metrics,
        "choice": shown["choice"],
        "target": shown["target"],
        "cellDegrees": CELL_DEGREES,
        "points": options["points"],
        "pictures": options["thumbnails"],
        "images": {name: of.describe(1 / len(images)) for name, of in images.items()},
        "maps": maps.made,
        "coastlines": [np.round(line, 2).tolist() for line in load_coastlines()],
        "views": views,
    }

"""Images and predictions of the explorer: samples, thumbnails, held-out positions, errors by cell."""

import base64
import io

import h5py
import numpy as np
import pandas as pd

from geoprobe.analysis.selection import UNCHOSEN
from geoprobe.geodesy import great_circle_km
from geoprobe.images.store import decode_image
from geoprobe.probes.labels import ALL, join_on_ids, open_fits
from geoprobe.probes.metrics import to_positions

CELL_DEGREES = 4
COLUMNS = 360 // CELL_DEGREES  # cells beside each other
SOUTH_WEST = np.array([-90.0, -180.0])


def encode(values, kind):
    """Base64 of numbers, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


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
        A frame of cell (COLUMNS of them from west to east, rows of these from south to north), median error in whole
        kilometres and number of images.
    """
    tested = np.isfinite(at).all(axis=1)
    truth, at = truth[tested], at[tested]
    y, x = np.floor((truth - SOUTH_WEST) / CELL_DEGREES).astype(int).T
    y, x = np.minimum(y, 180 // CELL_DEGREES - 1), x % COLUMNS
    frame = pd.DataFrame({"cell": y * COLUMNS + x, "km": great_circle_km(truth, at)})
    found = frame.groupby("cell")["km"].agg(km="median", images="size").reset_index()
    return found.assign(km=found["km"].round().astype(int))


class Images:
    """Images of one data set of which something is shown: a sample of each cluster, with where they were taken."""

    def __init__(self, store, folds, clusters, options, points):
        self.store, self.options, self.points = store, options, points
        with h5py.File(store, "r") as file:
            self.truth = np.column_stack([file["latitudes"][:], file["longitudes"][:]])
            self.ids = file["ids"].asstr()[:]
            self.about = {name: str(file.attrs.get(name, "")) for name in ("attribution", "licence", "source")}
        self.folds = join_on_ids(self.ids, pd.read_parquet(folds), folds)
        self.names = {ALL: "All images"} | dict(zip(clusters["cluster"], clusters["name"].astype(str), strict=True))
        self.members, self.sampled = {}, {}

    def sample(self, file, cluster):
        """Members of a cluster, rows of the store, and which of them are shown, both rising."""
        if cluster not in self.members:
            self.members[cluster] = members = file[f"rows/{cluster}"][:]
            most = self.points
            generator = np.random.default_rng([len(self.members), len(members)])
            shown = np.arange(len(members))
            if len(members) > most:
                shown = np.sort(generator.choice(len(members), most, replace=False))
            self.sampled[cluster] = shown
        return self.members[cluster], self.sampled[cluster]

    def shown(self):
        """Rows of the store of which something is shown, rising."""
        own = (self.members[cluster][rows] for cluster, rows in self.sampled.items())
        return np.unique(np.concatenate([np.empty(0, dtype=int), *own]))

    def describe(self, tested):
        """What the page needs of the images, without thumbnails.

        Args:
            tested: cluster to the number of its images that were tested; some of these clusters may have no map.
        """
        rows = self.shown()
        own = {cluster: self.members[cluster][drawn] for cluster, drawn in self.sampled.items()}
        order = sorted(tested, key=lambda cluster: (cluster != ALL, len(cluster), cluster))
        content = {
            "about": self.about,
            "order": order,
            "truth": encode(self.truth[rows], "<f4"),
            "rows": encode(rows, "<u4"),
            "clusters": {
                cluster: {
                    "name": self.names.get(cluster, cluster),
                    "images": len(self.members.get(cluster, range(tested[cluster]))),
                    "drawn": len(own.get(cluster, ())),
                    "points": encode(np.searchsorted(rows, own.get(cluster, [])), "<u4"),
                }
                for cluster in order
            },
            "ids": None,
            "thumbnails": {},
        }
        if self.options["thumbnails"]:
            content["ids"] = [str(name) for name in self.ids[rows]]
        return content

    def thumbnails(self, most, left):
        """Small JPEG files of a random part of what is shown, by their number among it, with author and licence.

        Args:
            most: how many at most.
            left: bytes that they may take.
        """
        rows, found = self.shown(), {}
        most = min(len(rows), most)
        with h5py.File(self.store, "r") as file:
            credits = [name for name in ("authors", "licences") if name in file]
            for number in np.random.default_rng(len(rows)).choice(len(rows), most, replace=False).tolist():
                picture, buffer = decode_image(file["images"][rows[number]].tobytes()), io.BytesIO()
                picture.thumbnail((self.options["edge"], self.options["edge"]))
                picture.save(buffer, "JPEG", quality=80)
                entry = {"jpeg": base64.b64encode(buffer.getvalue()).decode()}
                entry |= {name: file[name].asstr()[rows[number]] for name in credits}
                left -= sum(len(text.encode()) + 20 for text in entry.values())  # with its key
                if left < 0:
                    break
                found[number] = entry
        return found


class Maps:
    """Predictions of models, each kept once though several views show it."""

    def __init__(self, files, images, target, poolings, choice):
        self.files, self.images, self.target, self.poolings, self.choice = files, images, target, poolings, choice
        self.numbers, self.made, self.choices, self.opened = {}, [], {}, set()

    def find(self, job, cluster, cv, tower):
        """Number of a map among those made; None where nothing was fitted."""
        key = (job, cluster, cv, tower)
        if key not in self.numbers:
            made = self._make(*key)
            self.numbers[key] = None if made is None else len(self.made)
            self.made += [] if made is None else [made]
        return self.numbers[key]

    def _open(self, job):
        """Fits of a job, which are seen to be of the data set's images when they are opened for the first time."""
        fits = self.files[job][0]
        if job in self.opened:
            return h5py.File(fits, "r")
        self.opened.add(job)
        return open_fits(fits, self.images[job[0]].ids)

    def _make(self, job, cluster, cv, tower):
        choices = self.files[job][1]
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
        with self._open(job) as file:
            members, shown = images.sample(file, cluster)
            folds = images.folds[cv].to_numpy()[members]
            at = chosen_predictions(file, row, folds, cluster, self.target, cv, self.poolings)
        if at is None:
            return None
        made = {"model": job[1], "layers": row["layers"], "at": encode(at[shown], "<f4"), "cells": None}
        if len(members) > images.options["points"]:
            cells = aggregate(images.truth[members], at)
            made["cells"] = {
                name: encode(cells[name], kind) for name, kind in zip(cells, ("<u2", "<u2", "<u4"), strict=True)
            }
        return made

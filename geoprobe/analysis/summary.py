"""Summary of one probe of one model: R2 pooled over the held-out folds, of every layer and of chosen layers.

Each number has an interval over geographic units, and its resamples are kept for what is compared later: all models
are resampled by the same draws.
"""

from functools import lru_cache

import h5py
import numpy as np
import pandas as pd

from geoprobe.analysis.bootstrap import draw_weights, interval, resampled_r2, resampled_squares, unit_sums
from geoprobe.analysis.families import CHOICE_WHERE, WHERE
from geoprobe.analysis.selection import NO_LAYER, choose, describe, list_candidates
from geoprobe.geodesy import great_circle_km
from geoprobe.probes.folds import unit_of
from geoprobe.probes.labels import join_on_ids
from geoprobe.probes.metrics import METRICS, make_target, r2, score_positions, to_positions

OF_JOB = ("dataset", "prompt", "probe")
TRUTH = ["cluster", "target", "cv"]
CONDITION = [*TRUTH, "control"]
PLACE = ["tower", "pooling", "layer"]
NUMBERS = ("r2", "low", "high", "r2_latitude", "r2_longitude", "r2_folds", "median_km", "r2_inner", "alpha_at_border")
# The other metrics of the probe table; of chosen layers, on the true labels, they are of all held-out predictions too.
FURTHER = tuple(name for name in METRICS if name not in NUMBERS)
# What the folds of the probe table say of a row: columns here and there.
OF_FOLDS = {"r2_folds": "r2", "r2_inner": "r2_inner", "alpha_at_border": "alpha_at_border"}
# Why there is no R2 though the probe table states nothing.
NO_VARIANCE = "the held-out images are all at one place"
UNKNOWN = {"inner": "no layer has an R² on inner folds", "maximum": "no layer has an R² on a test fold"}


class Scorer:
    """Scores predictions of one truth, and resamples all of them together.

    Args:
        labels: positions that were regressed, degrees, shape (n, 2).
        target: degrees, sphere or circular.
        units: unit of each image, shape (n,).
        weights_of: a function of a number of units that gives their draws, shape (resamples, units).
    """

    def __init__(self, labels, target, units, weights_of):
        self.resamples = len(weights_of(1))
        self.labels, self.target, self.units, self.weights_of = labels, target, units, weights_of
        self.truth = make_target(labels, target)
        self.groups, self.added = {}, 0  # what was tested on the same images goes through one product

    def add(self, predicted):
        """Score predictions, shape (n, k), not a number where an image was not tested; their numbers but for low and
        high. Where no image was tested there are none, and images and blocks are 0."""
        tested = np.isfinite(predicted).all(axis=1)
        key = tested.tobytes()
        if key not in self.groups:
            numbers, index = np.unique(self.units[tested], return_inverse=True)
            self.groups[key] = {"units": len(numbers), "index": index, "tested": tested, "members": [], "errors": []}
        group = self.groups[key]
        group["members"].append(self.added)
        self.added += 1
        sizes = {"images": int(tested.sum()), "blocks": group["units"]}
        if not sizes["images"]:
            return sizes
        truth, predicted, labels = self.truth[tested], predicted[tested], self.labels[tested]
        group["errors"].append(unit_sums((truth - predicted) ** 2, group["index"], group["units"]))
        at = to_positions(predicted, self.target)
        latitude, longitude = r2(labels, predicted if self.target == "degrees" else at)
        return sizes | {
            "r2": float(r2(truth, predicted).mean()),
            "r2_latitude": float(latitude),
            "r2_longitude": float(longitude),
            "median_km": float(np.median(great_circle_km(labels, at))),
        }

    def further(self, predicted):
        """FURTHER metrics of predictions, see :meth:`add`."""
        tested = np.isfinite(predicted).all(axis=1)
        if not tested.any():
            return {}
        scores = score_positions(self.labels[tested], predicted[tested], self.target)
        return {name: scores[name] for name in FURTHER}

    def resample(self):
        """Resampled R2 of all that was added, shape (added, resamples), in its order."""
        samples = np.full((self.added, self.resamples), np.nan)
        for group in self.groups.values():
            if group["units"]:
                weights = self.weights_of(group["units"])
                squares = resampled_squares(self.truth[group["tested"]], group["index"], weights)
                samples[group["members"]] = resampled_r2(squares, np.stack(group["errors"]), weights)
        return samples


class ProbeTable:
    """The probe table of one model as arrays: a row a combination of WHERE and a column a fold."""

    def __init__(self, path):
        table = pd.read_parquet(path)
        self.model = table["model"].iloc[0]
        grouped = table.groupby(WHERE, sort=False)
        self.rows = table[WHERE].drop_duplicates(ignore_index=True)
        true = self.rows[self.rows["control"] == "none"]
        # by condition and place, the row that was fitted on the true labels
        self.true = dict(zip(true[[*TRUTH, *PLACE]].itertuples(index=False, name=None), true.index, strict=True))
        self.folds = np.unique(table["fold"][table["fold"] >= 0])
        row, fold = grouped.ngroup().to_numpy(), table["fold"].to_numpy()
        there = fold >= 0
        self.fitted_in = np.zeros((len(self.rows), len(self.folds)), dtype=bool)  # folds that a row has at all
        self.fitted_in[row[there], np.searchsorted(self.folds, fold[there])] = True
        self.by_fold = {}
        for name, column in OF_FOLDS.items():
            values = np.full((len(self.rows), len(self.folds)), np.nan)
            values[row[there], np.searchsorted(self.folds, fold[there])] = (
                table[column].astype("Float64").to_numpy(dtype=float, na_value=np.nan)[there]
            )
            self.by_fold[name] = values
        stated = table["reason"].fillna("").to_numpy()
        self.reasons = [""] * len(self.rows)
        for index in np.flatnonzero(stated != "")[::-1]:  # the first one is written last
            self.reasons[row[index]] = stated[index]

    def means(self, rows, folds=slice(None)):
        """Means over folds of what the probe table says: of one row, or of the row that stands for each fold."""
        means = {}
        for name, values in self.by_fold.items():
            own = values[rows, folds]
            own = own[np.isfinite(own)]
            means[name] = float(own.mean()) if len(own) else float("nan")
        return means


def _reason(entry, stated, otherwise):
    """Why a row has no R2: what the probe table states first, or words of ours; nothing where it has one."""
    if np.isfinite(entry.get("r2", np.nan)):
        return ""
    if entry["images"]:
        return NO_VARIANCE
    return next(filter(None, stated), otherwise)


def summarise_condition(file, images, table, part, candidates, depth, weights_of):
    """Summarise all layers, and the layers chosen from them, under one cluster, target, cross-validation and control.

    Args:
        file: open fits.
        images: folds table in the order of the image store.
        table: :class:`ProbeTable`.
        part: the condition's rows of `table.rows`.
        candidates: of :func:`geoprobe.analysis.selection.list_candidates`.
        depth: see :func:`geoprobe.analysis.selection.choose_depth`.
        weights_of: see :class:`Scorer`.

    Returns:
        Dicts of the rows, dicts of the choices, and the resampled R2 of both, shape (rows + choices, resamples).
    """
    cluster, target, cv, control = part.iloc[0][CONDITION]
    members = file[f"rows/{cluster}"][:]
    units, tested_in = (images[name].to_numpy()[members] for name in (unit_of(cv), cv))
    scorer = Scorer(file[f"labels/{cluster}/{control}"][:], target, units, weights_of)
    places = list(part[PLACE].itertuples(index=False, name=None))
    own = part.index[[places.index(candidate) for candidate in candidates]].to_numpy()
    columns = np.flatnonzero(table.fitted_in[own].any(axis=0))
    # a control is scored on the layers that the true labels chose, so that it is the same fit on other labels
    true = np.array(
        [table.true.get((cluster, target, cv, *place), row) for place, row in zip(candidates, own, strict=True)]
    )
    inner, test = (table.by_fold[name][true][:, columns] for name in ("r2_inner", "r2_folds"))
    choices = choose(candidates, inner, test, depth)
    # a layer's predictions are read once, and only those that a choice is made of are kept
    assembled = [np.full(scorer.truth.shape, np.nan) for _ in choices]
    scored = []
    for row, place in zip(part.index, places, strict=True):
        group = "/".join(map(str, (*(place), cluster, target, cv, control)))
        if group in file:
            predicted = file[f"{group}/predictions"][:].astype(np.float64)
        else:  # the data set cannot have this cross-validation; the probe table states why
            predicted = np.full(scorer.truth.shape, np.nan)
        entry = scorer.add(predicted) | table.means(row)
        scored.append(entry | {"reason": _reason(entry, [table.reasons[row]], "")})
        for (_, _, picks), kept in zip(choices, assembled, strict=True):
            chosen = np.isin(tested_in, table.folds[columns][(picks != NO_LAYER) & (own[picks] == row)])
            kept[chosen] = predicted[chosen]
    pooling_of = {tower: pooling for tower, pooling, _ in candidates}
    for (choice, tower, picks), kept in zip(choices, assembled, strict=True):
        has = picks != NO_LAYER
        entry = scorer.add(kept) | table.means(own[picks[has]], columns[has])
        entry |= scorer.further(kept) if control == "none" else {}
        reason = _reason(entry, [table.reasons[row] for row in own], UNKNOWN.get(choice, ""))
        words = describe(candidates, picks)
        if tower:
            words |= {"tower": tower, "pooling": pooling_of[tower]}
        scored.append({"choice": choice, **words, **entry, "reason": reason})
    samples = scorer.resample()
    for entry, drawn in zip(scored, samples, strict=True):
        entry["low"], entry["high"] = interval(drawn)
    return scored[: len(part)], scored[len(part) :], samples


def summarise_probe(folds, scores, fits, poolings, depth, resamples, seed, output):
    """Summarise one probe of one model.

    Args:
        folds: Parquet table with id, the cross-validations, block and country.
        scores: probe table (Parquet).
        fits: the HDF5 file beside it.
        poolings: names, the preferred first; a choice is made among the layers of each tower's first one.
        depth: share of a tower's depth at which the choice "depth" is made, 0 to 1.
        resamples: bootstrap resamples of the units.
        seed: of the resamples.
        output: open HDF5 file (or group); the resampled R2 is written to it as float32, `scores` and `choices`, shape
            (rows, resamples), in the order of the two frames.

    Returns:
        Two frames. Scores, a row for each combination of WHERE: model, images, blocks (units), r2, r2_latitude,
        r2_longitude (of all held-out predictions together), r2_folds (mean over folds, as the paper), median_km,
        r2_inner (mean over folds), alpha_at_border (share of folds), low, high, and the reason where there is no R2.
        Choices, a row for each condition and choice: the same with the tower, pooling and layers that were chosen;
        each fold's images are predicted by the layer chosen for that fold. They also have the FURTHER metrics of the
        probe table, on the true labels.

    Raises:
        ValueError: no tower has any of the poolings, or the folds are of other images.
    """
    table = ProbeTable(scores)
    layers = list(table.rows[["tower", "pooling", "layer"]].drop_duplicates().itertuples(index=False, name=None))
    candidates = list_candidates(layers, poolings, table.model)
    # the last few: one of each unit that a cluster is resampled by
    weights_of = lru_cache(maxsize=4)(lambda units: draw_weights(units, resamples, seed))
    scored, chosen, drawn = [None] * len(table.rows), [], []
    written = output.create_dataset("scores", (len(table.rows), resamples), dtype="float32")
    with h5py.File(fits, "r") as file:
        images = join_on_ids(file["ids"].asstr()[:], pd.read_parquet(folds), folds)
        for key, part in table.rows.groupby(CONDITION, sort=False):
            of_rows, of_choices, samples = summarise_condition(file, images, table, part, candidates, depth, weights_of)
            for row, entry, values in zip(part.index, of_rows, samples, strict=False):
                scored[row] = entry
                written[row] = values
            common = dict(zip(CONDITION, key, strict=True)) | dict(part.iloc[0][list(OF_JOB)])
            chosen += [common | entry for entry in of_choices]
            drawn.append(samples[len(part) :].astype(np.float32))
    output.create_dataset("choices", data=np.concatenate(drawn))
    values = ["images", "blocks", *NUMBERS, "reason"]
    scores_frame = pd.concat([table.rows, pd.DataFrame(scored).reindex(columns=values)], axis=1)
    columns = [*CHOICE_WHERE, "tower", "pooling", "layers", *values[:-1], *FURTHER, "reason"]
    choices_frame = pd.DataFrame(chosen).reindex(columns=columns)
    for frame in (scores_frame, choices_frame):
        frame.insert(0, "model", table.model)
    return scores_frame, choices_frame

"""Fit a probe on every layer of one model: in every cluster, fold and control, for every target.

Layers are fitted in turn, each into a part of its own beside the output, so that a killed job goes on with the layer
that it was at.
"""

import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from tqdm import tqdm

from geoprobe.features.reading import open_layers
from geoprobe.features.store import list_layers
from geoprobe.images.store import read_columns, read_positions
from geoprobe.probes import ridge
from geoprobe.probes.folds import Split
from geoprobe.probes.labels import cluster_rows, control_positions, join_on_ids
from geoprobe.probes.metrics import METRICS, make_target, score_positions
from geoprobe.runtime import provenance, replacing

KEYS = ("cluster", "tower", "layer", "pooling", "target", "cv", "control")
SIZES = ("fold", "n_train", "n_test")
CHOSEN = ("alpha", "alpha_at_border", "ill_conditioned", "r2_inner")
# What a fit leaves in the file of fits, by its name there; an MLP has no coefficients.
ARRAYS = {
    "ridge": ("predictions", "folds", "coefficients", "intercepts", "alphas"),
    "mlp": ("predictions", "folds"),
}


def fit_layer(chunks, splits, targets, options):
    """Fit the probe of one layer in one cluster, for all cross-validations and labels at once.

    Args:
        chunks: see :func:`geoprobe.probes.ridge.fit_folds`.
        splits: of :class:`geoprobe.probes.folds.Split`.
        targets: arrays, shape (n, k_j).
        options: of the probe.

    Returns:
        By split, by target, the fit of all folds.
    """
    if options["kind"] == "ridge":
        grid = options["alphas"]
        alphas = np.logspace(grid["low"], grid["high"], grid["count"])
        names = ("penalty", "per_column", "standardise", "device")
        return ridge.fit_folds(chunks, targets, splits, alphas, **{name: options[name] for name in names})
    from geoprobe.probes import mlp  # takes seconds to load

    parts = list(chunks())
    features = np.empty((len(splits[0].folds), parts[0][1].shape[1]), dtype=np.float32)
    for positions, values in parts:
        features[positions] = values
    names = (
        "hidden",
        "learning_rate",
        "alpha",
        "max_iter",
        "batch_size",
        "validation_fraction",
        "patience",
        "tolerance",
    )
    own = {name: options[name] for name in names}
    return mlp.fit_folds(features, targets, splits, own, options["seed"], options["device"])


def score_fit(fit, split, labels, target):
    """Rows of the probe table of one fit, a dict a fold.

    Args:
        fit: of all folds.
        split: the folds.
        labels: positions that were regressed, degrees, shape (n, 2).
        target: name.
    """
    rows = []
    for index, fold in enumerate(fit.folds):
        row = {"fold": int(fold), "n_train": int(fit.n_train[index]), "n_test": int(fit.n_test[index])}
        row["reason"] = fit.reasons[index]
        if not row["reason"]:
            test = split.tested(fold)
            row["r2_inner"] = float(fit.r2_inner[index])
            if hasattr(fit, "alphas"):
                row["alpha"] = float(fit.alphas[index, 0])
                row["alpha_at_border"] = bool(fit.at_border[index])
                row["ill_conditioned"] = bool(fit.ill_conditioned[index])
            row |= score_positions(labels[test], fit.predictions[test], target)
        rows.append(row)
    return rows


def chosen_layers(layers, options):
    """Those of a store's (tower, pooling, layer) that a probe is fitted on.

    Args:
        layers: of the store.
        options: `poolings` (all, or names of which the first that a tower has counts), `layers` (all, last).

    Raises:
        ValueError: the store has none of the probe's poolings; names them.
    """
    if options["poolings"] != "all":
        has = {tower: {pooling for name, pooling, _ in layers if name == tower} for tower, _, _ in layers}
        first = {tower: next((name for name in options["poolings"] if name in has[tower]), None) for tower in has}
        if not any(first.values()):
            raise ValueError(
                f"the features have the poolings {', '.join(sorted(set().union(*has.values())))}, and the probe is to "
                f"be fitted on {', '.join(options['poolings'])}; change the probe's poolings or features.poolings"
            )
        layers = [where for where in layers if where[1] == first[where[0]]]
    if options["layers"] == "last":
        last = {(tower, pooling): layer for tower, pooling, layer in sorted(layers)}
        layers = [(tower, pooling, layer) for (tower, pooling), layer in last.items()]
    return layers


class Problem:
    """What every layer of a model is fitted to: the rows, splits and labels of each cluster.

    Attributes:
        ids: of the data set's images.
        rows: cluster to row numbers, shape (n,).
        splits: cluster to cross-validation to Split.
        labels: cluster to control to positions in degrees, shape (n, 2).
        impossible: cross-validation to why the data set cannot have it.
    """

    def __init__(self, store, clusters, folds, options):
        positions, self.ids = read_positions(store)
        cells = read_columns(store)["geocells"]
        assigned = join_on_ids(self.ids, pd.read_parquet(clusters), clusters)["cluster"].to_numpy()
        table = join_on_ids(self.ids, pd.read_parquet(folds), folds)
        self.impossible = {
            cv: reason for cv, reason in table.attrs.get("impossible", {}).items() if cv in options["cv"]
        }
        self.rows = cluster_rows(assigned)
        self.splits, self.labels = {}, {}
        for cluster, rows in self.rows.items():
            self.splits[cluster] = {
                cv: Split(
                    table[cv].to_numpy()[rows],
                    table[f"{cv}_near"].to_numpy()[rows] if f"{cv}_near" in table else None,
                )
                for cv in options["cv"]
                if cv not in self.impossible
            }
            self.labels[cluster] = {
                control: control_positions(positions, rows, control, options["seed"], cells)
                for control in options["controls"]
            }


def fit_part(path, key, where, layer_rows, problem, options, progress):
    """Fit one layer in every cluster and write it to a file that appears when it is whole.

    It holds /fits/<cluster>/<target>/<cv>/<control>/, /deviations/<cluster>, and as JSON its rows of the probe table.

    Args:
        path: HDF5 file to write.
        key: of :func:`part_key`.
        where: tower, pooling, layer.
        layer_rows: of :func:`geoprobe.features.reading.open_layers`.
        problem: a :class:`Problem`.
        options: of the probe.
        progress: bar to be moved by one a cluster.
    """
    source = layer_rows(*where)
    tower, pooling, layer = where
    pairs = [(control, target) for control in options["controls"] for target in options["targets"]]
    table = []
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for cluster, rows in problem.rows.items():
            labels, splits = problem.labels[cluster], problem.splits[cluster]
            chunks = source.chunks(rows)
            place = {"cluster": cluster, "tower": tower, "layer": layer, "pooling": pooling}
            impossible = problem.impossible | {
                cv: "no image of the cluster is in a fold" for cv, split in splits.items() if not len(split.numbers)
            }
            table += [
                {**place, "target": target, "cv": cv, "control": control, "fold": -1, "reason": reason}
                for cv, reason in impossible.items()
                for control, target in pairs
            ]
            file[f"deviations/{cluster}"] = deviations(chunks).astype(np.float32)
            targets = [make_target(labels[control], target) for control, target in pairs]
            fits = fit_layer(chunks, list(splits.values()), targets, options) if splits else []
            for cv, of_split in zip(splits, fits, strict=True):
                for (control, target), fit in zip(pairs, of_split, strict=True):
                    keys = {**place, "target": target, "cv": cv, "control": control}
                    scores = score_fit(fit, splits[cv], labels[control], target)
                    table += [{**keys, **row} for row in scores]
                    within = file.create_group(f"fits/{cluster}/{target}/{cv}/{control}")
                    for name in ARRAYS[options["kind"]]:
                        array = np.asarray(getattr(fit, name))
                        within[name] = array.astype(np.float32) if name not in ("folds", "alphas") else array
            progress.update()
        file["table"] = json.dumps(table)
        file.attrs["key"] = key


def deviations(chunks):
    """Standard deviation of each feature over all rows, shape (d,), in one pass (Chan, Golub and LeVeque 1983)."""
    count, mean, squares = 0, 0.0, 0.0
    for positions, values in chunks():
        values = values.astype(np.float64)
        n, own = len(positions), values.mean(axis=0)
        off = own - mean
        squares = squares + ((values - own) ** 2).sum(axis=0) + off**2 * (count * n / (count + n))
        mean = mean + off * (n / (count + n))
        count += n
    return np.sqrt(squares / count)


def part_key(store, features, clusters, folds, names, options, code):
    """Changes with all that decides about the numbers of a layer."""
    digest = hashlib.sha256(json.dumps([names, options, code], sort_keys=True).encode())
    for path in (clusters, folds):
        digest.update(Path(path).read_bytes())
    for path in (store, features):
        with h5py.File(path, "r") as file:
            digest.update(repr(sorted((name, str(value)) for name, value in file.attrs.items())).encode())
    return digest.hexdigest()


def is_part(path, key):
    """Whether a file is a whole part of this making."""
    if not path.is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get("key") == key
    except OSError:
        return False


def fit_all(store, features, clusters, folds, fits_path, scores_path, names, options, budget=2**30, code=""):
    """Fit one probe on all that a feature store holds, and write the probe table and the fits.

    Args:
        store: image store.
        features: feature store.
        clusters: Parquet table with id and cluster.
        folds: Parquet table of :func:`geoprobe.probes.folds.assign_folds`.
        fits_path: HDF5 file to write: /<tower>/<pooling>/<layer>/<cluster>/<target>/<cv>/<control>/ with held-out
            predictions (n, k), fold numbers and, of a ridge, coefficients (folds, d, k), intercepts (folds, k) and
            alphas (folds, k); /rows/<cluster>; /labels/<cluster>/<control>; /deviations/...; ids. The group of a
            layer is there, and empty, where nothing could be fitted.
        scores_path: probe table (Parquet) to write.
        names: dataset, model, prompt and probe, the table's first columns.
        options: of the probe.
        budget: bytes up to which the features of a layer are held in memory.
        code: digest of the code; a part that other code made is not used.

    Raises:
        ValueError: stores and tables are not of the same images, or features are not finite.
    """
    problem = Problem(store, clusters, folds, options)
    layers = chosen_layers(list_layers(features), options)
    key = part_key(store, features, clusters, folds, names, options, code)
    folder = Path(fits_path).with_suffix(".parts")
    parts = {where: folder / f"{'-'.join(map(str, where))}.h5" for where in layers}
    missing = [where for where in layers if not is_part(parts[where], key)]
    if len(missing) < len(layers):
        print(f"resuming: {len(layers) - len(missing)} of {len(layers)} layers are there")
    with (
        open_layers(features, problem.ids, budget) as layer_rows,
        tqdm(total=len(missing) * len(problem.rows), unit="fit", desc=names["model"], mininterval=5) as progress,
    ):
        for where in missing:
            fit_part(parts[where], key, where, layer_rows, problem, options, progress)
    table = []
    with replacing(fits_path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("ids", data=problem.ids.astype(object), dtype=h5py.string_dtype())
        for cluster, rows in problem.rows.items():
            file[f"rows/{cluster}"] = rows
            for control, positions in problem.labels[cluster].items():
                file[f"labels/{cluster}/{control}"] = positions
        for where, path in parts.items():
            with h5py.File(path, "r") as part:
                table += json.loads(part["table"].asstr()[()])
                name = "/".join(map(str, where))
                part.copy("deviations", file, name=f"deviations/{name}")
                if "fits" in part:
                    part.copy("fits", file, name=name)
                else:  # the data set cannot have the folds asked for; readers find the layer, and no fit in it
                    file.create_group(name)
        for name, value in {**names, "kind": options["kind"], "options": json.dumps(options), **provenance()}.items():
            file.attrs[name] = value
    with replacing(scores_path) as temporary:
        probe_table(table, names, options).to_parquet(temporary, index=False)
    shutil.rmtree(folder)


def probe_table(rows, names, options):
    """The probe table of its rows; columns are there even where nothing could be fitted."""
    columns = [*names, *KEYS, *SIZES, *CHOSEN, *METRICS, "reason"]
    frame = pd.DataFrame(rows).assign(**names).reindex(columns=columns)
    for name in ("alpha_at_border", "ill_conditioned"):
        frame[name] = frame[name].astype("boolean")
    frame[["n_train", "n_test"]] = frame[["n_train", "n_test"]].fillna(0).astype("int64")
    frame.attrs = {**provenance(), "options": json.dumps(options)}
    return frame

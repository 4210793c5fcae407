"""Files of one small data set and one model, with fits that scikit-learn made."""

import json

import h5py
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from geoprobe.geodesy import to_sphere
from geoprobe.images.store import write_store

OPTIONS = {
    "kind": "ridge",
    "alphas": {"low": 0, "high": 0, "count": 1},
    "penalty": "leave-one-out",
    "per_column": True,
    "standardise": False,
    "device": "cpu",
}


class Files:
    """Image store, folds, features and fits of a data set; the fits are written by :meth:`fit`.

    Args:
        folder: to write to.
        positions: shape (n, 2), degrees.
        features: (tower, pooling, layer) to (n, d).
        clusters: shape (n,).
        folds: shape (n,): of the cross-validations random, blocked and buffered.
        blocks: shape (n,); by default an image is a block of its own.
        near: bit set of the folds that an image is near, under buffered; shape (n,), or 0 for none.
    """

    def __init__(
        self, folder, positions, features, clusters, folds, blocks=None, countries=None, geocells=None, near=0
    ):
        self.positions, self.features, self.folds = positions, features, np.asarray(folds)
        self.clusters = np.asarray(clusters)
        n = len(positions)
        self.near = np.zeros(n, dtype=np.int64) + near
        self.ids = [f"image {row}" for row in range(n)]
        self.blocks = np.arange(n) if blocks is None else np.asarray(blocks)
        self.store, self.stored_features = folder / "images.h5", folder / "features.h5"
        self.fold_table, self.fits = folder / "folds.parquet", folder / "fits.h5"
        columns = {"ids": self.ids, "latitudes": positions[:, 0], "longitudes": positions[:, 1], "groups": self.ids}
        columns["countries"] = ["France"] * n if countries is None else countries
        columns["geocells"] = [f"FR/region/{row}" for row in range(n)] if geocells is None else geocells
        write_store(self.store, [b"image"] * n, columns, {}, {})
        table = pd.DataFrame({"id": self.ids, "random": self.folds, "blocked": self.folds, "countries": -1})
        table["buffered"], table["buffered_near"] = self.folds, self.near
        table["block"], table["country"] = self.blocks, -1
        table.attrs["impossible"] = {"countries": "all images are of one country"}
        table.to_parquet(self.fold_table)
        with h5py.File(self.stored_features, "w") as file:
            file.create_dataset("ids", data=np.array(self.ids, dtype=object), dtype=h5py.string_dtype())
            for where, values in features.items():
                file["/".join(map(str, where))] = np.asarray(values, dtype=np.float32)

    def members(self):
        """Rows of the whole data set and of each cluster."""
        return {"all": np.arange(len(self.positions))} | {
            str(number): np.flatnonzero(self.clusters == number) for number in np.unique(self.clusters)
        }

    def fit(self, target="degrees", cvs=("random", "blocked"), alpha=1.0, **options):
        """Write the fits of scikit-learn's ridge regression; the impossible cross-validation has none."""
        with h5py.File(self.fits, "w") as file:
            file.create_dataset("ids", data=np.array(self.ids, dtype=object), dtype=h5py.string_dtype())
            file.attrs["options"] = json.dumps({**OPTIONS, **options})
            for cluster, rows in self.members().items():
                labels = self.positions[rows]
                file[f"rows/{cluster}"], file[f"labels/{cluster}/none"] = rows, labels
                for where, values in self.features.items():
                    place, x = "/".join(map(str, where)), np.asarray(values)[rows]
                    file[f"deviations/{place}/{cluster}"] = x.std(axis=0).astype(np.float32)
                    y = labels if target == "degrees" else to_sphere(labels)
                    for cv in cvs:
                        near = self.near[rows] * (cv == "buffered")
                        arrays = self._fit_folds(x, y, self.folds[rows], near, alpha)
                        for name, array in arrays.items():
                            file[f"{place}/{cluster}/{target}/{cv}/none/{name}"] = array
        return self.fits

    def _fit_folds(self, x, y, folds, near, alpha):
        numbers = np.unique(folds[folds >= 0])
        predictions = np.full(y.shape, np.nan, dtype=np.float32)
        slopes, offsets = [], []
        for fold in numbers:
            train = (folds != fold) & (folds >= 0) & (near >> fold & 1 == 0)
            if train.sum() < 2:
                slopes.append(np.full((x.shape[1], y.shape[1]), np.nan))
                offsets.append(np.full(y.shape[1], np.nan))
                continue
            ridge = Ridge(alpha).fit(x[train], y[train])
            predictions[folds == fold] = ridge.predict(x[folds == fold])
            slopes.append(ridge.coef_.T)
            offsets.append(ridge.intercept_)
        return {
            "predictions": predictions,
            "folds": numbers,
            "coefficients": np.array(slopes, dtype=np.float32),
            "intercepts": np.array(offsets, dtype=np.float32),
        }

    def swap_ids(self):
        """Let the fits be of the same images in another order."""
        with h5py.File(self.fits, "r+") as file:
            file["ids"][:2] = file["ids"][1], file["ids"][0]

    def predictions(self, where, cluster, target="degrees", cv="random"):
        """Held-out predictions as the fits hold them."""
        with h5py.File(self.fits, "r") as file:
            return file[f"{'/'.join(map(str, where))}/{cluster}/{target}/{cv}/none/predictions"][:].astype(float)

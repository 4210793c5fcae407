"""Files of one small data set with two models for the explorer, with known predictions."""

import io

import h5py
import numpy as np
import pandas as pd
from PIL import Image

from geoprobe.images.store import write_store

HOSTILE = "<img src=x onerror=alert(1)></script>"
NAMED = "photo <img src=x onerror=alert(1)> \"'&amp; {}"
SHOWN = {"prompts": ["none"], "poolings": ["cls"], "target": "degrees", "choice": "depth", "cv": "blocked"}
OPTIONS = {"page_megabytes": 50, "thumbnails": True, "edge": 16, "most": 20, "megabytes": 1, "points": 20000}
MODELS = {"plain-seed1": "plain", "plain-seed2": "plain", "other": "other"}


def jpeg(number):
    """A picture of 40 x 30 pixels in one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (number % 256, 90, 160)).save(buffer, "JPEG")
    return buffer.getvalue()


class Files:
    """All inputs of :func:`geoprobe.explorer.data.prepare` in a folder, for `n` images in two clusters."""

    def __init__(self, folder, n=60, layers="1, 1", pictures=True):
        generator = np.random.default_rng(1)
        self.n = n
        self.truth = np.column_stack([generator.uniform(-80, 80, n), generator.uniform(-179, 179, n)])
        self.folds = generator.integers(0, 2, n)
        self.members = {"all": np.arange(n), "0": np.arange(0, n, 3), "1": np.arange(1, n, 3)}
        ids = [NAMED.format(row) for row in range(n)]
        columns = {"ids": ids, "latitudes": self.truth[:, 0], "longitudes": self.truth[:, 1]}
        columns |= dict.fromkeys(("geocells", "countries", "groups", "authors"), ids)
        about = {"attribution": "A & <b>B</b>", "licence": "CC BY 4.0", "source": "test"}
        if pictures:
            write_store(folder / "images.h5", [jpeg(30)] * n, columns, {}, about)
        else:  # so many images take a minute
            with h5py.File(folder / "images.h5", "w") as file:
                file["latitudes"], file["longitudes"], file["ids"] = *self.truth.T, ids
        pd.DataFrame({"id": ids, "blocked": self.folds}).to_parquet(folder / "folds.parquet")
        names = pd.DataFrame({"cluster": ["0", "1"], "name": [HOSTILE, "sea, sand"]})
        names.to_csv(folder / "clusters.csv", index=False)
        self.predicted, self.jobs, choices, curves = {}, {}, [], []
        for model, family in MODELS.items():
            chosen = []
            fits = folder / f"{model}.h5"
            with h5py.File(fits, "w") as file:
                file["ids"] = ids
                for cluster, rows in self.members.items():
                    file[f"rows/{cluster}"] = rows
                    for layer in (0, 1):
                        at = self.truth[rows] + generator.normal(0, 20, (len(rows), 2))
                        at[:1] = np.nan
                        at = at.astype(np.float32)
                        group = f"vision/cls/{layer}/{cluster}/degrees/blocked/none"
                        file[f"{group}/predictions"], file[f"{group}/folds"] = at, [0, 1]
                        self.predicted[model, cluster, layer] = at
                    where = {"dataset": "photos", "prompt": "none", "probe": "ridge", "cluster": cluster}
                    where |= {"tower": "vision", "pooling": "cls", "target": "degrees", "cv": "blocked"}
                    about = {"family": family, "label": f"{family} & co", "supervision": "vision-only"}
                    row = where | {"control": "none", "choice": "depth", "layers": layers, "images": len(rows)}
                    row |= {"r2": 0.5 + 0.01 * len(choices), "low": 0.4, "high": 0.61, "median_km": 900.5, "reason": ""}
                    chosen.append(row | {"model": model})
                    if model != "plain-seed2":
                        choices.append(about | row)
                        for layer, control in ((1, "none"), (0, "none"), (0, "permuted")):
                            score = {"r2": 0.1 + layer, "low": layer, "high": 0.2 + layer, "median_km": 1000.0 - layer}
                            curves.append(about | where | {"layer": layer, "control": control} | score)
            pd.DataFrame(chosen).to_parquet(folder / f"{model}.parquet")
            self.jobs["photos", model, "none", "ridge"] = (fits, folder / f"{model}.parquet")
        pd.DataFrame(choices).to_csv(folder / "choices.csv", index=False)
        pd.DataFrame(curves).to_csv(folder / "families.csv", index=False)
        self.paths = {name: folder / f"{name}.csv" for name in ("choices", "families")}
        self.stores = {"photos": (folder / "images.h5", folder / "folds.parquet", folder / "clusters.csv")}

    def arguments(self, **options):
        """Arguments of :func:`prepare`, with other options where given."""
        return self.paths, self.stores, self.jobs, MODELS, SHOWN, OPTIONS | options

"""Map the predicted against the true positions of one model's last layer."""

import h5py
import numpy as np

from geoprobe.analysis.layers import find_fit
from geoprobe.figures.map import draw
from geoprobe.figures.style import save_figure
from geoprobe.images.store import read_positions
from geoprobe.probes.labels import ALL
from geoprobe.probes.metrics import to_positions
from geoprobe.runtime import rule_log


def plot(store, fits, label, poolings, target, cv, paths, dpi):
    """Read the held-out predictions of the vision tower's last layer with the first pooling that it has, draw.

    The maps are empty where the data set cannot have this cross-validation, or nothing could be tested in it.
    """
    positions, _ = read_positions(store)
    with h5py.File(fits, "r") as file:
        pooling = next((name for name in poolings if name in file["vision"]), None)
        if pooling is None:
            has = ", ".join(file["vision"])
            raise ValueError(f"{fits}: the vision tower has {has}, none of analysis.poolings; add one of these there")
        layer = max(file[f"vision/{pooling}"], key=int)
        fit = find_fit(file, ("vision", pooling, layer), ALL, target, cv)
        predicted = None if fit is None else fit["predictions"][:].astype(np.float64)
    tested = np.zeros(len(positions), dtype=bool) if fit is None else np.isfinite(predicted).all(axis=1)
    at = to_positions(predicted[tested], target) if tested.any() else np.empty((0, 2))
    save_figure(draw(positions[tested], at, f"{label}, block {layer}, {pooling} pooling, {cv} folds"), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = {name: snakemake.params.headline[name] for name in ("poolings", "target", "cv")}
        plot(
            snakemake.input.store,
            snakemake.input.fits,
            snakemake.params.label,
            **headline,
            paths=snakemake.output,
            dpi=snakemake.params.dpi,
        )

"""Map the predicted against the true positions of one model's last layer."""

from geoprobe.analysis.layers import last_predictions
from geoprobe.figures.map import draw
from geoprobe.figures.style import save_figure
from geoprobe.images.store import read_positions
from geoprobe.runtime import rule_log


def plot(store, fits, label, poolings, target, cv, paths, dpi):
    """Read the held-out predictions, draw; the maps are empty where nothing could be tested."""
    positions, ids = read_positions(store)
    tower, pooling, layer, truth, at = last_predictions(fits, positions, ids, poolings, target, cv)
    save_figure(draw(truth, at, f"{label}, {tower} block {layer}, {pooling} pooling, {cv} folds"), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(
            snakemake.input.store,
            snakemake.input.fits,
            snakemake.params.label,
            **snakemake.params.headline,
            paths=snakemake.output,
            dpi=snakemake.params.dpi,
        )

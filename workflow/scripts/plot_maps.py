"""Map the error of every model's last layer by place, side by side."""

from collections import Counter

from geoprobe.analysis.layers import last_predictions
from geoprobe.figures.map import draw_side_by_side, summarise_errors
from geoprobe.figures.style import save_figure
from geoprobe.images.store import read_positions
from geoprobe.runtime import rule_log


def plot(store, fits, labels, poolings, target, cv, paths, dpi):
    """Read the held-out predictions of each model (its name to the path of its fits), draw."""
    positions, ids = read_positions(store)
    shared = Counter(labels.values())
    found = {}
    for name, path in fits.items():
        # seeds of an encoder have one label
        label = f"{labels[name]} ({name})" if shared[labels[name]] > 1 else labels[name]
        tower, _, _, *places = last_predictions(path, positions, ids, poolings, target, cv)
        found[label if tower == "vision" else f"{label}, {tower}"] = summarise_errors(*places)
    save_figure(draw_side_by_side(found), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(
            snakemake.input.store,
            dict(zip(snakemake.params.labels, snakemake.input.fits, strict=True)),
            snakemake.params.labels,
            **snakemake.params.headline,
            paths=snakemake.output,
            dpi=snakemake.params.dpi,
        )

"""Transfer between clusters: R2 of probes that were trained on one cluster and tested on another."""

import textwrap

from matplotlib import colormaps

from geoprobe.figures.counts import span
from geoprobe.figures.matrix import DIVERGING, draw_matrices
from geoprobe.figures.style import PAGE, figure, only_text

ACROSS = 7  # small matrices


def draw(frame, names, label):
    """One panel a tower, clusters from most to least localizable; the diagonal is the usual score of a cluster.

    Args:
        frame: of :func:`geoprobe.analysis.transfer.transfer`, of one model, target and cross-validation.
        names: cluster number (as text) to name, in the order of rows and columns; all images are put first.
        label: of the model.

    Returns:
        A figure; one that says why where nothing could be tested.
    """
    if not frame["r2"].notna().any():
        reasons = "; ".join(frame["reason"].dropna().unique()) or "no cluster has held-out predictions"
        return only_text(f"{label}: nothing was transferred: {reasons}")
    panels = {
        f"{label}: {tower}, {pooling}, block {layer}": _matrix(rows, names)
        for (tower, pooling, layer), rows in frame.groupby(["tower", "pooling", "layer"], sort=False)
    }
    drawn = draw_matrices(panels, ["all images", *names.values()], "R² (latitude, longitude)", "min", diagonal=True)
    for panel in drawn.axes[: len(panels)]:
        panel.set_ylabel("Trained on")
        # all images are no cluster
        panel.axhline(0.5, color="white", lw=3)
        panel.axvline(0.5, color="white", lw=3)
    drawn.axes[len(panels) - 1].set_xlabel(f"Tested on ({_tested(frame)})")
    return drawn


def draw_side_by_side(frame, names):
    """A small matrix a model and tower, all on one scale.

    Args:
        frame: of :func:`geoprobe.analysis.transfer.transfer`, of one layer a family, target and cross-validation, with
            the label of each family.
        names: see :func:`draw`.

    Returns:
        A figure; one that says why where nothing could be tested. A cell without a number is grey.
    """
    known = frame[frame["r2"].notna()]
    if known.empty:
        reasons = "; ".join(frame["reason"].dropna().unique()) or "no cluster has held-out predictions"
        return only_text(f"Nothing was transferred: {reasons}")
    labels = list(dict.fromkeys(known["label"]))
    across = min(ACROSS, len(labels))
    down = -(-len(labels) // across)
    side = min(PAGE / across, 2.2)
    drawn, axes = figure(PAGE, 1.4 + down * (side + 0.3), nrows=down, ncols=across, squeeze=False)
    shown, colours = None, colormaps[DIVERGING].with_extremes(bad="0.85")
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])  # seconds of layout, though they are off
        panel.set_axis_off()
    for panel, label in zip(axes.flat, labels, strict=False):
        shown = panel.imshow(_matrix(known[known["label"] == label], names), cmap=colours, vmin=-1, vmax=1)
        # all images are no cluster
        panel.axhline(0.5, color="white", lw=1)
        panel.axvline(0.5, color="white", lw=1)
        panel.set_title(textwrap.fill(label, round(15 * side)), size=6.5, y=1.0)
    drawn.colorbar(
        shown, ax=axes, label="R² (latitude, longitude)", extend="min", ticks=[-1, -0.5, 0, 0.5, 1], pad=0.01,
        location="bottom", aspect=50, shrink=0.8,
    )  # fmt: skip
    count = f"the {len(names)} clusters from the most to the least localizable"
    drawn.supxlabel(f"Rows: trained on; columns: tested on.\nAll images first, then {count}; {_tested(known)}", size=7)
    return drawn


def _tested(frame):
    """How many images were tested of a cluster, in words."""
    clusters = frame[(frame["tested_on"] != "all") & (frame["images"] > 0)]
    return f"n = {span(clusters['images'])} images of a cluster" if len(clusters) else "no cluster has images"


def _matrix(rows, names):
    """R2 by what was trained on and tested on, all images first, shape (n, n); rows of one layer."""
    order = ["all", *names]
    return rows.set_index(["trained_on", "tested_on"])["r2"].unstack().reindex(index=order, columns=order).to_numpy()

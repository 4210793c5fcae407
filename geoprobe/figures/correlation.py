"""Correlation of probes' coefficients between clusters: a matrix a model, and the means of all models."""

import matplotlib
import numpy as np

from geoprobe.figures.counts import span
from geoprobe.figures.matrix import draw_matrices
from geoprobe.figures.rows import label_rows, stack_rows
from geoprobe.figures.style import MARKERS, PAGE, SEQUENTIAL, figure, only_text
from geoprobe.numbers import format_cell

AXES = ("latitude", "longitude")
LINE, GAP = 0.075, 0.08  # inches: of each share in a row, and between rows


def draw(frame, names, label, reason):
    """One panel a tower: latitude above the diagonal, longitude below it.

    Args:
        frame: pairs of :func:`geoprobe.analysis.correlation.relate_coefficients`, of one model, cross-validation, share
            of dimensions and scaling; clusters as text.
        names: cluster number (as text) to name, in the order of rows and columns. Clusters without any fit have no
            pairs and are left out.
        label: of the model.
        reason: what to say where there are no pairs.

    Returns:
        A figure.
    """
    if not frame["correlation"].notna().any():
        return only_text(f"{label}: no coefficients to correlate: {reason}")
    there = {*frame["cluster_a"], *frame["cluster_b"]}
    names = {cluster: name for cluster, name in names.items() if cluster in there}
    place = {cluster: index for index, cluster in enumerate(names)}
    panels = {}
    for (tower, pooling, layer), rows in frame.groupby(["tower", "pooling", "layer"], sort=False):
        matrix = np.full((len(names), len(names)), np.nan)
        means = []
        for axis in AXES:
            pairs = rows[rows["axis"] == axis]
            ends = np.sort([pairs["cluster_a"].map(place), pairs["cluster_b"].map(place)], axis=0)
            low, high = ends.astype(int)
            matrix[(low, high) if axis == "latitude" else (high, low)] = pairs["correlation"]
            means.append(format_cell(pairs["correlation"].mean()))
        title = f"{label}: {tower}, {pooling}, block {layer}"
        panels[f"{title}\nabove the diagonal latitude (mean {means[0]}), below longitude (mean {means[1]})"] = matrix
    drawn = draw_matrices(panels, list(names.values()), "Correlation of coefficients", "neither", diagonal=False)
    drawn.axes[len(panels) - 1].set_xlabel(f"n = {len(names) * (len(names) - 1) // 2:,} pairs of {len(names)} clusters")
    return drawn


def draw_summary(frame):
    """Mean correlation over pairs of clusters with its interval: a row a model, a column an axis, a mark a share.

    Args:
        frame: summaries of :func:`geoprobe.analysis.correlation.relate_coefficients`, of one cross-validation and
            scaling, with label and supervision of each model.

    Returns:
        A figure; one that says why where no model has two clusters that were fitted.
    """
    known = frame[frame["correlation"].notna()]
    if known.empty:
        reasons = "; ".join(frame["reason"].dropna().unique()) or "no probe has coefficients"
        return only_text(f"No coefficients to correlate: {reasons}")
    rows, headings = stack_rows(frame)
    shares = sorted(known["share"].unique(), reverse=True)
    row = LINE * len(shares) + GAP
    drawn, axes = figure(PAGE, 1.1 + row * (len(rows) + len(headings)), ncols=2, sharey=True, sharex=True)
    colours = matplotlib.colormaps[SEQUENTIAL](np.linspace(0, 0.8, len(shares)))
    for panel, axis in zip(axes, AXES, strict=True):
        for number, (share, colour) in enumerate(zip(shares, colours, strict=True)):
            part = known[(known["axis"] == axis) & (known["share"] == share)]
            y = part["label"].map(rows) + (number - (len(shares) - 1) / 2) * LINE / row
            panel.hlines(y, part["low"], part["high"], color=colour, lw=1.1)
            marker = MARKERS[number % len(MARKERS)]
            panel.plot(part["correlation"], y, ls="", marker=marker, ms=3.5, color=colour, label=f"{100 * share:g} %")
        panel.axvline(0, color="0.4", lw=0.8, ls=":", zorder=0)
        panel.set_title(axis.capitalize())
        panel.set_xlabel("Mean correlation over pairs")
        label_rows(panel, rows, headings)
    counts = f"n = {span(known['pairs'])} pairs of {span(known['clusters'])} clusters, which are resampled"
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(
        handles, labels, title=f"Share of the dimensions, largest coefficients first; {counts}", title_fontsize=7,
        frameon=False, ncols=min(6, len(labels)), loc="outside lower center",
    )  # fmt: skip
    return drawn

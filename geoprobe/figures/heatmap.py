"""Heatmap of R2, models by clusters, with the vision-only and the vision-language models apart."""

import numpy as np

from geoprobe.figures.counts import write_counts
from geoprobe.figures.style import PAGE, SEQUENTIAL, figure, r2_limits
from geoprobe.numbers import format_cell, format_ends

TITLES = {
    "vision-only": "Vision-only",
    "vision-language": "Vision-language",
    "multimodal": "Multimodal",
    "baseline": "Baseline",
}
CELL, ROW = 0.54, 0.32  # inches: room for a number and, under it, its interval
MARGIN = 2.6  # for labels and the colour bar
SMALL = 6  # points, the smallest that is read in print


def draw_cells(panel, values, lows, highs, limits):
    """Coloured cells with the number, its interval under it, and a dot where the interval holds 0.

    Args:
        panel: axes.
        values, lows, highs: shape (rows, columns); nan where there is none.
        limits: lowest and highest value of the colours.

    Returns:
        The image, for a colour bar.
    """
    (low, high), dots = limits, []
    shown = panel.imshow(values, cmap=SEQUENTIAL, vmin=low, vmax=high, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        dark = np.isnan(value) or value < low + 0.6 * (high - low)
        colour = "white" if dark else "black"
        ends = format_ends(lows[y, x], highs[y, x])
        if not np.isnan(value) and lows[y, x] <= 0 <= highs[y, x]:
            dots.append((x + 0.42, y - 0.36, colour))
        # within its cell a text has no say in the layout
        look = {"ha": "center", "va": "center", "color": colour, "in_layout": False}
        panel.text(x, y - 0.17 * bool(ends), format_cell(value), size=6.5, **look)
        if ends:
            panel.text(x, y + 0.25, ends, size=SMALL, **look)
    if dots:
        across, down, colours = zip(*dots, strict=True)
        panel.scatter(across, down, s=2.2**2, lw=0, c=colours)
    panel.tick_params(length=0)
    return shown


def add_bar(drawn, shown, axes):
    """A colour bar of the same width and point on a page of any height."""
    height = drawn.get_figheight()
    label, frac = "R² (latitude, longitude)", 0.2 / height
    drawn.colorbar(
        shown, ax=axes, label=label, extend="min", extendfrac=frac, pad=0.01, fraction=0.05, aspect=6 * height
    )


def draw(families, names):
    """One panel a supervision, models by clusters, clusters from most to least localizable.

    The page grows with the numbers of clusters and models, so that each cell has room for its number.

    Args:
        families: rows of one choice of layers, target, cv and control: label, supervision, cluster, r2 (not a number
            where no probe could be fitted; shown as a dash), low, high (95 % interval).
        names: cluster number (as text) to name, in the order of the columns; "all" is put first.

    Returns:
        A figure. Under each number stand the ends of its interval.
    """
    columns = ["all", *names]
    supervision = families.drop_duplicates("label").set_index("label")["supervision"]
    # not pivot_table: it drops a model that has no number
    means = families.groupby(["label", "cluster"])[["r2", "low", "high"]].mean()
    tables = {
        name: means[name].unstack().reindex(index=supervision.index, columns=columns) for name in ("r2", "low", "high")
    }
    groups = [name for name in TITLES if name in set(supervision)]
    heights = [int((supervision == name).sum()) for name in groups]
    drawn, axes = figure(
        max(PAGE, MARGIN + CELL * len(columns)),
        1.8 + ROW * sum(heights) + 0.3 * len(groups),
        nrows=len(groups),
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": heights},
    )
    limits = r2_limits(tables["r2"].to_numpy())
    for panel, group in zip(axes[:, 0], groups, strict=True):
        rows = {name: table[supervision == group] for name, table in tables.items()}
        shown = draw_cells(panel, *(rows[name].to_numpy(dtype=float) for name in ("r2", "low", "high")), limits)
        panel.set_yticks(range(len(rows["r2"])), rows["r2"].index)
        panel.set_title(TITLES[group], loc="left")
        panel.axvline(0.5, color="white", lw=3)
    labels = ["all images", *(f"{name}" for name in names.values())]
    axes[-1, 0].set_xticks(range(len(columns)), labels, rotation=35, ha="right", rotation_mode="anchor")
    add_bar(drawn, shown, axes[:, 0])
    whole = families["cluster"] == "all"
    counts = f"All images: {write_counts(families[whole])}. Clusters: {write_counts(families[~whole])}"
    signs = "Under each R²: its 95 % interval; dot: the interval includes 0"
    signs += "; –: nothing could be fitted" * bool(tables["r2"].isna().any(axis=None))
    drawn.supxlabel(f"{signs}\n{counts}", size=7)
    return drawn

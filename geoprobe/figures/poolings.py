"""Heatmap of R2, models by poolings, of all images and on average over clusters."""

import numpy as np

from geoprobe.figures.counts import write_counts
from geoprobe.figures.heatmap import ROW, TITLES, add_bar, draw_cells
from geoprobe.figures.style import PAGE, figure, only_text, r2_limits

ALL = "all"
CELL, MARGIN = 0.62, 2.8  # inches


def layer_by_pooling(frame, depth):
    """One layer of each tower under each of its poolings, at the same depth, so that poolings alone differ.

    Args:
        frame: rows of one probe, prompt, target, cv and control: family, tower, pooling, layer.
        depth: share of the tower's depth, 0 for its first layer, 1 for its last.

    Returns:
        Rows of that layer: number round(depth (L - 1)) of the L layers that the tower has under a pooling, as
        :func:`geoprobe.analysis.selection.choose_depth`.
    """

    def at_depth(layers):
        there = np.unique(layers)
        return there[round(depth * (len(there) - 1))]

    return frame[frame["layer"] == frame.groupby(["family", "tower", "pooling"])["layer"].transform(at_depth)]


def tabulate(frame, order):
    """Numbers of the heatmap.

    Args:
        frame: of :func:`layer_by_pooling`: label, supervision, cluster, pooling, r2, low, high.
        order: poolings in the order of the columns.

    Returns:
        A dict of r2, low, high to frames: a row a label, columns (cluster group, pooling): "all", with its interval,
        and "clusters", the mean over those with a number, which has none.
    """
    labels = frame.drop_duplicates("label")["label"]
    poolings = [name for name in order if name in set(frame["pooling"])]
    whole = frame[frame["cluster"] == ALL].groupby(["label", "pooling"])[["r2", "low", "high"]].mean()
    parts = frame[frame["cluster"] != ALL].groupby(["label", "pooling"])["r2"].mean()
    tables = {}
    for name in ("r2", "low", "high"):
        table = whole[name].unstack().reindex(index=labels, columns=poolings)
        table.columns = [(ALL, pooling) for pooling in poolings]
        if len(parts):
            means = parts.unstack().reindex(index=labels, columns=poolings)
            for pooling in poolings:
                table["clusters", pooling] = means[pooling] if name == "r2" else np.nan
        tables[name] = table
    return tables


def draw(frame, order):
    """One panel a supervision, models by poolings; the page grows with the number of models.

    Args:
        frame: rows of :func:`layer_by_pooling` of one data set; a tower that was read with others is a label of its
            own. Models with a single pooling are left out.
        order: poolings in the order of the columns.

    Returns:
        A figure; where no model has more than one pooling, one that says so.
    """
    several = frame.groupby("label")["pooling"].transform("nunique") > 1
    if not several.any():
        has = ", ".join(name for name in order if name in set(frame["pooling"]))
        return only_text(
            f"No poolings to compare: each model was probed with one of its own ({has}). Set probes.<probe>.poolings: "
            "all to fit the probe on every pooling that was extracted (features.poolings)."
        )
    frame = frame[several]
    tables = tabulate(frame, order)
    supervision = frame.drop_duplicates("label").set_index("label")["supervision"]
    groups = [name for name in TITLES if name in set(supervision)]
    heights = [int((supervision == name).sum()) for name in groups]
    columns = list(tables["r2"].columns)
    drawn, axes = figure(
        max(PAGE if len(columns) > 5 else 0, MARGIN + CELL * len(columns)),
        1.5 + ROW * sum(heights) + 0.3 * len(groups),
        nrows=len(groups),
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": heights},
    )
    limits = r2_limits(tables["r2"].to_numpy(dtype=float))
    split = sum(where == ALL for where, _ in columns)
    for panel, group in zip(axes[:, 0], groups, strict=True):
        rows = {name: table[supervision == group] for name, table in tables.items()}
        shown = draw_cells(panel, *(rows[name].to_numpy(dtype=float) for name in ("r2", "low", "high")), limits)
        panel.set_yticks(range(len(rows["r2"])), rows["r2"].index)
        panel.set_title(TITLES[group], loc="left")
        panel.axvline(split - 0.5, color="white", lw=3)
    axes[-1, 0].set_xticks(range(len(columns)), [pooling for _, pooling in columns])
    for middle, words in ((0, "all images"), (split, "mean of clusters")):
        if middle < len(columns):
            axes[-1, 0].annotate(
                words, (middle + (split - 1) / 2, 0), (0, -16), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", va="top", size=8,
            )  # fmt: skip
    add_bar(drawn, shown, axes[:, 0])
    counts = write_counts(frame[frame["cluster"] == ALL])
    drawn.supxlabel(f"Under each R²: its 95 % interval; dot: the interval includes 0\n{counts}", size=7)
    return drawn

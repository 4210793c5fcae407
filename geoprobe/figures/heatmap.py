"""Heatmap of R2, models by clusters, with the vision-only and the vision-language models apart."""

import numpy as np

from geoprobe.figures.style import PAGE, SEQUENTIAL, figure, r2_limits

TITLES = {
    "vision-only": "Vision-only",
    "vision-language": "Vision-language",
    "multimodal": "Multimodal",
    "baseline": "Baseline",
}


def draw(families, names):
    """One panel a supervision, models by clusters, clusters from most to least localizable.

    Args:
        families: rows of one choice of layers, target, cv and control: label, supervision, cluster, r2 (not a number
            where no probe could be fitted; shown as a dash).
        names: cluster number (as text) to name, in the order of the columns; "all" is put first.

    Returns:
        A figure.
    """
    columns = ["all", *names]
    supervision = families.drop_duplicates("label").set_index("label")["supervision"]
    # not pivot_table: it drops a model that has no number
    means = families.groupby(["label", "cluster"])["r2"].mean().unstack()
    table = means.reindex(index=supervision.index, columns=columns)
    groups = [name for name in TITLES if name in set(supervision)]
    heights = [int((supervision == name).sum()) for name in groups]
    drawn, axes = figure(
        PAGE,
        1.6 + 0.3 * sum(heights) + 0.3 * len(groups),
        nrows=len(groups),
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": heights},
    )
    low, high = r2_limits(table.to_numpy())
    for panel, group in zip(axes[:, 0], groups, strict=True):
        rows = table[supervision.reindex(table.index) == group]
        shown = panel.imshow(rows, cmap=SEQUENTIAL, vmin=low, vmax=high, aspect="auto")
        for (y, x), value in np.ndenumerate(rows.to_numpy()):
            text = "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
            dark = np.isnan(value) or value < low + 0.6 * (high - low)
            panel.text(x, y, text, ha="center", va="center", size=6.5, color="white" if dark else "black")
        panel.set_yticks(range(len(rows)), rows.index)
        panel.set_title(TITLES[group], loc="left")
        panel.tick_params(length=0)
        panel.axvline(0.5, color="white", lw=3)
    labels = ["all images", *(f"{name}" for name in names.values())]
    axes[-1, 0].set_xticks(range(len(columns)), labels, rotation=35, ha="right", rotation_mode="anchor")
    drawn.colorbar(shown, ax=axes[:, 0], label="R² (latitude, longitude)", extend="min", pad=0.01, aspect=30)
    return drawn

"""R2 by layer, a line a model, with a band for the interval."""

import math

import numpy as np
from matplotlib.ticker import MaxNLocator

from geoprobe.figures.counts import write_counts
from geoprobe.figures.heatmap import TITLES
from geoprobe.figures.objectives import CVS
from geoprobe.figures.style import PAGE, family_styles, figure

TOGETHER = 8  # lines that can be told apart in one panel, as many as there are colours
ROW = 2.0  # inches


def part_families(families):
    """Rows of panels: all models in one where they are few, else some of one supervision and tower in each.

    Returns:
        A list of (title, families), titles empty where there is one row.
    """
    frame = families.drop_duplicates("family")
    if len(frame) <= TOGETHER:
        return [("", frame["family"].tolist())]
    parts = []
    for supervision, title in TITLES.items():
        of_kind = frame[frame["supervision"] == supervision]
        for tower, rows in of_kind.groupby("tower", sort=False):
            names = rows["family"].tolist()
            more = f", {tower} tower" if of_kind["tower"].nunique() > 1 else ""
            # of equal sizes, rather than a last one of a few
            chunks = np.array_split(np.array(names, dtype=object), math.ceil(len(names) / TOGETHER))
            parts += [(title + more, chunk.tolist()) for chunk in chunks]
    return parts


def draw(families):
    """A column of panels a cross-validation, on a common scale; a row where there are few models, else several.

    Args:
        families: rows of cluster all, one pooling and target, control none: family, label, layer, cv, r2, low,
            high, and of more than TOGETHER families supervision and tower.

    Returns:
        A figure. With several rows, models of different supervisions and towers are apart, and each row has its own
        legend.
    """
    panels, parts = [cv for cv in CVS if cv in set(families["cv"])], part_families(families)
    one, counts = len(parts) == 1, write_counts(families)
    drawn, axes = figure(
        PAGE, 3.1 if one else 0.5 + ROW * len(parts), nrows=len(parts), ncols=len(panels), sharey=True, squeeze=False
    )
    for number, (row, (title, names)) in enumerate(zip(axes, parts, strict=True)):
        first, last = number == 0, number == len(parts) - 1
        for panel, cv in zip(row, panels, strict=True):
            for family, style in family_styles(names).items():
                rows = families[(families["family"] == family) & (families["cv"] == cv)].sort_values("layer")
                label = rows["label"].iloc[0] if len(rows) else family
                every = max(1, len(rows) // 8)  # forty markers would be a thick line
                panel.plot(rows["layer"], rows["r2"], ms=4 if one else 3, lw=1.2, label=label, markevery=every, **style)
                panel.fill_between(rows["layer"], rows["low"], rows["high"], color=style["color"], alpha=0.12, lw=0)
            if first:
                panel.set_title(CVS[cv] if one else CVS[cv].replace(" + ", "\n+ "))
            panel.xaxis.set_major_locator(MaxNLocator("auto" if one else 5, integer=True))
            blocks = families.loc[families["family"].isin(names), "layer"]
            margin = 0.5 if blocks.nunique() > 1 else 2  # ticks of a single block are whole numbers too
            panel.set_xlim(blocks.min() - margin, blocks.max() + margin)
            if last:
                panel.set_xlabel("Block")
        handles, labels = row[0].get_legend_handles_labels()
        if one:
            row[0].set_ylabel("R² (latitude, longitude)")
            drawn.legend(handles, labels, title=counts, title_fontsize=7, ncols=3, frameon=False,
                         loc="outside lower center")  # fmt: skip
        else:
            row[0].set_ylabel("R²")
            row[-1].legend(handles, labels, title=title, alignment="left", frameon=False, loc="upper left",
                           bbox_to_anchor=(1.0, 1.05))  # fmt: skip
    if not one:
        drawn.supxlabel(counts, size=7)
    return drawn

"""Who is placed well: median error by continent and by how densely the data cover a place, models by supervision."""

import textwrap

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from geoprobe.figures.rows import label_rows, stack_rows
from geoprobe.figures.style import PAGE, SUPERVISION_COLOURS, figure, only_text

ROW = 0.15  # inches
# as geoprobe.analysis.fairness, which reaches all that a fit is read with
NEAR_KM = 250
THIRDS = ("sparse", "middle", "dense")


def draw(frame):
    """A row a model, a panel a group: all images and the continents above, thirds of the images by density below.

    Args:
        frame: of :func:`geoprobe.analysis.fairness.score_fairness`, of one layer a model, one target and one
            cross-validation, with label and supervision of each model.

    Returns:
        A figure; one that says why where no model has held-out predictions.
    """
    known = frame[frame["images"] > 0]
    if known.empty:
        reasons = "; ".join(frame["reason"].dropna().unique()) or "no model has held-out predictions"
        return only_text(f"No errors to show: {reasons}")
    rows, headings = stack_rows(known)
    sizes = known[known["by"] == "continent"].groupby("group")["images"].max().sort_values(ascending=False)
    bands = [
        [("all", "all"), *(("continent", name) for name in sizes.index)],
        [("density", name) for name in THIRDS if name in set(known.loc[known["by"] == "density", "group"])],
    ]
    columns = max(map(len, bands))
    drawn, axes = figure(
        PAGE,
        2 * (1.0 + ROW * (len(rows) + len(headings))) + 0.2,
        nrows=2, ncols=columns, sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    whole = known[known["by"] == "all"].set_index("label")["median_km"] / 1000
    units = "countries" if (known["cv"] == "countries").all() else "blocks"
    for panels, band in zip(axes, bands, strict=True):
        for panel in panels[len(band) :]:
            panel.set_axis_off()
        for panel, (by, name) in zip(panels, band, strict=False):
            part = known[(known["by"] == by) & (known["group"] == name)]
            _draw_group(panel, part, rows, None if by == "all" else whole)
            label_rows(panel, rows, headings)
            panel.set_title(_title(by, name, part, units), size=7)
            panel.tick_params(labelbottom=True)
    highest = known[["median_km", "high"]].max(axis=None) / 1000
    axes[0, 0].set_xlim(0, 1.06 * highest)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    drawn.supxlabel("Median error (1,000 km)", size=8)
    drawn.legend(
        [Line2D([], [], color="0.3", marker="o", ms=3, lw=1.2), Line2D([], [], color="0.45", marker="|", ms=7, ls="")],
        ["of the group, with its interval", "of the same model over all images"],
        ncols=2, frameon=False, loc="outside upper center",
    )  # fmt: skip
    return drawn


def _draw_group(panel, part, rows, whole):
    """Medians and intervals of one group, and, where given, a tick at the model's median over all images."""
    y = part["label"].map(rows).to_numpy()
    colours = part["supervision"].map(SUPERVISION_COLOURS).tolist()
    panel.hlines(y, part["low"] / 1000, part["high"] / 1000, colors=colours, lw=1.2)
    panel.scatter(part["median_km"] / 1000, y, c=colours, s=9, zorder=3, lw=0)
    if whole is not None:
        at = whole.reindex(part["label"]).to_numpy()
        panel.vlines(at, y - 0.35, y + 0.35, color="0.45", lw=0.7, zorder=2)


def _title(by, name, part, units):
    """Name of the group with the number of its images and of the blocks or countries that they lie in."""
    words = {
        "all": "All images",
        "density": f"{name.capitalize()}\n{part['neighbours'].median():,.0f} others\n≤ {NEAR_KM} km",
    }
    lines = words.get(by) or "\n".join(textwrap.wrap(name[:1].upper() + name[1:], 10))
    # of the model with the most; models differ where some folds could not be fitted
    sign = "≤" if np.ptp(part["images"]) else "="
    return "\n".join([lines, f"n {sign} {int(part['images'].max()):,}", f"{int(part['units'].max()):,} {units}"])

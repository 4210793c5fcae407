"""How many dimensions carry position: R2 by the share of the dimensions, top-ranked ones against random ones."""

import textwrap

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from geoprobe.figures.counts import span
from geoprobe.figures.style import PAGE, figure, only_text

COLUMNS, MANY, CLOSER = 4, 16, 6  # panels in a row, and from how many models closer together
AXES = ("latitude", "longitude")
RANDOM = "random"
LOOKS = {
    "latitude": {"color": "#0072B2", "marker": "o", "ls": "--"},
    "longitude": {"color": "#D55E00", "marker": "s", "ls": "--"},
    "both": {"color": "#000000", "marker": "D", "ls": "-"},
}
LOWEST = -0.5  # of the vertical axis; below it nothing differs from nothing


def by_axis(frame):
    """R2 of latitude, of longitude, and of both, their mean, by ranking, seed and share.

    Args:
        frame: ranking, seed (not a number but of random draws), share, axis, r2.

    Returns:
        A frame: ranking, seed (-1 for none), share, latitude, longitude, both; both is not a number where one is not.
    """
    keyed = frame.assign(seed=frame["seed"].fillna(-1).astype(int))
    wide = keyed.set_index(["ranking", "seed", "share", "axis"])["r2"].unstack().reindex(columns=list(AXES))
    return wide.assign(both=wide[list(AXES)].mean(axis=1, skipna=False)).reset_index()


def draw(frame):
    """A panel a model: lines of the ranked dimensions, bands from the lowest to the highest random draw.

    Args:
        frame: of :func:`geoprobe.analysis.dimensions.ablate_dimensions`, of one layer and cluster a model and one
            cross-validation and way of ranking, with the label of each model.

    Returns:
        A figure, as tall as the number of models asks for; one that says why where nothing could be fitted.
    """
    known = frame[frame["r2"].notna()]
    if known.empty:
        reasons = "; ".join(frame["reason"].dropna().unique()) or "no probe has coefficients"
        return only_text(f"No subset of dimensions was probed: {reasons}")
    models = list(dict.fromkeys(known["label"]))
    many = len(models) > MANY
    columns = min(CLOSER if many else COLUMNS, len(models))
    count = -(-len(models) // columns)
    drawn, axes = figure(
        PAGE, 1.0 + (1.25 if many else 1.55) * count,
        nrows=count, ncols=columns, squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    for panel, label in zip(axes.flat, models, strict=False):
        rows = known[known["label"] == label]
        scores = by_axis(rows)
        ranked, drawn_at_random = (scores[(scores["ranking"] == RANDOM) == way] for way in (False, True))
        for name, look in LOOKS.items():
            band = drawn_at_random.groupby("share")[name].agg(["min", "max"])
            panel.fill_between(band.index, band["min"], band["max"], color=look["color"], alpha=0.2, lw=0.6)
        for name, look in LOOKS.items():
            panel.plot(ranked["share"], ranked[name], ms=2.6, lw=1, **look)
        for axis in AXES:
            bars = rows[(rows["axis"] == axis) & (rows["ranking"] != RANDOM)]
            panel.vlines(bars["share"], bars["low"], bars["high"], color=LOOKS[axis]["color"], lw=0.8, alpha=0.6)
        panel.axhline(0, color="0.6", lw=0.6, ls=":", zorder=0)
        panel.set_title("\n".join(textwrap.wrap(label, 18 if many else 26)), size=7 if many else 8)
    for panel in axes.flat[len(models) :]:
        panel.set_axis_off()
    ends = known[["r2", "low", "high"]].to_numpy()
    low, high = max(LOWEST, min(0.0, np.nanmin(ends))), max(0.1, np.nanmax(ends))
    axes[0, 0].set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    axes[0, 0].set_xlim(0, 1.04)
    axes[0, 0].set_xticks([0, 0.5, 1], ["0", "50", "100"])
    for column in range(columns):  # the last panel of each column has the axis, whatever lies below
        last = max(row for row in range(count) if row * columns + column < len(models))
        axes[last, column].tick_params(labelbottom=True)
    drawn.supxlabel(f"Share of the dimensions (%)\nn = {span(known['images'])} images", size=8)
    drawn.supylabel("R²", size=8)
    handles = {}  # filled a column at a time
    for name, look in LOOKS.items():
        handles[f"ranked, {name}"] = Line2D([], [], ms=3, lw=1, **look)
        handles[f"random, {name}"] = Patch(color=look["color"], alpha=0.2)
    drawn.legend(handles.values(), handles.keys(), ncols=3, frameon=False, loc="outside upper center")
    return drawn

"""R2 of every model at its chosen layer, with random and with geographic folds, and the control beside it."""

import numpy as np

from geoprobe.figures.counts import write_counts
from geoprobe.figures.style import PAGE, SUPERVISION_COLOURS, TALL, figure, repeat_scale
from geoprobe.numbers import format_number

CVS = {
    "random": "random folds",
    "blocked": "held-out blocks",
    "buffered": "held-out blocks + buffer",
    "grouped": "held-out groups",
    "countries": "held-out countries",
}
# What the choices of a layer are called on an axis.
LAYERS = {
    "inner": "layer chosen in training folds",
    "depth": "layer at a fixed depth",
    "maximum": "best layer of the test folds",
}
MARKERS = {"random": "o", "blocked": "s", "buffered": "D", "grouped": "^", "countries": "v"}


def draw(families):
    """Points with intervals, a row a family and a marker a cross-validation.

    Args:
        families: rows of one choice of layers, cluster all and one target: family, label, supervision, cv, control,
            choice, r2, low, high.

    Returns:
        A figure.
    """
    order = list(dict.fromkeys(families["family"]))[::-1]
    shown = [cv for cv in CVS if cv in set(families["cv"])]
    rows = len(shown) * len(order)
    # of many models closer together, as near as the numbers can stand
    drawn, axes = figure(PAGE, 0.9 + max(min(0.2 * rows, TALL), 0.14 * rows))
    repeat_scale(axes)
    offsets = dict(zip(shown, np.linspace(0.26, -0.26, len(shown)) if len(shown) > 1 else [0.0], strict=True))
    height = {family: y for y, family in enumerate(order)}
    at = families["family"].map(height) + families["cv"].map(offsets)
    # all of one look at once: hundreds of artists take seconds to draw
    for (control, supervision, cv), rows in families.assign(at=at).groupby(["control", "supervision", "cv"]):
        if control == "none":
            error = np.stack([rows["r2"] - rows["low"], rows["high"] - rows["r2"]]).clip(min=0)
            look = {"fmt": MARKERS[cv], "color": SUPERVISION_COLOURS[supervision], "ms": 4.5, "capsize": 2, "lw": 1}
            axes.errorbar(rows["r2"], rows["at"], xerr=error, **look)
            for value, high, y in rows[["r2", "high", "at"]].dropna().to_numpy():
                axes.annotate(
                    format_number(value, 2), (high, y), (4, 0), textcoords="offset points", va="center", size=6.5
                )
        elif control == "permuted":
            axes.plot(rows["r2"], rows["at"], ls="", marker="x", ms=3.5, color="0.4")
    axes.axvline(0, color="0.7", lw=0.8, zorder=0)
    labels = families.drop_duplicates("family").set_index("family")["label"]
    axes.set_yticks(range(len(order)), [labels[name] for name in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    # room for the last number
    left, right = axes.get_xlim()
    axes.set_xlim(left, right + 0.06 * (right - left))
    layer = LAYERS[families["choice"].iloc[0]]
    axes.set_xlabel(f"R² of latitude and longitude, {layer}, with 95 % interval\n{write_counts(families)}")
    colours = {name: colour for name, colour in SUPERVISION_COLOURS.items() if name in set(families["supervision"])}
    handles = [axes.plot([], [], "_", ms=9, mew=4, color=colour, label=name)[0] for name, colour in colours.items()]
    handles += [axes.plot([], [], MARKERS[cv], ms=4.5, color="0.3", label=CVS[cv])[0] for cv in shown]
    if (families["control"] == "permuted").any():
        handles.append(axes.plot([], [], "x", ms=3.5, color="0.4", label="permuted labels")[0])
    drawn.legend(handles=handles, ncols=3, frameon=False, loc="outside upper center")
    return drawn

"""R2 of every model under random and under held-out folds, and how much of it is lost between them."""

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from geoprobe.figures.counts import write_counts
from geoprobe.figures.objectives import CVS, LAYERS, MARKERS
from geoprobe.figures.style import PAGE, SUPERVISION_COLOURS, figure, only_text

ROW = 0.26  # inches
SHADES = ("0.35", "0.7")  # of what is lost under the second cross-validation, and under the third


def tabulate(frame):
    """R2 of each model by cross-validation, the highest under the first of them on top.

    Args:
        frame: family, label, supervision, cv, r2, low, high; cluster all, control none, one choice of layers.

    Returns:
        A dict of r2, low, high to frames: a row a family, a column a cross-validation, in the order of CVS.
    """
    cvs = [cv for cv in CVS if cv in set(frame["cv"])]
    tables = {name: frame.pivot(index="family", columns="cv", values=name)[cvs] for name in ("r2", "low", "high")}
    order = tables["r2"].sort_values(cvs[0], ascending=False, na_position="last", kind="stable").index
    return {name: table.loc[order] for name, table in tables.items()}


def draw(frame):
    """Left, a line a model from its R2 under random folds to that under the strictest; right, what is lost.

    Args:
        frame: see :func:`tabulate`.

    Returns:
        A figure; one that says why where there is a single cross-validation.
    """
    if frame["cv"].nunique() < 2:
        return only_text(
            f"No cross-validations to compare: the probe was fitted with {CVS[frame['cv'].iloc[0]]} alone. Add others "
            "to probes.<probe>.cv."
        )
    tables = tabulate(frame)
    r2, cvs = tables["r2"], list(tables["r2"].columns)
    about = frame.drop_duplicates("family").set_index("family")
    drawn, (left, right) = figure(
        PAGE, 1.3 + ROW * len(r2), ncols=2, sharey=True, gridspec_kw={"width_ratios": (3, 2)}
    )  # fmt: skip
    offsets = np.linspace(-0.24, 0.24, len(cvs))  # intervals of one model beside each other
    supervision, y = about.loc[r2.index, "supervision"], np.arange(len(r2))
    # all of one look at once: hundreds of artists take seconds to draw
    for kind in supervision.unique():
        own, colour = (supervision == kind).to_numpy(), SUPERVISION_COLOURS[kind]
        left.plot(r2[own].T, y[own] + offsets[:, None], color=colour, lw=1, alpha=0.5, zorder=1)
        for cv, offset in zip(cvs, offsets, strict=True):
            value, low, high = (tables[name].loc[own, cv] for name in ("r2", "low", "high"))
            left.hlines(y[own] + offset, low, high, color=colour, lw=0.8, zorder=1)
            left.plot(value, y[own] + offset, ls="", marker=MARKERS[cv], color=colour, ms=3.5, zorder=2)
    # beside each other: what is lost under one may be more or less than under the other
    for cv, shade, offset in zip(cvs[1:3], SHADES, (-0.16, 0.16), strict=False):
        right.barh(y + offset, (r2[cvs[0]] - r2[cv]).to_numpy(), height=0.3, color=shade, lw=0)
    left.set_yticks(range(len(r2)), about.loc[r2.index, "label"])
    left.set_ylim(len(r2) - 0.4, -0.6)
    for panel in (left, right):
        panel.axvline(0, color="0.7", lw=0.8, zorder=0)
        panel.tick_params(axis="y", length=0)
    left.set_xlabel(f"R² with 95 % interval,\n{LAYERS[frame['choice'].iloc[0]]}")
    right.xaxis.set_major_locator(MaxNLocator(4))
    right.set_xlabel(f"R² lost against {CVS[cvs[0]]}")
    drawn.supxlabel(write_counts(frame), size=7)
    colours = {name: colour for name, colour in SUPERVISION_COLOURS.items() if name in set(frame["supervision"])}
    handles = [left.plot([], [], "_", ms=9, mew=4, color=colour, label=name)[0] for name, colour in colours.items()]
    handles += [left.plot([], [], MARKERS[cv], ms=4, color="0.3", label=CVS[cv])[0] for cv in cvs]
    handles += [
        Patch(color=shade, lw=0, label=f"lost with {CVS[cv]}") for cv, shade in zip(cvs[1:3], SHADES, strict=False)
    ]
    drawn.legend(handles=handles, ncols=3, frameon=False, loc="outside upper center")
    return drawn

"""R2 of every model at its last layer, with random and with geographic folds, and the control beside it."""

import numpy as np

from geoprobe.figures.style import PAGE, SUPERVISION_COLOURS, figure

CVS = {"random": "random folds", "blocked": "held-out blocks"}


def draw(families):
    """Points with intervals, a row a family.

    Args:
        families: rows of the family summary at the last layer, cluster all, one pooling and target: family,
            label, supervision, cv, control, r2, low, high.

    Returns:
        A figure.
    """
    order = list(dict.fromkeys(families["family"]))[::-1]
    drawn, axes = figure(PAGE, 0.8 + 0.36 * len(order))
    for y, family in enumerate(order):
        rows = families[families["family"] == family]
        colour = SUPERVISION_COLOURS[rows["supervision"].iloc[0]]
        for cv, offset, face in (("random", 0.16, "white"), ("blocked", -0.16, colour)):
            for row in rows[(rows["cv"] == cv) & (rows["control"] == "none")].itertuples():
                error = np.array([[row.r2 - row.low], [row.high - row.r2]]).clip(min=0)
                axes.errorbar(row.r2, y + offset, xerr=error, fmt="o", ms=5, color=colour, mfc=face, capsize=2, lw=1)
                axes.annotate(
                    f"{row.r2:.2f}", (row.high, y + offset), (4, 0), textcoords="offset points", va="center", size=7
                )
        for row in rows[(rows["cv"] == "blocked") & (rows["control"] == "permuted")].itertuples():
            axes.plot(row.r2, y - 0.16, marker="x", ms=4, color="0.4")
    axes.axvline(0, color="0.7", lw=0.8, zorder=0)
    labels = families.drop_duplicates("family").set_index("family")["label"]
    axes.set_yticks(range(len(order)), [labels[name] for name in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlabel("R² of latitude and longitude at the last layer (95 % interval over geographic blocks)")
    handles = [
        *(axes.plot([], [], "s", color=colour, label=name)[0]
          for name, colour in SUPERVISION_COLOURS.items() if name in set(families["supervision"])),
        axes.plot([], [], "o", color="0.3", mfc="white", label=CVS["random"])[0],
        axes.plot([], [], "o", color="0.3", label=CVS["blocked"])[0],
    ]  # fmt: skip
    if (families["control"] == "permuted").any():
        handles.append(axes.plot([], [], "x", color="0.4", label="permuted labels, blocks")[0])
    drawn.legend(handles=handles, ncols=len(handles), frameon=False, loc="outside upper center")
    return drawn

"""Does what the captions say matter? Differences in R2 between models, with paired intervals over blocks."""

import numpy as np

from geoprobe.figures.objectives import CVS
from geoprobe.figures.style import PAGE, PALETTE, figure


def draw(differences, labels):
    """Points with intervals, a row a pair of families.

    Args:
        differences: frame of family, baseline, cv, difference, low, high, p_holm.
        labels: family to label.

    Returns:
        A figure.
    """
    pairs = list(dict.fromkeys(zip(differences["family"], differences["baseline"], strict=True)))[::-1]
    drawn, axes = figure(PAGE, 0.9 + 0.34 * len(pairs))
    for (cv, name), offset, colour, marker in zip(CVS.items(), (0.14, -0.14), PALETTE[::3], "os", strict=False):
        rows = differences[differences["cv"] == cv].set_index(["family", "baseline"])
        drawn_rows = [(y + offset, rows.loc[pair]) for y, pair in enumerate(pairs) if pair in rows.index]
        for y, row in drawn_rows:
            error = np.array([[row["difference"] - row["low"]], [row["high"] - row["difference"]]]).clip(min=0)
            # hollow: the interval's verdict does not survive the correction for the number of pairs
            face = colour if row["p_holm"] < 0.05 else "white"
            axes.errorbar(row["difference"], y, xerr=error, fmt=marker, ms=4.5, color=colour, mfc=face, capsize=2, lw=1)
        axes.plot([], [], marker, color=colour, label=name)
    axes.plot([], [], "o", color="0.3", mfc="white", label="p ≥ .05 (Holm)")
    axes.axvline(0, color="0.4", lw=0.8, zorder=0)
    axes.set_yticks(range(len(pairs)), [f"{labels[a]} − {labels[b]}" for a, b in pairs])
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.set_xlabel("Difference in R² at the last layer (95 % paired interval over geographic blocks)")
    drawn.legend(ncols=3, frameon=False, loc="outside upper center")
    return drawn

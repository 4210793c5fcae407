"""Does what the captions say matter? Differences in R2 between models, with paired intervals over blocks."""

import numpy as np

from geoprobe.figures.objectives import CVS, LAYERS, MARKERS
from geoprobe.figures.style import PAGE, PALETTE, figure, repeat_scale

COLOURS = PALETTE[0], PALETTE[3], PALETTE[2], PALETTE[1], PALETTE[4]
MOST = 60  # pairs that a page holds


def draw(differences, labels, counts):
    """Points with intervals, a row a pair of families.

    Args:
        differences: frame of family, baseline, cv, choice, difference, low, high, p_holm; rows are drawn in its order.
            Of more than MOST pairs only those with the first baseline are drawn, and a line says so; the table has all.
        labels: family to label.
        counts: how many images are behind the differences, in words.

    Returns:
        A figure.
    """
    pairs = list(dict.fromkeys(zip(differences["family"], differences["baseline"], strict=True)))[::-1]
    every, first = len(pairs), differences["baseline"].iloc[0]
    if every > MOST:
        pairs = [pair for pair in pairs if pair[1] == first]
    places = {pair: y for y, pair in enumerate(pairs)}
    shown = [cv for cv in CVS if cv in set(differences["cv"])]
    drawn, axes = figure(PAGE, 0.9 + 0.13 * len(shown) * len(pairs))
    repeat_scale(axes)
    if len(pairs) < every:
        axes.set_title(f"against {labels[first]}: {len(pairs)} of {every} pairs; the table of differences has all")
    for cv, offset, colour in zip(shown, np.linspace(0.24, -0.24, len(shown)), COLOURS[: len(shown)], strict=True):
        rows = differences[differences["cv"] == cv]
        y = np.array([places.get(pair, np.nan) for pair in zip(rows["family"], rows["baseline"], strict=True)])
        # hollow: not distinguishable from zero after the correction for the number of pairs
        clear = (rows["p_holm"] < 0.05).to_numpy()
        for part, face in ((clear, colour), (~clear, "white")):
            there = part & np.isfinite(y)
            kept, at = rows[there], y[there] + offset
            error = np.stack([kept["difference"] - kept["low"], kept["high"] - kept["difference"]]).clip(min=0)
            look = {"fmt": MARKERS[cv], "color": colour, "mfc": face, "ms": 4, "capsize": 2, "lw": 1}
            axes.errorbar(kept["difference"], at, xerr=error, **look)
        axes.plot([], [], MARKERS[cv], color=colour, label=CVS[cv])
    axes.plot([], [], "o", color="0.3", mfc="white", label="p ≥ .05 (Holm)")
    axes.axvline(0, color="0.4", lw=0.8, zorder=0)
    axes.set_yticks(range(len(pairs)), [f"{labels[a]} − {labels[b]}" for a, b in pairs])
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.set_xlabel(f"Difference in R², {LAYERS[differences['choice'].iloc[0]]}, with 95 % interval\n{counts}")
    drawn.legend(ncols=4, frameon=False, loc="outside upper center")
    return drawn

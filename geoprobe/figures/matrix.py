"""Matrices over pairs of clusters, one below the other, with the values in the cells where they fit."""

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from geoprobe.figures.style import PAGE, figure
from geoprobe.numbers import format_cell

CELL = 8.6 / 72  # inches: no narrower, as every row and column has a name of 7 points
DIVERGING = "RdBu"  # red below 0, blue above
TEXT = 6.5  # points
DARK = 0.6  # beyond it, either way, black cannot be read
TURNED = 12  # columns; of more, names stand upright
# inches that a character of a name, the colour bar and the rest beside the cells take
CHARACTER, BAR, BESIDE = 0.062, 0.65, 0.3


def draw_matrices(panels, names, label, extend, diagonal):
    """One panel a matrix, on one scale from −1 to 1.

    Args:
        panels: title to matrix, shape (n, n); not a number where there is none, shown as grey.
        names: of the n rows and of the columns.
        label: of the colour bar.
        extend: min where values may lie below −1, neither where none does.
        diagonal: whether it is part of the matrix, and has a frame around each cell; else it is left out.

    Returns:
        A figure of the width of a page, wider where n is too large for one.
    """
    count, longest = len(names), max(map(len, names))
    beside = CHARACTER * longest + BAR + BESIDE
    cell = max(CELL, (PAGE - beside) / count)
    height = max(CELL, min(0.3, cell))
    below = CHARACTER * longest * (1 if count > TURNED else 0.7)
    drawn, axes = figure(
        beside + count * cell,
        len(panels) * (height * count + 0.4) + below + 0.4,
        nrows=len(panels),
        squeeze=False,
        sharex=True,
    )
    shown = None
    for panel, (title, values) in zip(axes[:, 0], panels.items(), strict=True):
        shown = panel.imshow(values, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto")
        panel.set_facecolor("0.85")
        panel.set_title(title, loc="left")
        panel.set_yticks(range(count), names)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        for at in range(count if diagonal else 0):
            frame = Rectangle((at - 0.5, at - 0.5), 1, 1, fill=False, ec="black", lw=0.9, zorder=3)
            # black alone is lost on dark cells
            frame.set_path_effects([withStroke(linewidth=2.1, foreground="white")])
            panel.add_patch(frame)
    turn = {"rotation": 90, "ha": "center"} if count > TURNED else {"rotation": 35, "ha": "right"}
    axes[-1, 0].set_xticks(range(count), names, rotation_mode="anchor" if count <= TURNED else "default", **turn)
    drawn.colorbar(shown, ax=axes[:, 0], label=label, extend=extend, ticks=[-1, -0.5, 0, 0.5, 1], pad=0.01, aspect=30)
    _write_values(drawn, axes[:, 0], panels.values(), diagonal)
    return drawn


def _write_values(drawn, axes, matrices, diagonal):
    """Write the values into the cells of each matrix, if the longest of them fits."""
    drawn.draw_without_rendering()  # lays it out
    renderer = drawn.canvas.get_renderer()
    for panel, values in zip(axes, matrices, strict=True):
        texts = {
            (x, y): format_cell(value) for (y, x), value in np.ndenumerate(values) if diagonal or x != y
        }  # fmt: skip
        box = panel.get_window_extent(renderer)
        trial = panel.text(0, 0, max(texts.values(), key=len), size=TEXT)
        needed = trial.get_window_extent(renderer)
        trial.remove()
        if needed.width > box.width / len(values) or needed.height > box.height / len(values):
            continue
        for (x, y), text in texts.items():
            colour = "white" if abs(values[y, x]) > DARK else "black"
            panel.text(x, y, text, ha="center", va="center", size=TEXT, color=colour, in_layout=False)

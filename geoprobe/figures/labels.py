"""Labels of points that overlap neither each other nor the points."""

import numpy as np
from matplotlib.textpath import TextPath

STEP, GAP = 3.5, 6.0  # points: between the heights that are tried, and from a point to its label
FURTHEST = 60  # steps
CROSSED = 10.0  # what a label on an interval or a line costs, in points of distance


def place_labels(axes, points, texts, bars=(), size=6):
    """Write a label beside each point, at the nearest free height, with a thin line to it where it is further off.

    The layout of the figure is done and frozen here, since labels are placed on the page.

    Args:
        axes: with their final limits and all else drawn.
        points: x and y in data units, shape (n, 2).
        texts: n labels.
        bars: boxes in data units that labels keep off where they can, such as intervals: x, low, high.
        size: of the font, in points.

    Returns:
        The annotations, in the order of the points.

    Raises:
        ValueError: there is no free place for a label; the figure must be taller.
    """
    figure = axes.get_figure()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    renderer, point = figure.canvas.get_renderer(), figure.dpi / 72
    frame, at = axes.get_window_extent(renderer), axes.transData.transform(points)
    taken = np.concatenate([at - 3 * point, at + 3 * point], axis=1)
    soft = np.array(
        [[*axes.transData.transform((x, low)), *axes.transData.transform((x, high))] for x, low, high in bars]
    )
    soft = soft.reshape(-1, 4) + np.array([-1, 0, 1, 0]) * point
    placed = [None] * len(texts)
    for index in np.argsort(-at[:, 1], kind="stable"):
        label = axes.annotate(texts[index], points[index], (0, 0), textcoords="offset points", size=size, va="center")
        height, width = label.get_window_extent(renderer).height, _width(texts[index], size) * point
        best = None
        for step in range(FURTHEST):
            for rise in {step * STEP, -step * STEP}:
                for side in (1, -1):
                    left = at[index, 0] + side * GAP * point - (width if side < 0 else 0)
                    low = at[index, 1] + rise * point - height / 2
                    box = np.array([left, low, left + width, low + height])
                    inside = box[0] >= frame.x0 and box[2] <= frame.x1 and box[1] >= frame.y0 and box[3] <= frame.y1
                    if not inside or _overlaps(box, taken).any():
                        continue
                    cost = abs(rise) + CROSSED * _overlaps(box, soft).sum() + (side < 0)
                    if best is None or cost < best[0]:
                        best = (cost, rise, side, box)
            if best is not None and best[0] <= step * STEP:
                break
        if best is None:
            raise ValueError(f"there is no free place for the label {texts[index]!r}; give the figure more height")
        _, rise, side, box = best
        align, edge = ("left", 0) if side > 0 else ("right", 1)
        line = {"arrowstyle": "-", "lw": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 2, "relpos": (edge, 0.5)}
        label.remove()
        label = axes.annotate(
            texts[index], points[index], (side * GAP, rise), textcoords="offset points", size=size, va="center",
            ha=align, arrowprops=line if abs(rise) > STEP else None, zorder=4,
        )  # fmt: skip
        taken, placed[index] = np.vstack([taken, box]), label
    return placed


def _width(text, size):
    """Width of a text in points on paper; on the screen's pixels it is up to a tenth narrower."""
    return TextPath((0, 0), text, size=size).get_extents().width * 1.05 + 1


def _overlaps(box, others):
    """Whether a box (x0, y0, x1, y1) overlaps each of the others, shape (n, 4)."""
    return (box[0] < others[:, 2]) & (others[:, 0] < box[2]) & (box[1] < others[:, 3]) & (others[:, 1] < box[3])

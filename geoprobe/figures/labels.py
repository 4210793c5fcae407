"""Labels of points that overlap neither each other nor the points."""

import textwrap

import numpy as np
from matplotlib.textpath import TextPath

STEP, GAP = 3.5, 6.0  # points: between the heights that are tried, and from a point to its label
FURTHEST = 60  # steps
LENGTHS = (40, 20)  # letters to which a label is shortened
CROSSED = 10.0  # what a label on an interval or a line costs, in points of distance


def place_labels(axes, points, texts, bars=(), size=6):
    """Write a label beside each point, at the nearest free height, with a thin line to it where it is further off.

    One that has no free place anywhere is written in lines, or else shortened; as a last resort it is beside its point,
    over what is there. The layout of the figure is done and frozen here, since labels are placed on the page.

    Args:
        axes: with their final limits and all else drawn.
        points: x and y in data units, shape (n, 2).
        texts: n labels.
        bars: boxes in data units that labels keep off where they can, such as intervals: x, low, high.
        size: of the font, in points.

    Returns:
        The annotations, in the order of the points.
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
        for text in _writings(texts[index]):
            label = axes.annotate(text, points[index], (0, 0), textcoords="offset points", size=size, va="center")
            height, width = label.get_window_extent(renderer).height, _width(text, size) * point
            label.remove()
            found = _find_place(at[index], width, height, frame, taken, soft, point)
            if found is not None:
                break
        else:
            side = 1 if at[index, 0] < (frame.x0 + frame.x1) / 2 else -1
            found = 0, side, _box(at[index], width, height, 0, side, point)
        rise, side, box = found
        align, edge = ("left", 0) if side > 0 else ("right", 1)
        line = {"arrowstyle": "-", "lw": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 2, "relpos": (edge, 0.5)}
        label = axes.annotate(
            text, points[index], (side * GAP, rise), textcoords="offset points", size=size, va="center",
            ha=align, arrowprops=line if abs(rise) > STEP else None, zorder=4,
        )  # fmt: skip
        taken, placed[index] = np.vstack([taken, box]), label
    return placed


def _writings(text):
    """How a label may be written, the best first: as it is, in lines, shortened."""
    yield text
    if len(text) <= LENGTHS[-1]:
        return
    for lines in (2, 3):
        yield "\n".join(textwrap.wrap(text, len(text) // lines + 8))
    for length in LENGTHS:
        if length < len(text):
            yield f"{text[: length - 1]}…"


def _box(at, width, height, rise, side, point):
    """Where a label lies that is so much higher than its point (points), on its right (1) or left (-1), in pixels."""
    left = at[0] + side * GAP * point - (width if side < 0 else 0)
    low = at[1] + rise * point - height / 2
    return np.array([left, low, left + width, low + height])


def _find_place(at, width, height, frame, taken, soft, point):
    """Rise, side and box of the nearest free place of a label; None where there is none. All in pixels but the rise."""
    best = None
    for step in range(FURTHEST):
        for rise in {step * STEP, -step * STEP}:
            for side in (1, -1):
                box = _box(at, width, height, rise, side, point)
                inside = box[0] >= frame.x0 and box[2] <= frame.x1 and box[1] >= frame.y0 and box[3] <= frame.y1
                if not inside or _overlaps(box, taken).any():
                    continue
                cost = abs(rise) + CROSSED * _overlaps(box, soft).sum() + (side < 0)
                if best is None or cost < best[0]:
                    best = (cost, rise, side, box)
        if best is not None and best[0] <= step * STEP:
            break
    return None if best is None else best[1:]


def _width(text, size):
    """Width of a text in points on paper; on the screen's pixels it is up to a tenth narrower."""
    return max(TextPath((0, 0), line, size=size).get_extents().width for line in text.split("\n")) * 1.05 + 1


def _overlaps(box, others):
    """Whether a box (x0, y0, x1, y1) overlaps each of the others, shape (n, 4)."""
    return (box[0] < others[:, 2]) & (others[:, 0] < box[2]) & (box[1] < others[:, 3]) & (others[:, 1] < box[3])

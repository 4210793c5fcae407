"""What every figure has to hold to be read: size of fonts, texts on the canvas, tick labels apart."""

import numpy as np
from matplotlib.text import Text

SMALLEST = 6.0  # points, at the size at which the figure is printed
SLACK = 1.0  # pixels


def check_legible(figure):
    """Fail where a text is too small, cut off by the edge of the canvas, or a tick label covers its neighbour.

    Args:
        figure: as `draw` returns it; it is laid out and drawn once.

    Raises:
        AssertionError: names the texts.
    """
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.bbox.size
    for text in drawn_texts(figure):
        words = text.get_text()
        # texts are drawn as they are, so that what matplotlib writes as a formula is not to be read
        assert "\\mathdefault" not in words, f"{words!r} is the source of a formula"
        assert text.get_fontsize() >= SMALLEST, f"{words!r} has {text.get_fontsize():g} points"
        box = text.get_window_extent(renderer)
        inside = box.x0 >= -SLACK and box.y0 >= -SLACK and box.x1 <= width + SLACK and box.y1 <= height + SLACK
        assert inside, f"{words!r} at {box} is not within {width:g} x {height:g}"
    for axes in figure.axes:
        if not (axes.get_visible() and axes.axison):
            continue
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label for label in _tick_labels(axis) if label.get_visible() and label.get_text().strip()]
            _check_apart(labels, renderer)


def drawn_texts(figure):
    """Texts of a drawn figure that can be seen, without those of ticks that are out of view."""
    left_out = set()
    for axes in figure.axes:
        if axes.get_visible() and axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                shown = set(map(id, _tick_labels(axis)))
                ticks = [*axis.majorTicks, *axis.minorTicks]
                left_out |= {id(label) for tick in ticks for label in (tick.label1, tick.label2)} - shown
        else:
            hidden = (axes.xaxis, axes.yaxis) if axes.get_visible() else (axes,)
            left_out |= {id(text) for part in hidden for text in part.findobj(Text)}
    return [
        text
        for text in dict.fromkeys(figure.findobj(Text))
        if text.get_visible() and text.get_text().strip() and id(text) not in left_out
    ]


def _tick_labels(axis):
    """Labels of the ticks that are drawn: get_ticklabels has those beyond the limits as well."""
    if not axis.get_visible():
        return []
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * max(abs(low), abs(high), 1)
    ticks = [tick for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()] if tick.get_visible()]
    return [
        label
        for tick in ticks
        if low - room <= tick.get_loc() <= high + room
        for label in (tick.label1, tick.label2)
        if label.get_visible()
    ]


def _corners(label, renderer):
    """Corners of a text, turned as it is drawn, shape (4, 2), and the angle in radians."""
    degrees = label.get_rotation()
    label.set_rotation(0)
    flat = label.get_window_extent(renderer)
    label.set_rotation(degrees)
    box = label.get_window_extent(renderer)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (flat.width / 2 - SLACK, flat.height / 2 - SLACK)
    # turned texts lie in the middle of the box around them
    return half @ turn.T + np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]), angle


def _check_apart(labels, renderer):
    """No two labels of an axis lie on each other: rectangles are apart if a line along an edge of one parts them."""
    found = [(label.get_text(), *_corners(label, renderer)) for label in labels]
    for number, (first, a, turned) in enumerate(found):
        for second, b, other in found[number + 1 :]:
            normals = [
                np.array([np.cos(angle + quarter), np.sin(angle + quarter)])
                for angle in {turned, other}
                for quarter in (0, np.pi / 2)
            ]
            apart = any(
                (a @ normal).max() <= (b @ normal).min() or (b @ normal).max() <= (a @ normal).min()
                for normal in normals
            )
            assert apart, f"tick labels {first!r} and {second!r} overlap"

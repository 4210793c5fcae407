"""Files of polygons from anywhere: either each position has its units, or one sentence names the file."""

import json

import geopandas
import numpy as np
import pytest
import shapely
from fuzzing import altered, damaged, guarded
from hypothesis import example, given

from geoprobe.images import polygons

POSITIONS = np.array([[5.0, 5.0], [5.0, 15.0], [10.2, 5.0], [-60.0, 120.0]])
SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}
COLLECTION = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "properties": {"c": "FRA", "r": "x"}, "geometry": SQUARE},
        {
            "type": "Feature",
            "properties": {"c": "DEU", "r": None},
            "geometry": {"type": "MultiPolygon", "coordinates": [[[[10, 0], [20, 0], [20, 10], [10, 0]]]]},
        },
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("polygons")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The same polygons as GeoPackage, FlatGeobuf and GML."""
    frame = geopandas.GeoDataFrame(
        {"c": ["FRA", "DEU"], "r": ["x", ""]},
        geometry=[shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10)],
        crs="EPSG:4326",
    )
    made = {}
    for suffix, driver in (("gpkg", "GPKG"), ("fgb", "FlatGeobuf"), ("gml", "GML")):
        path = tmp_path_factory.mktemp(suffix) / f"units.{suffix}"
        frame.to_file(path, driver=driver)
        made[suffix] = path.read_bytes()
    return made


def read(path):
    polygons._load.cache_clear()
    layers = [{"path": str(path), "country": "c", "region": "r"}]
    with guarded(ValueError, naming=path):
        polygons.check({"layers": layers})
        units = polygons.administrative_units(POSITIONS, layers, 30)
        assert len(units) == len(POSITIONS)
        for name in ("country_code", "country", "region", "district"):
            assert all(isinstance(value, str) for value in units[name]), name


@example(content={"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": []}]})
@given(content=altered(COLLECTION))
def test_polygons_with_odd_values(folder, content):
    path = folder / "units.geojson"
    path.write_text(json.dumps(content))
    read(path)


WORDS = [b"null", b"1e999", b"<OGRVRTDataSource", b"[]", b"nan", b'{"type": "Topology"}', b"\xff", b"Point"]


@example(data=b"{")
@example(data=json.dumps(COLLECTION).encode()[:-40])
@given(data=damaged([json.dumps(COLLECTION).encode()], WORDS))
def test_polygons_of_any_text(folder, data):
    path = folder / "text.geojson"
    path.write_bytes(data)
    read(path)


@pytest.mark.parametrize("suffix", ["gpkg", "fgb", "gml"])
def test_polygons_of_any_bytes(folder, packages, suffix):
    @given(
        data=damaged(
            [packages[suffix]],
            [b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>", b"&e;", b"/vsicurl/http://127.0.0.1:9/"],
        )
    )
    def run(data):
        path = folder / f"units.{suffix}"
        path.write_bytes(data)
        read(path)

    run()

"""Units from polygons: a world of our own squares, against geopandas' spatial join and hand-made coasts."""

import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from image_server import ImageServer

from geoprobe.geodesy import EARTH_RADIUS_KM, great_circle_km
from geoprobe.images import polygons
from geoprobe.images.boundaries import fetch_boundaries
from geoprobe.images.polygons import read_layers

DEGREE_KM = np.pi * EARTH_RADIUS_KM / 180


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two countries of 10 x 10 degrees, FRA with regions and districts, DEU with regions alone, and a nameless one."""
    districts, regions, countries = [], [], []
    for country, west in (("FRA", 0), ("DEU", 10), ("Z01", 40)):
        countries.append((country, shapely.box(west, 0, west + 10, 10)))
        for part in range(2):
            region = f"{country}.{part}"
            regions.append((country, region, shapely.box(west + 5 * part, 0, west + 5 * part + 5, 10)))
            if country == "FRA":
                for row in range(5):
                    box = shapely.box(west + 5 * part, 2 * row, west + 5 * part + 5, 2 * row + 2)
                    districts.append((country, region, f"{region}.{row}", box))
    path = tmp_path_factory.mktemp("world") / "world.gpkg"
    for layer, columns, rows in (
        ("ADM_2", ["GID_0", "GID_1", "GID_2", "geometry"], districts),
        ("ADM_1", ["GID_0", "GID_1", "geometry"], regions),
        ("ADM_0", ["GID_0", "geometry"], countries),
    ):
        frame = geopandas.GeoDataFrame([*rows], columns=columns, crs="EPSG:4326")
        frame.to_file(path, layer=layer, driver="GPKG")
    return path


@pytest.fixture
def layers(world):
    return [
        {"path": str(world), "layer": "ADM_2", "country": "GID_0", "region": "GID_1", "district": "GID_2"},
        {"path": str(world), "layer": "ADM_1", "country": "GID_0", "region": "GID_1"},
        {"path": str(world), "layer": "ADM_0", "country": "GID_0"},
    ]


def scattered(count=500):
    generator = np.random.default_rng(0)
    return np.column_stack([generator.uniform(-3, 13, count), generator.uniform(-5, 55, count)])


def joined(world, layer, column, positions):
    """Values of a column at positions, by geopandas."""
    points = geopandas.GeoDataFrame(
        geometry=geopandas.points_from_xy(positions[:, 1], positions[:, 0]), crs="EPSG:4326"
    )
    frame = geopandas.sjoin(points, geopandas.read_file(world, layer=layer), predicate="within", how="left")
    return frame[column].fillna("").tolist()


def test_units_are_those_of_a_spatial_join(world, layers):
    positions = scattered()
    units = polygons.administrative_units(positions, layers, coast_km=0)
    codes = {"FRA": "FR", "DEU": "DE", "Z01": "Z01", "": ""}
    assert units["country_code"].tolist() == [codes[c] for c in joined(world, "ADM_0", "GID_0", positions)]
    assert units["region"].tolist() == joined(world, "ADM_1", "GID_1", positions)
    assert units["district"].tolist() == joined(world, "ADM_2", "GID_2", positions)
    assert set(units["country"]) == {"France", "Germany", "Z01", ""}
    assert not units["border_uncertain"].any()
    assert (units["country_code"] == "").any()


def test_a_shared_border_belongs_to_one_side_always_the_same(layers):
    on_it = np.array([(5.0, 10.0)] * 3)
    units = polygons.administrative_units(on_it, layers, coast_km=0)
    assert set(units["country_code"]) == {"FR"}


@pytest.mark.parametrize(("latitude", "off"), [(5.0, 0.05), (5.0, 0.3)])
def test_what_lies_off_a_coast_belongs_to_the_nearest_polygon_within_reach(layers, latitude, off):
    away = off * DEGREE_KM * np.cos(np.radians(latitude))  # west of the meridian 0
    for reach in (away - 0.2, away + 0.2):
        units = polygons.administrative_units(np.array([(latitude, -off)]), layers, coast_km=reach)
        assert units["country_code"].tolist() == (["FR"] if reach > away else [""])
        assert units["border_uncertain"].tolist() == [reach > away]
        assert units["district"].tolist() == (["FRA.0.2"] if reach > away else [""])


def test_another_reference_system_is_turned_into_degrees(world, layers, tmp_path):
    frame = geopandas.read_file(world, layer="ADM_0").to_crs("EPSG:3857")
    frame.to_file(tmp_path / "mercator.gpkg")
    other = [{"path": str(tmp_path / "mercator.gpkg"), "country": "GID_0"}]
    positions = scattered()
    expected = polygons.administrative_units(positions, layers[2:], coast_km=0)
    found = polygons.administrative_units(positions, other, coast_km=0)
    assert found["country_code"].tolist() == expected["country_code"].tolist()


def test_a_missing_file_or_column_is_named(world, tmp_path):
    with pytest.raises(ValueError, match=r'layers\[0\]\.path is "no\.gpkg", and there is no such file'):
        polygons.check({"layers": [{"path": "no.gpkg", "country": "GID_0"}]})
    with pytest.raises(ValueError, match=r'layers\[0\]\.region is "GID_9", which is not among the columns of .*GID_1'):
        polygons.check({"layers": [{"path": str(world), "layer": "ADM_1", "region": "GID_9"}]})


def test_a_users_own_file_or_a_member_of_a_zip_is_found(world, tmp_path):
    with zipfile.ZipFile(tmp_path / "world.zip", "w") as file:
        file.write(world, "levels/world.gpkg")
    levels = {"layer": "ADM_0", "country": "GID_0"}
    own = {"coast_km": 10, "layers": [{"file": str(world), **levels}]}
    zipped = {
        "coast_km": 10,
        "layers": [{"file": str(tmp_path / "world.zip"), "member": "levels/world.gpkg", **levels}],
    }
    for name, options in (("own", own), ("zipped", zipped)):
        manifest = tmp_path / f"{name}.json"
        fetch_boundaries(options, manifest, {})
        assert read_layers(manifest)["coast_km"] == 10
        units = polygons.administrative_units(np.array([(5.0, 12.0)]), **read_layers(manifest))
        assert units["country_code"].tolist() == ["DE"]
    zipped["layers"][0]["member"] = "other.gpkg"
    with pytest.raises(ValueError, match=r'member is "other\.gpkg", which .* does not hold: levels/world\.gpkg'):
        fetch_boundaries(zipped, tmp_path / "other.json", {})


def unit(code, west):
    """A file of one country of 10 x 10 degrees."""
    frame = geopandas.GeoDataFrame({"GID_0": [code]}, geometry=[shapely.box(west, 0, west + 10, 10)], crs="EPSG:4326")
    return frame.to_json().encode()


def countries_of(options, manifest, network):
    """Countries at two places, 10 degrees apart."""
    fetch_boundaries(options, manifest, network)
    return polygons.administrative_units(np.array([(5.0, 5.0), (5.0, 15.0)]), **read_layers(manifest))["country_code"]


def test_files_of_one_name_are_kept_apart(tmp_path):
    units = {"FRA/adm0.geojson": unit("FRA", 0), "DEU/adm0.geojson": unit("DEU", 10)}
    for name, content in units.items():
        with zipfile.ZipFile(tmp_path / f"{name[:3]}.zip", "w") as file:
            file.writestr("adm0.geojson", content)
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as file:
        for name, content in units.items():
            file.writestr(name, content)
    with ImageServer() as server:
        server.files.update({f"/{name}": content for name, content in units.items()})
        listed = {
            "fetched": [{"file": f"{server.root}/{name}"} for name in units],
            "archives": [{"file": str(tmp_path / f"{name[:3]}.zip"), "member": "adm0.geojson"} for name in units],
            "members": [{"file": str(tmp_path / "both.zip"), "member": name} for name in units],
        }
        for name, layers in listed.items():
            options = {"coast_km": 0, "layers": [{**layer, "country": "GID_0"} for layer in layers]}
            found = countries_of(options, tmp_path / f"{name}.json", {"allow_private": True})
            assert found.tolist() == ["FR", "DE"], name


def test_a_member_that_has_changed_and_not_its_size_is_unpacked_anew(tmp_path):
    layer = {"file": str(tmp_path / "units.zip"), "member": "adm0.geojson", "country": "GID_0"}
    for code in ("FRA", "DEU"):
        with zipfile.ZipFile(layer["file"], "w") as file:
            file.writestr("adm0.geojson", unit(code, 0))
        fetch_boundaries({"coast_km": 0, "layers": [layer]}, tmp_path / "own.json", {})
        (unpacked,) = read_layers(tmp_path / "own.json")["layers"]
        assert Path(unpacked["path"]).read_bytes() == unit(code, 0)


def test_the_nearest_coast_is_so_in_km_and_not_in_degrees(tmp_path):
    """At 80° N a degree of longitude is a sixth of one of latitude: 6 km to the east are more degrees than 11 north."""
    east, north = 6 / (DEGREE_KM * np.cos(np.radians(80))), 11 / DEGREE_KM
    assert east > north
    boxes = {"FRA": shapely.box(-1, 80 + north, 1, 85), "DEU": shapely.box(east, 79, 20, 81)}
    frame = geopandas.GeoDataFrame({"GID_0": [*boxes]}, geometry=[*boxes.values()], crs="EPSG:4326")
    frame.to_file(tmp_path / "arctic.gpkg")
    layers = [{"path": str(tmp_path / "arctic.gpkg"), "country": "GID_0"}]
    for reach, code in ((5.9, ""), (6.1, "DE"), (20, "DE")):
        units = polygons.administrative_units(np.array([(80.0, 0.0)]), layers, coast_km=reach)
        assert units["country_code"].tolist() == [code]


def test_the_nearest_of_many_coasts_is_that_of_distances_to_many_points_of_them(tmp_path):
    generator = np.random.default_rng(1)
    corners = np.column_stack([generator.uniform(-30, 30, 60), generator.uniform(60, 75, 60)])
    shapes = [
        shapely.Polygon(corner + np.array([(0, 0), *generator.uniform(0, 1.5, (2, 2))])).buffer(0) for corner in corners
    ]
    frame = geopandas.GeoDataFrame({"GID_0": [f"c{k}" for k in range(60)]}, geometry=shapes, crs="EPSG:4326")
    frame.to_file(tmp_path / "many.gpkg")
    positions = np.column_stack([generator.uniform(60, 75, 200), generator.uniform(-30, 30, 200)])
    layers = [{"path": str(tmp_path / "many.gpkg"), "country": "GID_0"}]
    found = polygons.administrative_units(positions, layers, coast_km=60)
    dense = [shapely.get_coordinates(shapely.segmentize(shape.boundary, 0.002))[:, ::-1] for shape in shapes]
    away = np.column_stack([[great_circle_km(here, points).min() for here in positions] for points in dense])
    inside = np.column_stack([shapely.contains_xy(shape, positions[:, 1], positions[:, 0]) for shape in shapes])
    away[inside] = 0
    first, second = np.sort(away, axis=1)[:, :2].T
    told = (second - first > 0.2) & (np.abs(first - 60) > 0.2)
    expected = np.where(first <= 60, [f"c{k}" for k in away.argmin(axis=1)], "")
    assert told.sum() > 150
    assert {"", *expected[told]} <= {*found["country_code"]}
    assert found["country_code"].to_numpy()[told].tolist() == expected[told].tolist()

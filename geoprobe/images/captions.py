"""Captions for tiles that have none of their own: places, scenery, and places shuffled among the tiles.

`places` names the country and the first-level region (with the gazetteer's errors near borders).
`scenery` has no place name: land cover, colour, coast and relief words computed from the tile itself.
`shuffled` gives each tile another tile's place: the same words, as often, and no information.
"""

import numpy as np

# Land cover by the tile's mean land colour: nearest of these, in red, green, blue of the Blue Marble.
COVERS = {
    "ice": (235, 240, 243),
    "rainforest": (22, 48, 14),
    "woodland": (42, 58, 24),
    "tundra": (96, 92, 84),
    "steppe": (92, 80, 54),
    "savanna": (70, 66, 36),
    "semidesert": (140, 112, 78),
    "desert": (205, 172, 128),
    "drylands": (124, 72, 40),
}
WATER_MARGIN = 18  # a pixel is water where blue exceeds red and green by this much (of 255)
BRIGHTNESS = ((50, "dark"), (95, "dim"), (160, "light"), (256, "bright"))  # mean of red, green, blue below
ROUGHNESS = ((2.5, "smooth"), (6.0, "rolling"), (12.0, "rough"), (256, "rugged"))  # mean pixel-to-pixel step below
COASTS = ((0.02, "inland"), (0.15, "lakes"), (0.35, "shore"), (1.01, "coast"))  # share of water below


def places(units):
    """Country and region of each row of a frame of administrative units, as captions."""
    return [f"{country}, {region}" if region else country for country, region in units[["country", "region"]].values]


def _word(value, table):
    return next(word for limit, word in table if value < limit)


def scenery(tiles):
    """Describe tiles without naming a place.

    Args:
        tiles: uint8 red, green, blue, shape (n, size, size, 3).

    Returns:
        A caption for each tile, such as "rolling dark rainforest, shore, green tint".
    """
    names, colours = list(COVERS), np.array(list(COVERS.values()), dtype=np.float64)
    captions = []
    for tile in tiles.astype(np.float64):
        red, green, blue = tile[..., 0], tile[..., 1], tile[..., 2]
        water = (blue > red + WATER_MARGIN) & (blue > green + WATER_MARGIN)
        land = ~water if (~water).any() else np.ones_like(water)
        mean = tile[land].mean(axis=0)
        cover = names[int(np.argmin(((colours - mean) ** 2).sum(axis=1)))]
        grey = tile.mean(axis=2)
        step = (np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2
        tint = "neutral" if np.ptp(mean) < 12 else ("red", "green", "blue")[int(np.argmax(mean))]
        captions.append(
            f"{_word(step, ROUGHNESS)} {_word(grey[land].mean(), BRIGHTNESS)} {cover}, "
            f"{_word(water.mean(), COASTS)}, {tint} tint"
        )
    return captions


def shuffled(captions, generator):
    """The captions in another order.

    Args:
        captions: list of n captions.
        generator: a numpy Generator.
    """
    return [captions[index] for index in generator.permutation(len(captions))]

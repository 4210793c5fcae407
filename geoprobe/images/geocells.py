"""Balance over the globe: administrative units merged into geocells, and at most so many images from each.

After the paper, section on data: a geocell holds at least one whole second-level unit; units with too few
images are merged within their first-level region, and what is still too small within its country.
"""

import hashlib

import numpy as np
import pandas as pd


def merge_units(units, minimum):
    """Merge administrative units into geocells of at least `minimum` images where that is possible.

    Args:
        units: frame with columns country_code, region and district; one row an image or, with a column `images`,
            one row for that many images.
        minimum: images below which a unit is merged with the other small ones beside it.

    Returns:
        Geocell names, shape (n,): "country/region/district" for a unit of its own, "country/region/*" for
        what was merged within a region, "country/*" for what was merged within a country. A country with
        fewer images than `minimum` in all is one geocell.
    """
    images = units["images"].to_numpy() if "images" in units else np.ones(len(units))
    country = units["country_code"].to_numpy(str)
    region = np.char.add(np.char.add(country, "/"), units["region"].to_numpy(str))
    cell = np.char.add(np.char.add(region, "/"), units["district"].to_numpy(str)).astype(object)
    for parent in (region, country):
        _, inverse = np.unique(cell.astype(str), return_inverse=True)
        small = np.bincount(inverse, weights=images)[inverse] < minimum
        cell[small] = np.char.add(parent[small], "/*")
    return cell.astype(str)


def draw_order(ids, seed):
    """Keys whose alphabetical order is a random order of images.

    An image's key is the MD5 of the seed and its id: it depends on no other image, so that a longer list, or one
    read in another order, draws the same images again. (DuckDB spells it md5(seed || '/' || id).)
    """
    return np.array([hashlib.md5(f"{seed}/{name}".encode(), usedforsecurity=False).hexdigest() for name in ids])


def cap_geocells(ids, geocells, maximum, seed):
    """Choose at most `maximum` images from each geocell at random.

    Args:
        ids: a name for each image, shape (n,).
        geocells: a geocell for each image, shape (n,).
        maximum: the cap.
        seed: of the choice.

    Returns:
        True for each image that is kept, shape (n,).
    """
    frame = pd.DataFrame({"geocell": geocells, "key": draw_order(ids, seed)})
    rank = frame.sort_values("key", kind="stable").groupby("geocell").cumcount()
    return (rank < maximum).sort_index().to_numpy()

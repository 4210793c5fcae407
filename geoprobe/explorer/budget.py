"""What fits into the explorer's page: fewer thumbnails first, then fewer images on a map, then fewer maps."""

import numpy as np

from geoprobe.explorer.maps import CELL_DEGREES
from geoprobe.probes.labels import ALL

BASE64 = 4 / 3
LEAST = 500  # images on a map, if it has as many: with fewer there are fewer maps instead
CELLS = (180 // CELL_DEGREES) * (360 // CELL_DEGREES)
SPARE = 0.98  # of what is left: numbers of images are those that were tested


def needed_bytes(wanted, points, options, id_bytes):
    """Bytes that maps take in the page, with the places of their images.

    Args:
        wanted: frame with a row a map: dataset, cluster, images.
        points: images on a map at most.
        options: `explorer` of the configuration.
        id_bytes: data set to the bytes of an image's name; 0 where the page has none.
    """
    shown = np.minimum(wanted["images"], points)
    cells = np.where(wanted["images"] > options["points"], np.minimum(wanted["images"], CELLS), 0)
    needed = (8 * BASE64 * (shown + cells) + 150).sum()
    for dataset, of_clusters in wanted.groupby(["dataset", "cluster"])["images"].max().groupby(level=0):
        most = np.minimum(of_clusters, points).sum()
        # an image may be in several clusters, that of all images among them
        own = min(most, of_clusters.max() if ALL in of_clusters.index.get_level_values(1) else most)
        needed += 4 * BASE64 * most + (12 * BASE64 + id_bytes[dataset]) * own
    return needed


def plan_maps(wanted, shown, options, left, id_bytes):
    """Which maps the page has, and how many images each shows at most.

    Args:
        wanted: see :func:`needed_bytes`, also with prompt and cv.
        shown: the run's `prompts` and the `cv` that comes first.
        options, id_bytes: see :func:`needed_bytes`.
        left: bytes that there are.

    Returns:
        True for each map that is kept, shape (maps,), images on a map at most, and what is left out, in words ("" where
        nothing is).
    """
    first = (wanted["cv"] == shown["cv"]).to_numpy()
    asked = first & wanted["prompt"].isin([shown["prompts"][0], "none"]).to_numpy()
    scopes = {
        "": np.ones(len(wanted), dtype=bool),
        f"maps under other cross-validations than {shown['cv']}": first,
        f"maps under other cross-validations than {shown['cv']} and of other prompts than the first": asked,
        "maps of single clusters, of other cross-validations and of other prompts": asked
        & (wanted["cluster"] == ALL).to_numpy(),
    }
    for words, kept in scopes.items():
        # the largest number that fits
        low, high = min(LEAST, options["points"]), options["points"]
        if needed_bytes(wanted[kept], low, options, id_bytes) > SPARE * left:
            continue
        while low < high:
            middle = (low + high + 1) // 2
            fits = needed_bytes(wanted[kept], middle, options, id_bytes) <= SPARE * left
            low, high = (middle, high) if fits else (low, middle - 1)
        return kept, low, words
    return np.zeros(len(wanted), dtype=bool), options["points"], "maps"

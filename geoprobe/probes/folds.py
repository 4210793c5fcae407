"""Cross-validation folds, assigned once a data set and shared by every model.

`random` is the paper's: images of one place may stand on both sides. `blocked` holds out whole geographic
blocks, so that a place seen in training is not asked for again. `buffered` has the same folds and keeps images
just across a block's edge, which may show the same ground, out of training as well.
"""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from sklearn.model_selection import GroupKFold, KFold

from geoprobe.geodesy import EARTH_RADIUS_KM, block_of, to_sphere


def join_groups(blocks, groups):
    """Units that must not be split when neither a block nor a group may be.

    Args:
        blocks, groups: labels, shape (n,).

    Returns:
        Integer labels, shape (n,): connected components of images that share a block or a group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    block, group = (pd.factorize(pd.Series(values))[0] for values in (blocks, groups))
    first_group = block.max() + 1
    nodes = first_group + group.max() + 1
    graph = coo_array((np.ones(len(block)), (block, first_group + group)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][block]


def near_folds(positions, folds, buffer_km):
    """For each image, the folds from whose test images it is no farther than a distance, its own left out.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        folds: fold of each image, shape (n,), below 63.
        buffer_km: great-circle distance in kilometres; 0 for none.

    Returns:
        int64, shape (n,): bit f is set where fold f is near, so that the image is not trained on when f is tested.
    """
    near = np.zeros(len(folds), dtype=np.int64)
    if buffer_km > 0:
        vectors = to_sphere(positions)
        # a chord of the unit sphere
        reach = 2 * np.sin(min(buffer_km / (2 * EARTH_RADIUS_KM), np.pi / 2))
        for fold in np.unique(folds):
            others = np.flatnonzero(folds != fold)
            distance, _ = cKDTree(vectors[folds == fold]).query(vectors[others])
            near[others[distance <= reach]] |= 1 << int(fold)
    return near


def assign_folds(ids, positions, groups, count, block_degrees, seed, buffer_km=0.0):
    """Fold of each image under each cross-validation.

    Args:
        ids: image ids, shape (n,).
        positions: latitude and longitude in degrees, shape (n, 2).
        groups: what must not be split (author, sequence, landmark), shape (n,); honoured by `blocked`.
        count: number of folds.
        block_degrees: side of a block.
        seed: of both.
        buffer_km: under `buffered`, images no farther than this from a test image are not trained on.

    Returns:
        Frame of id, random, blocked, buffered (fold numbers from 0), buffered_near (see :func:`near_folds`) and
        block (the number of the unit that is held out as a whole).

    Raises:
        ValueError: fewer images or blocks than folds.
    """
    blocks = block_of(positions, block_degrees)
    units = join_groups(blocks, groups)
    for what, available in (("images", len(ids)), ("geographic blocks", len(np.unique(units)))):
        if available < count:
            raise ValueError(
                f"folds.count is {count}, but there are only {available} {what}. "
                "Ask for fewer folds, smaller blocks or more images."
            )
    folds = pd.DataFrame({"id": ids, "random": -1, "blocked": -1, "block": units})
    splits = {
        "random": KFold(count, shuffle=True, random_state=seed).split(positions),
        "blocked": GroupKFold(count, shuffle=True, random_state=seed).split(positions, groups=units),
    }
    for name, split in splits.items():
        for fold, (_, test) in enumerate(split):
            folds.loc[test, name] = fold
    folds["buffered"] = folds["blocked"]
    folds["buffered_near"] = near_folds(positions, folds["buffered"].to_numpy(), buffer_km)
    return folds

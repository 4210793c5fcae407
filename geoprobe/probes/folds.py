"""Cross-validation folds, assigned once a data set and shared by every model.

`random` is the paper's: images of one place may stand on both sides. `blocked` holds out whole geographic
blocks, so that a place seen in training is not asked for again.
"""

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold

from geoprobe.geodesy import block_of


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


def assign_folds(ids, positions, groups, count, block_degrees, seed):
    """Fold of each image under each cross-validation.

    Args:
        ids: image ids, shape (n,).
        positions: latitude and longitude in degrees, shape (n, 2).
        groups: what must not be split (author, sequence, landmark), shape (n,); honoured by `blocked`.
        count: number of folds.
        block_degrees: side of a block.
        seed: of both.

    Returns:
        Frame of id, random, blocked, block: fold numbers from 0, and the number of the geographic block.

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
    return folds

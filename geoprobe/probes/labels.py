"""Which images a probe sees, and with which labels."""

import numpy as np

ALL = "all"  # the cluster that is the whole data set


def join_on_ids(ids, frame, what):
    """Rows of a frame in the order of ids.

    Raises:
        ValueError: the frame's ids are not these; names one that is missing.
    """
    indexed = frame.set_index("id")
    missing = [name for name in ids if name not in indexed.index]
    if missing or len(indexed) != len(ids):
        raise ValueError(
            f"{what}: has {len(indexed)} images, the image store {len(ids)}"
            + (f", and lacks {missing[0]}" if missing else "")
            + ". It belongs to another image store; delete it to make it again."
        )
    return indexed.loc[list(ids)].reset_index()


def cluster_rows(clusters):
    """Row numbers of the whole data set and of each cluster, by the cluster's name in the probe table."""
    rows = {ALL: np.arange(len(clusters))}
    for number in np.unique(clusters[clusters >= 0]):
        rows[str(number)] = np.flatnonzero(clusters == number)
    return rows


def control_positions(positions, rows, control, seed):
    """Labels under a control: the true ones, or the same ones shuffled among the cluster's images.

    Args:
        positions: shape (n, 2), degrees.
        rows: row numbers of the cluster.
        control: none or permuted.
        seed: of the shuffling; the same for every model.

    Returns:
        shape (len(rows), 2).
    """
    if control == "permuted":
        rows = np.random.default_rng([seed, len(rows)]).permutation(rows)
    return positions[rows]

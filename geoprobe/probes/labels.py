"""Which images a probe sees, and with which labels."""

import contextlib

import h5py
import numpy as np
import pandas as pd

from geoprobe.geodesy import from_sphere, to_sphere

CONTROLS = ("none", "permuted", "permuted_cells")
ALL = "all"  # the cluster that is the whole data set


def join_on_ids(ids, frame, what):
    """Rows of a frame in the order of ids; the frame's attrs are kept.

    Raises:
        ValueError: the frame's ids are not these; names one that is missing.
    """
    wanted, index = pd.Index(ids), pd.Index(frame["id"])
    missing = ~wanted.isin(index)
    if missing.any() or len(index) != len(wanted):
        raise ValueError(
            f"{what}: has {len(index)} images, the image store {len(wanted)}"
            + (f", and lacks {wanted[missing][0]}" if missing.any() else "")
            + ". It belongs to another image store; delete it to make it again."
        )
    joined = frame.iloc[index.get_indexer(wanted)].reset_index(drop=True)
    joined.attrs = frame.attrs
    return joined


@contextlib.contextmanager
def open_fits(path, ids):
    """A file of fits, open for reading, whose rows are those of an image store.

    Args:
        path: of the file.
        ids: of the image store.

    Raises:
        ValueError: the probes were fitted on other images, or in another order.
    """
    with h5py.File(path, "r") as file:
        if not np.array_equal(file["ids"].asstr()[:], ids):
            raise ValueError(
                f"{path}: the probes are of other images than the image store; delete it to make it again."
            )
        yield file


def cluster_rows(clusters):
    """Row numbers of the whole data set and of each cluster, by the cluster's name in the probe table."""
    rows = {ALL: np.arange(len(clusters))}
    for number in np.unique(clusters[clusters >= 0]):
        rows[str(number)] = np.flatnonzero(clusters == number)
    return rows


def cell_centres(positions, cell, count):
    """Mean position on the sphere of the images of each cell.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        cell: number of each image's cell, shape (n,).
        count: of cells, each with an image or more.

    Returns:
        Latitude and longitude in degrees, shape (count, 2): the direction of the mean of the unit vectors, so that
        neither the antimeridian nor a pole pulls it aside.
    """
    vectors = to_sphere(positions)
    return from_sphere(np.stack([np.bincount(cell, weights=axis, minlength=count) for axis in vectors.T], axis=-1))


def control_positions(positions, rows, control, seed, cells=None):
    """Labels under a control, the same for every model.

    Args:
        positions: shape (n, 2), degrees.
        rows: row numbers of the cluster.
        control: "none", the true positions; "permuted", these shuffled among the cluster's images, which are then
            told apart by nothing; "permuted_cells", cells exchanged as a whole: the images of a cell stay together,
            and all get the mean position of another cell's images. What a probe still finds under the latter it has
            from the identity of the place and not from where that is (after the control tasks of Hewitt and Liang
            2019, arXiv 1909.03368). A cell on its own in the cluster keeps its place.
        seed: of the shuffling.
        cells: geocell of each image, shape (n,); of use to permuted_cells alone.

    Returns:
        shape (len(rows), 2).

    Raises:
        ValueError: there is no such control.
    """
    if control not in CONTROLS:
        raise ValueError(f'the control is "{control}"; allowed: {", ".join(CONTROLS)}.')
    generator = np.random.default_rng([seed, len(rows)])
    if control == "permuted":
        rows = generator.permutation(rows)
    if control != "permuted_cells":
        return positions[rows]
    cell, names = pd.factorize(np.asarray(cells, dtype=object)[rows], sort=True)
    # one cycle through all cells in a random order, so that none is followed by itself
    order = generator.permutation(len(names))
    successor = np.empty_like(order)
    successor[order] = np.roll(order, -1)
    return cell_centres(positions[rows], cell, len(names))[successor[cell]]

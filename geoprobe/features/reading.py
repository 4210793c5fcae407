"""Features of one layer for the rows of a cluster, held in memory where they fit and read through where they do not."""

import contextlib

import h5py
import numpy as np

from geoprobe.features.store import match_rows, open_layer
from geoprobe.hdf5_files import naming

CHUNK = 4096  # images read or converted at a time


class LayerRows:
    """One layer of a feature store, whose rows are asked for by the numbers of the images of a data set.

    A layer that takes no more than `budget` bytes as float32 is read once and kept; of a larger one each
    pass reads the file from its beginning to its end, so that memory does not grow with the number of images.
    """

    def __init__(self, path, data, order, ids, budget):
        self.path, self.data, self.ids = path, data, ids
        self.width = data.shape[1]
        self.order = np.arange(len(ids)) if order is None else order
        self.values = None
        if len(ids) * self.width * 4 <= budget:
            values = data[:].astype(np.float32, copy=False)
            self.values = values if order is None else values[order]
            self._check(self.values, np.arange(len(ids)))

    def _check(self, values, images):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{self.path}: {self.data.name} holds values that are not finite, the first for image "
                f"{self.ids[images[np.argmin(finite)]]}; delete the file to extract it again, in float32 if it was "
                "float16"
            )

    def chunks(self, rows):
        """A function whose every call goes through the features of some images.

        Args:
            rows: numbers of the images, shape (n,).

        Returns:
            A function without arguments; what it gives is an iterable of positions in `rows`, shape (m,), and
            features, float32, shape (m, width), each position exactly once.

        Raises:
            ValueError: on reading, where a value is not finite; names the image.
        """
        return lambda: self._held(rows) if self.values is not None else self._read(rows)

    def _held(self, rows):
        # what is no longer than two chunks is given at once: its Gram matrix is one product
        size = len(rows) if len(rows) <= 2 * CHUNK else CHUNK
        for start in range(0, len(rows), max(1, size)):
            positions = np.arange(start, min(start + size, len(rows)))
            yield positions, self.values[rows[positions]]

    def _read(self, rows):
        stored = self.order[rows]
        by_place = np.argsort(stored, kind="stable")
        places = stored[by_place]
        for start in range(0, len(self.order), CHUNK):
            first, last = np.searchsorted(places, (start, start + CHUNK))
            if first < last:
                with naming(self.path):
                    chunk = self.data[start : start + CHUNK]
                values = chunk[places[first:last] - start].astype(np.float32, copy=False)
                positions = by_place[first:last]
                self._check(values, rows[positions])
                yield positions, values


@contextlib.contextmanager
def open_layers(path, ids, budget):
    """Open a feature store for reading layer by layer.

    Args:
        path: feature store.
        ids: ids of the images of the data set, shape (n,), by which rows are asked for.
        budget: bytes up to which a layer is held in memory.

    Yields:
        A function of tower, pooling, layer that gives a :class:`LayerRows`.

    Raises:
        FileNotFoundError: a shard of the store is not there; names it.
        ValueError: the store's ids are not the given ones, or it is damaged.
    """
    with contextlib.ExitStack() as opened:
        with naming(path):
            file = opened.enter_context(h5py.File(path, "r"))
            order = match_rows(path, file["ids"].asstr()[:], ids)

        def layer_rows(tower, pooling, layer):
            with naming(path):
                return LayerRows(path, open_layer(file, path, tower, pooling, layer), order, ids, budget)

        yield layer_rows

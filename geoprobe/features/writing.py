"""Writing behind: features are checked and written by a thread while the model works on the next batch."""

import queue
import threading

import numpy as np
import torch

from geoprobe.features.store import DONE

WAITING = 4  # batches that may wait to be written; more would only fill memory


def to_host(pooled):
    """Start copying features to the CPU.

    Args:
        pooled: (tower, pooling, layer) to tensor (n, width), on any device.

    Returns:
        The same on the CPU, and CUDA events after which they are there.
    """
    host, devices = {}, set()
    for key, values in pooled.items():
        if values.is_cuda:
            # only from pinned memory's side does a copy not wait
            target = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            host[key] = target.copy_(values, non_blocking=True)
            devices.add(values.device)
        else:
            host[key] = values
    return host, [torch.cuda.current_stream(device).record_event() for device in devices]


def check_values(place, values, ids, dtype):
    """Features that the file can hold.

    Args:
        place: tower/pooling/layer.
        values: float32, shape (n, width).
        ids: of the images, n.
        dtype: in which they are stored.

    Raises:
        FloatingPointError: a value is not finite; names the place and the image.
        OverflowError: a value is too large for the dtype; names the place, the image and the fix.
    """
    limit = float(np.finfo(dtype).max)
    if values.max() <= limit and values.min() >= -limit:  # false also for what is not a number
        return
    row = int(np.argmin((np.abs(values) <= limit).all(axis=1)))
    if not np.isfinite(values[row]).all():
        raise FloatingPointError(f"{place}: a feature of image {ids[row]} is not finite")
    worst = values[row][np.argmax(np.abs(values[row]))]
    raise OverflowError(
        f"{place}: a feature of image {ids[row]} is {worst:.6g}, beyond {limit:.6g}, the largest that {dtype} holds; "
        "set features.dtype: float32."
    )


class WriteBehind:
    """Writes features into an open store, and marks each chunk when all of it is on disk.

    What goes wrong in its thread is raised by the next `put`, or at the end.
    """

    def __init__(self, file, ids, chunk, datasets):
        """
        Args:
            file: of :func:`geoprobe.features.store.open_partial`.
            ids: of the images, one a row of the file.
            chunk: rows a chunk.
            datasets: (tower, pooling, layer, width) of every dataset of the file.
        """
        self.file, self.ids, self.chunk = file, ids, chunk
        self.widths = {(tower, pooling, layer): width for tower, pooling, layer, width in datasets}
        self.left = [min(chunk, len(ids) - start) for start in range(0, len(ids), chunk)]
        self.error = None
        self.waiting = queue.Queue(WAITING)
        self.thread = threading.Thread(target=self._work, name="write features", daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.waiting.put(None)
        self.thread.join()
        if kind is None and self.error is not None:
            raise self.error

    def put(self, rows, pooled):
        """Hand over the features of the images of one chunk.

        Args:
            rows: rows of the file, n.
            pooled: (tower, pooling, layer) to float32 tensor (n, width), on any device.
        """
        if self.error is not None:
            raise self.error
        self.waiting.put((np.asarray(rows), *to_host(pooled)))

    def _work(self):
        while (item := self.waiting.get()) is not None:
            # after an error the queue is still emptied: nobody may wait for room in it for ever
            if self.error is None:
                try:
                    self._write(*item)
                except Exception as error:
                    self.error = error

    def _write(self, rows, pooled, events):
        for event in events:
            event.synchronize()
        missing = self.widths.keys() - pooled.keys()
        if missing:
            raise RuntimeError(f"{'/'.join(map(str, min(missing)))}: the forward pass did not reach this block")
        order = np.argsort(rows)
        rows = rows[order]
        apart = rows[-1] - rows[0] + 1 != len(rows)
        selection = rows if apart else slice(rows[0], rows[-1] + 1)
        for key, values in pooled.items():
            place = "/".join(map(str, key))
            if values.shape != (len(rows), self.widths[key]):
                raise RuntimeError(
                    f"{place}: {len(rows)} images gave features of shape {tuple(values.shape)}; "
                    f"expected {(len(rows), self.widths[key])}"
                )
            values = values.numpy()[order]
            data = self.file[place]
            check_values(place, values, self.ids[rows], data.dtype)
            data[selection] = values.astype(data.dtype, copy=False)
        number = rows[0] // self.chunk
        self.left[number] -= len(rows)
        if not self.left[number]:
            self.file.flush()
            # only now, so that a chunk that counts as done is whole on disk
            self.file[DONE][number] = 1
            self.file.flush()

"""From encoded images to batches: in worker processes, or in this one."""

import multiprocessing
import os
import threading
import traceback
from collections import deque
from dataclasses import dataclass

import h5py
from torch.utils.data import DataLoader, Dataset

from geoprobe.images.formats import open_header
from geoprobe.images.store import decode_image

AHEAD = 2  # batches that each worker has ready


@dataclass
class Failure:
    """What went wrong in a worker, in a sentence and as a traceback; the process that asked raises it."""

    sentence: str
    trace: str


class Batches(Dataset):
    """Batches of an image store by lists of row numbers.

    It may be sent to another process: the store is opened by whoever first reads from it.
    """

    def __init__(self, store, prepare, collate):
        self.store, self.prepare, self.collate = str(store), prepare, collate
        self.file = None

    def __getstate__(self):
        return {**vars(self), "file": None}

    def open(self):
        """The image store, open in this process."""
        if self.file is None:
            self.file = h5py.File(self.store, "r")
        return self.file

    def close(self):
        """Close the image store in this process."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def name(self, row):
        """Id of an image."""
        return self.open()["ids"].asstr()[row]

    def _names(self, rows):
        """Ids of the images of a batch by row, at one reading: one by one they take longer than a small image does."""
        first = min(rows)
        near = self.open()["ids"].asstr()[first : max(rows) + 1]
        return {row: near[row - first] for row in rows}

    def __getitem__(self, rows):
        """The rows, and their batch or a Failure."""
        images, names, inputs = self.open()["images"], self._names(rows), []
        for row in rows:
            step = "decoded"
            try:
                image = decode_image(images[row].tobytes())
                step = "made an input of the model"
                inputs.append(self.prepare(image, names[row]))
            # whatever it is, the image is named, and the other process raises it
            except Exception as error:
                return rows, Failure(self._sentence(row, step, error), traceback.format_exc())
        return rows, self.collate(inputs)

    def sizes(self, rows):
        """Width and height in pixels of images, by their headers; an image that lies on its side is not turned.

        Raises:
            ValueError: a header cannot be read; names the image.
        """
        images, sizes = self.open()["images"], []
        for row in rows:
            try:
                with open_header(images[row].tobytes()) as image:
                    sizes.append(image.size)
            except Exception as error:
                raise ValueError(self._sentence(row, "decoded", error)) from error
        return sizes

    def _sentence(self, row, step, error):
        return (
            f"{self.store}: image {self.name(row)} cannot be {step} ({type(error).__name__}: {error}); "
            "leave it out of the data set, or repair its file, and build the store again."
        )


def share_threads(threads, device):
    """How a job divides its threads: a number for the model, and a number of processes that decode.

    A GPU waits for images, so all but one decode; on a CPU the model takes far longer than its images do.
    """
    if threads == 1:
        return 1, 0
    return (1, threads - 1) if device != "cpu" else (threads - 1, 1)


def start_method():
    """How workers start: never as a copy of a process that may hold a GPU or run threads."""
    return next(name for name in ("forkserver", "spawn") if name in multiprocessing.get_all_start_methods())


def _as_it_is(batch):
    return batch


def _watch_parent(_worker):
    """End a worker with the process that asked for it.

    torch's own watch looks at the server that workers come from, which in turn waits for all workers: after a
    `kill -9` of their master both would stay for ever.
    """

    def follow():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def load_batches(batches, planned, workers, pin=False):
    """Yield rows and batch of each of the planned batches, in order.

    Args:
        batches: a Batches.
        planned: iterable of lists of row numbers; it is read as far ahead as the workers are.
        workers: number of processes, each on one thread; 0 to decode in this one.
        pin: whether batches are put into pinned memory, from which they go to a GPU without waiting.

    Raises:
        ValueError: an image cannot be decoded or prepared; names it.
        RuntimeError: a worker has died; names the image at which it may have been.
    """
    options = {}
    if workers:
        context = multiprocessing.get_context(start_method())
        if context.get_start_method() == "forkserver":
            # what a worker needs is imported once, by the server that all workers come from
            modules = {type(part).__module__ for part in (batches, batches.prepare)} - {"builtins", "functools"}
            context.set_forkserver_preload(sorted(modules))
        options = {
            "multiprocessing_context": context,
            "prefetch_factor": AHEAD,
            "worker_init_fn": _watch_parent,
        }
    asked = deque()

    def ask():
        for rows in planned:
            asked.append(rows)
            yield rows

    options |= {"num_workers": workers, "pin_memory": pin, "collate_fn": _as_it_is}
    loaded = iter(DataLoader(batches, batch_size=None, sampler=ask(), **options))
    while True:
        try:
            rows, batch = next(loaded)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            # a worker's end is told by torch, or seen as a connection that breaks off; "Caught" is what went on inside
            told = not isinstance(error, RuntimeError) or "DataLoader worker" in str(error)
            if not workers or not asked or not told or str(error).startswith("Caught"):
                raise
            raise RuntimeError(
                f"{batches.store}: a process that decodes images was ended, by the system or by a fault, at image "
                f"{batches.name(asked[0][0])} or within {workers * AHEAD} batches after it; if memory ran out, give "
                "the job more (mem_mb) or set features.threads lower."
            ) from error
        if isinstance(batch, Failure):
            raise ValueError(batch.sentence) from RuntimeError(batch.trace)
        asked.popleft()
        yield rows, batch

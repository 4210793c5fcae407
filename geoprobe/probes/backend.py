"""Where the linear algebra of the ridge regressions is done: numpy, or torch on a graphics card, both in float64."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

SMALL = 256  # columns below which matrices are done one after the other or in a stack, and not side by side


class Backend(NamedTuple):
    """What numpy and torch spell differently; all else is written in operators that both have.

    Attributes:
        asarray: a numpy array as float64 where the sums are computed.
        shifted: rows of features less a shift, in float64: (features, index, shift).
        add_gram: adds x'x to a matrix in place: (matrix, x).
        eigh: eigenvalues, rising, and eigenvectors of a stack of symmetric matrices; it reads the lower triangles.
        zeros: float64 zeros of a shape.
        to_numpy: back again.
    """

    asarray: Any
    shifted: Any
    add_gram: Any
    eigh: Any
    zeros: Any
    to_numpy: Any


def _add_gram(matrix, x):
    # numpy sees that both are one array and does half the work; scipy's BLAS would wait for numpy's idle threads
    matrix += x.T @ x


def make_backend(device):
    """Numpy for the device "cpu", torch for any other; "torch-cpu" is torch without a graphics card, for tests."""
    if device == "cpu":
        return Backend(
            asarray=lambda values: np.asarray(values, dtype=np.float64),
            shifted=lambda features, index, shift: np.subtract(features[index], shift, dtype=np.float64),
            add_gram=_add_gram,
            eigh=np.linalg.eigh,
            zeros=np.zeros,
            to_numpy=np.asarray,
        )
    import torch

    where = {"dtype": torch.float64, "device": device.removeprefix("torch-")}
    return Backend(
        asarray=lambda values: torch.tensor(values, **where),
        # sent in the precision of the store, which is half or a quarter of the bytes
        shifted=lambda features, index, shift: torch.tensor(features[index], device=where["device"]).double() - shift,
        add_gram=lambda matrix, x: matrix.addmm_(x.T, x),
        eigh=torch.linalg.eigh,
        zeros=lambda shape: torch.zeros(shape, **where),
        to_numpy=lambda values: values.cpu().numpy(),
    )


@cache
def _linear_algebra():
    return ThreadpoolController().select(user_api="blas")


def on_one_thread():
    """Context in which the linear algebra has one thread: with small matrices, more mostly wait for each other."""
    return _linear_algebra().limit(limits=1)


def _workers():
    """How many matrices are worked on at a time, each of which takes some memory of (d, d), and all threads."""
    threads = max((library["num_threads"] for library in _linear_algebra().info()), default=1)
    return min(threads, 4), threads


def _at_once(function, *arguments):
    done = Future()
    done.set_result(function(*arguments))
    return done


@contextmanager
def submitting(parallel):
    """Context that gives submit(function, ...), whose result(), when it is asked for, waits for what is not yet done.

    Calls begin in the order in which they were submitted, so that one may wait for the results of those before it.
    """
    workers, threads = _workers()
    if not parallel or workers < 2:
        yield _at_once
        return
    with _linear_algebra().limit(limits=threads // workers), ThreadPoolExecutor(workers) as pool:
        yield pool.submit


def side_by_side(function, items):
    """Results of a function for each item, on as many threads as the linear algebra has.

    Eigendecompositions hardly gain from a second thread, so two at a time take little longer than one.
    """
    most, threads = _workers()
    workers = min(most, len(items))
    if workers < 2:
        return [function(item) for item in items]
    results = []
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(items), workers):
            some = items[first : first + workers]
            # what is left over for the last round has more threads each
            with _linear_algebra().limit(limits=threads // len(some)):
                results += pool.map(function, some)
    return results

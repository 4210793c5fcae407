"""Sums over rows against the same sums of whole arrays."""

import numpy as np
import pytest

from geoprobe.probes.backend import make_backend
from geoprobe.probes.moments import first_shift, gather_moments, read_chunks


def chunked(x, size):
    order = np.random.default_rng(0).permutation(len(x))
    return lambda: ((order[first : first + size], x[order[first : first + size]]) for first in range(0, len(x), size))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
def test_moments_and_their_combinations_are_the_sums_of_the_rows(device, dtype):
    random = np.random.default_rng(0)
    x, y = random.normal(5, 1, (60, 7)).astype(dtype), random.normal(size=(60, 3))
    sets = random.random((4, 60)) < 0.4
    sets[3] = sets[0] & sets[1]
    sets[2] = False
    chunks, backend = chunked(x, 13), make_backend(device)
    shift = first_shift(chunks, 60)
    np.testing.assert_allclose(shift, next(chunks())[1].astype(np.float64).mean(axis=0), rtol=1e-12)
    sums = gather_moments(chunks, y, sets, shift, backend)
    either = sums.combined(backend.asarray([[1.0, 1.0, 0.0, -1.0]]))
    centred = x.astype(np.float64) - shift
    members = [(sums, number, rows) for number, rows in enumerate(sets)] + [(either, 0, sets[0] | sets[1])]
    for moments, number, rows in members:
        own, target = centred[rows], y[rows]
        expected = (len(own), own.sum(axis=0), target.sum(axis=0), np.tril(own.T @ own), own.T @ target)
        found = [backend.to_numpy(getattr(moments, name)[number]) for name in ("counts", "x", "y", "xx", "xy")]
        found[3] = np.tril(found[3])
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_only_one_chunk_is_asked_for_at_a_time():
    asked = []

    def chunks():
        for row in range(4):
            asked.append(row)
            yield np.array([row]), np.ones((1, 2))

    for count, (rows, _) in enumerate(read_chunks(chunks, 4), 1):
        assert rows.tolist() == [count - 1]
        assert len(asked) == count


def test_an_empty_chunk_is_passed_over():
    x = np.arange(6.0).reshape(3, 2)
    parts = [(np.arange(0), x[:0]), (np.arange(3), x)]
    assert [rows.tolist() for rows, _ in read_chunks(lambda: parts, 3)] == [[0, 1, 2]]
    np.testing.assert_allclose(first_shift(lambda: parts, 3), [2.0, 3.0])

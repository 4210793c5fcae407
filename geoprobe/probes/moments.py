"""Sums over rows that a ridge regression needs, gathered chunk by chunk, so that memory does not grow with the rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoprobe.probes.backend import SMALL, side_by_side


def read_chunks(chunks, n):
    """Row numbers and features of each chunk of one pass, checked.

    Args:
        chunks: function without arguments that gives an iterable of (rows, features), shapes (m,) and (m, d).
        n: number of rows over all chunks.

    Raises:
        ValueError: a chunk of another shape, or a row that is missing, repeated or not one of the n.
    """
    counts, width = np.zeros(n, dtype=np.int64), None
    for rows, features in chunks():
        rows, features = np.asarray(rows), np.asarray(features)
        width = features.shape[-1] if width is None else width
        if features.ndim != 2 or rows.shape != features.shape[:1] or features.shape[1] != width:
            raise ValueError(
                f"a chunk has row numbers of shape {rows.shape} and features of shape {features.shape}; "
                f"give (m,) and (m, {width})."
            )
        if len(rows) and not (rows.min() >= 0 and rows.max() < n):
            raise ValueError(
                f"a chunk has row numbers from {rows.min()} to {rows.max()}; give those from 0 to {n - 1}."
            )
        counts += np.bincount(rows, minlength=n)
        if len(rows):
            yield rows, features
    if (counts != 1).any():
        row = int(np.argmax(counts != 1))
        raise ValueError(f"row {row} occurs {counts[row]} times over the chunks; give each of the {n} rows once.")


def check_finite(values, rows, what):
    """Raise ValueError with the row number where a value is not finite; shapes (m, d) and (m,)."""
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = rows[int(np.argmin(finite))]
        raise ValueError(f"{what}, row {row}: a value is not finite; leave the row out or correct the value.")


@dataclass(frozen=True)
class Moments:
    """Sums over each of s sets of rows, about a shift that all share.

    Attributes:
        counts: rows in each set, shape (s,).
        x: sum of the features, shape (s, d).
        y: sum of the targets, shape (s, k).
        xx: sum of the products of features, shape (s, d, d); the lower triangles count.
        xy: sum of the products of features and targets, shape (s, d, k).
    """

    counts: Any
    x: Any
    y: Any
    xx: Any
    xy: Any

    def combined(self, weights):
        """Moments of unions and differences of the sets.

        Args:
            weights: shape (r, s): how often each set is added (1) or taken away (-1), on the device of the moments.

        Returns:
            Moments of r sets.
        """

        def combine(values):
            return (weights @ values.reshape(len(values), -1)).reshape(len(weights), *values.shape[1:])

        return Moments(*(combine(values) for values in (self.counts, self.x, self.y, self.xx, self.xy)))


def first_shift(chunks, n):
    """Mean of the first chunk's features, shape (d,): about it, sums of squares lose no digits to a common offset.

    Raises:
        ValueError: as :func:`read_chunks`, and a feature that is not finite.
    """
    rows, features = next(read_chunks(chunks, n))
    with np.errstate(invalid="ignore", over="ignore"):
        shift = features.mean(axis=0, dtype=np.float64)
    if not np.isfinite(shift).all():
        check_finite(features, rows, "features")
    return shift


def gather_moments(chunks, targets, sets, shift, backend):
    """Moments of sets of rows in one pass.

    Args:
        chunks: as of :func:`read_chunks`.
        targets: shape (n, k), finite, about their own shift.
        sets: True where a row is in a set, shape (s, n).
        shift: of the features, shape (d,).
        backend: of :func:`make_backend`.

    Raises:
        ValueError: as :func:`read_chunks`, and features that are not finite.
    """
    (s, n), d, k = sets.shape, len(shift), targets.shape[1]
    sums = Moments(*(backend.zeros(shape) for shape in ((s,), (s, d), (s, k), (s, d, d), (s, d, k))))
    offset = backend.asarray(shift)
    unused = ~sets.any(axis=0)
    parallel = d >= SMALL and isinstance(offset, np.ndarray)
    for rows, features in read_chunks(chunks, n):
        if unused[rows].any():
            check_finite(features[unused[rows]], rows[unused[rows]], "features")
        members = sets[:, rows]

        def add(number, rows=rows, features=features, members=members):
            index = np.flatnonzero(members[number])
            if not len(index):
                return
            with np.errstate(invalid="ignore"):
                x = backend.shifted(features, index, offset)
                total = x.sum(0)
            # a sum is not finite if one of its terms is not; cheaper than to look at each
            if not bool(abs(total).sum() < np.inf):
                check_finite(features[index], rows[index], "features")
            y = backend.asarray(targets[rows[index]])
            sums.counts[number] += len(index)
            sums.x[number] += total
            sums.y[number] += y.sum(0)
            backend.add_gram(sums.xx[number], x)
            sums.xy[number] += x.T @ y

        side_by_side(add, range(s)) if parallel else [add(number) for number in range(s)]
    return sums

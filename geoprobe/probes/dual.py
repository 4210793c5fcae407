"""Ridge regressions of fewer rows than columns, from the inner products of the rows: the same results for less work."""

import numpy as np

from geoprobe.probes.backend import SMALL, side_by_side
from geoprobe.probes.moments import check_finite, read_chunks
from geoprobe.probes.primal import EPSILON


def read_all(chunks, shape, shift):
    """All features about a shift, float64, shape (n, d)."""
    x = np.empty(shape)
    for rows, features in read_chunks(chunks, shape[0]):
        check_finite(features, rows, "features")
        x[rows] = np.subtract(features, shift, dtype=np.float64)
    return x


def fit_dual(chunks, targets, works, trainings, alphas, penalty, standardise, shift, backend):
    """Ridge regressions for every penalty of every training set, and the errors that choose among them.

    Args:
        chunks, alphas, penalty, standardise: as of :func:`geoprobe.probes.ridge.fit_folds`.
        targets: shape (n, k), about their own shift.
        works, trainings: of :func:`geoprobe.probes.ridge.plan_work`.
        shift: of the features, shape (d,).
        backend: of :func:`geoprobe.probes.backend.make_backend`.

    Returns:
        coefficients (t, d, a * k) and intercepts (t, a * k) about the shifts, largest eigenvalues (t,), and by split
        sums of squared errors (F, a * k). The coefficients of training sets of inner folds are zero: only
        their predictions are needed.

    The kernel xx' of all rows is computed once, and centred in each training set; with its eigenvectors U and
    eigenvalues s, the dual coefficients are a = U (s + alpha)^-1 U'y, the coefficients x'a, and the residuals
    alpha a (Saunders, Gammerman and Vovk 1998).
    """
    n, k = targets.shape
    x = backend.asarray(read_all(chunks, (n, len(shift)), shift))
    y, penalties = backend.asarray(targets), backend.asarray(alphas)
    kernel = None if standardise else x @ x.T
    coefficients = np.zeros((len(trainings), len(shift), len(alphas) * k))
    intercepts, largest = np.zeros((len(trainings), len(alphas) * k)), np.zeros(len(trainings))
    errors = [np.zeros((len(work.folds), len(alphas) * k)) for work in works]
    outer, tests = {}, {}
    for work, error in zip(works, errors, strict=True):
        outer |= {number: (error, position) for position, number in work.outer.items()}
        for position, other, number in work.inner:
            tested = work.split.tested(other) & ~work.split.excluded(work.folds[position])
            tests.setdefault(number, []).append((error, position, np.flatnonzero(tested)))

    def fit_one(number):
        split, left_out = works[trainings[number][0]].split, trainings[number][1]
        rows = np.flatnonzero(~np.logical_or.reduce([split.excluded(fold) for fold in left_out]))
        own, scale = x[rows], None
        mean = own.mean(0)
        inner = kernel
        if standardise:
            variance = ((own - mean) ** 2).mean(0)
            constant = variance <= 1e-12 * (own**2).mean(0)
            scale = (variance * ~constant + 1.0 * constant) ** 0.5
            inner = (x / scale) @ (x / scale).T
        gram = inner[rows][:, rows]
        level = gram.mean(0)
        target = y[rows].mean(0)
        values, vectors = backend.eigh(gram - level - level[:, None] + level.mean())
        values = values.clip(min=0)
        projected = vectors.T @ (y[rows] - target)
        inverse = 1 / (values[:, None] + penalties)
        weights = vectors @ (inverse[:, :, None] * projected[:, None, :]).reshape(len(rows), -1)
        largest[number] = float(values[-1])
        constant_part = target.reshape(1, 1, k)
        squares = []
        for error, position, tested in tests.get(number, ()):
            # the weights sum to zero, so that only the training rows' own mean is to be taken off
            predicted = inner[tested][:, rows] @ weights - level @ weights
            residual = predicted.reshape(len(tested), -1, k) + constant_part - y[tested][:, None, :]
            squares.append((error, position, backend.to_numpy((residual**2).sum(0)).reshape(-1)))
        if number in outer:
            solved = own.T @ weights
            if standardise:
                solved = solved / scale[:, None] ** 2
            coefficients[number] = backend.to_numpy(solved)
            constants = constant_part[0] - (mean @ solved).reshape(-1, k)
            intercepts[number] = backend.to_numpy(constants).reshape(-1)
            if penalty == "leave-one-out":
                error, position = outer[number]
                # 1 - h, h being the leverage with the intercept's 1 / n
                rest = (vectors**2 @ (inverse * penalties) - 1 / len(rows)).clip(min=EPSILON)
                residual = weights.reshape(len(rows), -1, k) * penalties[:, None] / rest[:, :, None]
                squares.append((error, position, backend.to_numpy((residual**2).sum(0)).reshape(-1)))
        return squares

    parallel = n >= SMALL and isinstance(penalties, np.ndarray)
    numbers = range(len(trainings))
    fitted = side_by_side(fit_one, numbers) if parallel else map(fit_one, numbers)
    # added up here, so that the order of the sums is not that in which threads end
    for squares in fitted:
        for error, position, values in squares:
            error[position] += values
    return coefficients, intercepts, largest, errors

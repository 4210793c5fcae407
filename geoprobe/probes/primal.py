"""Ridge regressions from sums over rows, by decompositions of x'x, and the errors that choose a penalty."""

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal
from scipy.linalg.lapack import dormqr, dptsv, dsytrd

from geoprobe.probes.backend import SMALL, submitting
from geoprobe.probes.moments import gather_moments, read_chunks

PIECE = 4096  # rows that are held in double and in single precision at once
BLOCK = 512  # rows that are projected at once: small enough for the cache, large enough for the product
EPSILON = np.finfo(np.float64).eps
SINGLE = np.finfo(np.float32).eps
LOST = 1e-4  # the most that single precision may take of what a leave-one-out residual is divided by


def list_sets(splits, trainings):
    """Row sets to be summed over, and every training set as a sum of them.

    A training set is all other folds less those of their rows that are near a fold left out; there are no
    more sets than folds, training sets with near rows and one Gram matrix each. Splits with the same folds share.

    Returns:
        sets, shape (s, n), boolean; weights, shape (training sets, s).
    """
    sets, known, entries = [], {}, []

    def number_of(members):
        key = np.packbits(members).tobytes()
        if key not in known:
            known[key] = len(sets)
            sets.append(members)
        return known[key]

    for number, left_out in trainings:
        split = splits[number]
        row = [(number_of(split.tested(fold)), 1.0) for fold in split.numbers if fold not in left_out]
        if split.near is not None:
            near = np.isin(split.folds, [fold for fold in split.numbers if fold not in left_out])
            near &= np.logical_or.reduce([split.excluded(fold) for fold in left_out])
            if near.any():
                row.append((number_of(near), -1.0))
        entries.append(row)
    weights = np.zeros((len(trainings), len(sets)))
    for position, row in enumerate(entries):
        for column, sign in row:
            weights[position, column] += sign
    return np.array(sets), weights


def centre(sums, squares=None):
    """Centred sums of a stack of row sets of at least 2 rows, of features that are standardised if `squares` are given.

    Args:
        sums: Moments of s sets.
        squares: sums of squares that were added up or taken away, shape (s, d); the size of the rounding errors.

    Returns:
        gram (s, d, d), of which only the lower triangles count, cross products with the targets (s, d, k), means of
        features (s, d) and targets (s, k), and the features' scale (s, d): their standard deviation if they
        are standardised, 1 for constant ones; else None.
    """
    (s, d), counts = sums.x.shape, sums.counts[:, None]
    mean, target = sums.x / counts, sums.y / counts
    gram = sums.xx - sums.x[:, :, None] * mean[:, None, :]
    cross = sums.xy - sums.x[:, :, None] * target[:, None, :]
    scale = None
    if squares is not None:
        variance = gram.reshape(s, -1)[:, :: d + 1] / counts
        # what rounding of the sums cannot tell from constant
        constant = variance <= 1e-12 * squares / counts
        scale = (variance * ~constant + 1.0 * constant) ** 0.5
        gram = gram / (scale[:, :, None] * scale[:, None, :])
        cross = cross / scale[:, :, None]
    return gram, cross, mean, target, scale


def solve_by_eigenvectors(gram, cross, alphas, backend):
    """Solutions for every penalty, shape (s, d, a * k), with eigenvalues (s, d) and eigenvectors (s, d, d)."""
    values, vectors = backend.eigh(gram)
    values = values.clip(min=0)
    projected = vectors.swapaxes(1, 2) @ cross
    shrunk = projected[:, :, None, :] / (values[:, :, None] + alphas)[:, :, :, None]
    return vectors @ shrunk.reshape(*values.shape, -1), values, vectors


def solve_by_tridiagonal(gram, cross, alphas):
    """Solutions for every penalty, shape (d, a * k), and the largest eigenvalue, of one set; None if rounding forbids.

    Householder's reduction Q T Q' is the first third of an eigendecomposition, and a penalty added to the
    tridiagonal T is solved in a number of steps that is proportional to d (as Eldén 1977, who reduces x itself).
    """
    d, k = cross.shape
    reduced, diagonal, beside, tau, _ = dsytrd(np.array(gram, order="F"), lower=1, lwork=32 * d, overwrite_a=1)
    reflectors = np.asfortranarray(reduced[1:, :-1])
    turned = np.array(cross, order="F")
    turned[1:] = dormqr("L", "T", reflectors, tau, turned[1:], lwork=64 * k)[0]
    solved = np.empty((d, len(alphas) * k), order="F")
    for position, alpha in enumerate(alphas):
        *_, columns, failed = dptsv(diagonal + alpha, beside, turned)
        if failed:  # the penalty is below the rounding of the largest eigenvalue
            return None
        solved[:, position * k : (position + 1) * k] = columns
    solved[1:] = dormqr("L", "N", reflectors, tau, solved[1:], lwork=64 * solved.shape[1])[0]
    largest = eigvalsh_tridiagonal(diagonal, beside, select="i", select_range=(d - 1, d - 1), check_finite=False)
    return solved, max(largest[0], 0.0)


def solve_all(sums, weights, alphas, standardise, backend, keep, submit):
    """Ridge regressions for every penalty of training sets that are sums of sets.

    Args:
        sums: Moments of s sets.
        weights: shape (t, s), how often each set is in a training set.
        alphas, standardise: as of :func:`geoprobe.probes.ridge.fit_folds`.
        backend: where the sums are.
        keep: whether eigenvectors are needed.
        submit: of :func:`geoprobe.probes.backend.submitting`.

    Returns:
        coefficients (t, d, a * k) and intercepts (t, a * k) about the shift of the moments, largest eigenvalues of the
        centred x'x (t,), and for each training set a function that waits for these and gives, if `keep`, directions
        (d, d) that turn centred features into uncorrelated ones, inverse eigenvalues (d, a) at each penalty, mean
        features (d,), and on a CPU what :func:`in_single` gives for them, else None.
    """
    t, d = len(weights), sums.x.shape[1]
    k, penalties = sums.y.shape[1], backend.asarray(alphas)
    coefficients = backend.zeros((t, d, len(alphas) * k))
    intercepts, largest = backend.zeros((t, len(alphas) * k)), backend.zeros((t,))
    on_cpu = isinstance(penalties, np.ndarray)
    squares = sums.xx.reshape(len(sums.xx), d * d)[:, :: d + 1]
    step = max(1, 4 * SMALL**2 // d**2)

    def solve_some(first):
        some = slice(first, first + step)
        sizes = backend.asarray(abs(weights[some])) @ squares if standardise else None
        gram, cross, mean, target, scale = centre(sums.combined(backend.asarray(weights[some])), sizes)
        kept = [None] * len(gram)
        if on_cpu and not keep and d > 1:
            for number in range(len(gram)):
                solution = solve_by_tridiagonal(gram[number], cross[number], penalties)
                if solution is None:
                    one = slice(number, number + 1)
                    solved, values, _ = solve_by_eigenvectors(gram[one], cross[one], penalties, backend)
                    solution = solved[0], values[0, -1]
                coefficients[first + number], largest[first + number] = solution
        else:
            coefficients[some], values, vectors = solve_by_eigenvectors(gram, cross, penalties, backend)
            largest[some] = values[:, -1]
            if keep:
                directions = vectors if scale is None else vectors / scale[:, :, None]
                kept = [
                    (*one, in_single(*one) if on_cpu else None)
                    for one in zip(directions, 1 / (values[:, :, None] + penalties), mean, strict=True)
                ]
        if scale is not None:
            coefficients[some] /= scale[:, :, None]
        constants = (mean[:, None, :] @ coefficients[some]).reshape(len(mean), -1, k)
        intercepts[some] = (target[:, None, :] - constants).reshape(len(mean), -1)
        return kept

    parts = [submit(solve_some, first) for first in range(0, t, step)]
    waits = [lambda number=number: parts[number // step].result()[number % step] for number in range(t)]
    return coefficients, intercepts, largest, waits


def project(x, directions, inverse, offset):
    """Squared lengths of x less a mean along directions (d, d), each over its eigenvalue, at every penalty, (m, a).

    `offset` is the mean along the directions, shape (d,).
    """
    projected = x @ directions
    projected -= offset
    projected *= projected
    return projected @ inverse


def in_single(directions, inverse, mean):
    """Arguments of :func:`project` in single precision; what a row's length is to be multiplied by to bound the loss.

    x'v is off by about the rounding of |x||v|, and h, the sum of its squares over eigenvalues, by at most twice the
    root of h times the root of the sum of |v|² over eigenvalues, where h is at most 1.
    """
    spread = np.sqrt((directions * directions).sum(axis=0) @ inverse[:, 0])
    arguments = directions, inverse, mean @ directions
    return [values.astype(np.float32) for values in arguments], 16 * SINGLE * spread


def leverages(x, kept, narrow, lengths):
    """Leverages of rows at each penalty, without the intercept's 1 / n, shape (m, a).

    They only choose the penalty. On a CPU they are in single precision, which is twice as fast, but for the rows
    whose 1 - h could lose more than :data:`LOST` of itself by that: rows that nearly determine their own prediction,
    and all of features whose variances are far apart.

    Args:
        x: shape (m, d).
        kept: of the training set, see :func:`solve_all`.
        narrow, lengths: x in single precision, and the lengths of its rows, shape (m,).
    """
    directions, inverse, mean, single = kept
    if single is None:
        return project(x, directions, inverse, mean @ directions)
    arguments, loss = single
    # of centred rows, but x and the mean are turned apart
    lost = loss * (lengths + np.sqrt(mean @ mean))
    if np.median(lost) > LOST:
        return project(x, directions, inverse, mean @ directions)
    result = project(narrow, *arguments).astype(np.float64)
    again = np.flatnonzero(~(lost <= LOST * (1 - result[:, 0])))
    if len(again):
        result[again] = project(x[again], directions, inverse, mean @ directions)
    return result


def leave_one_out(chunks, targets, works, fits, shift, backend, submit):
    """Sums of squared leave-one-out residuals, by split: shape (F, a * k).

    The residual of a row left out is r / (1 - h), where r is the residual of the fit of all rows and h the
    row's leverage, with 1 / n for the intercept (Golub, Heath and Wahba 1979).
    """
    coefficients, intercepts, _, waits = fits
    n, k = targets.shape
    offset = backend.asarray(shift)
    on_cpu = isinstance(offset, np.ndarray)

    def prepare(features, rows, index):
        """Rows of a block, their features and targets, in single precision too, and their lengths."""
        x = backend.shifted(features, index, offset)
        narrow, lengths = (x.astype(np.float32), np.sqrt(np.einsum("ij,ij->i", x, x))) if on_cpu else (x, x)
        return rows[index], x, backend.asarray(targets[rows[index]]), narrow, lengths

    def errors_of(block, work, position, trained):
        """Sums over the rows of a block that a fold was trained on, shape (a * k,)."""
        rows, x, y, narrow, lengths = block.result()
        number = work.outer[position]
        kept = waits[number]()
        error = backend.zeros((intercepts.shape[1],))
        # sorted by folds, the rows of all other folds are two views, and no copy
        first, last = np.searchsorted(work.split.folds[rows], work.folds[position] + np.array([0, 1]))
        for some in slice(0, first), slice(last, len(rows)):
            inside = trained[rows[some]]
            if not inside.any():
                continue
            residual = x[some] @ coefficients[number] + intercepts[number]
            residual = residual.reshape(len(inside), -1, k) - y[some][:, None, :]
            own = leverages(x[some], kept, narrow[some], lengths[some])
            rest = 1 - 1 / work.n_train[position] - own
            # of two equal rows and the like nothing is left but rounding
            residual /= rest.clip(min=EPSILON)[:, :, None]
            residual *= residual
            error += residual.reshape(len(inside), -1)[inside].sum(0)
        return error

    size = BLOCK if on_cpu else PIECE
    errors = [backend.zeros((len(work.folds), intercepts.shape[1])) for work in works]
    trained = [{where: work.chosen_on(where, "leave-one-out") for where in work.outer} for work in works]
    for rows, features in read_chunks(chunks, n):
        for start in range(0, len(rows), PIECE):
            for work, error, masks in zip(works, errors, trained, strict=True):
                folds = work.split.folds[rows[start : start + PIECE]]
                order = start + np.argsort(folds, kind="stable")
                blocks = [
                    submit(prepare, features, rows, order[first : first + size]) for first in range(0, len(order), size)
                ]
                # training set by training set, as each is solved
                parts = [
                    (position, submit(errors_of, block, work, position, mask))
                    for position, mask in masks.items()
                    for block in blocks
                ]
                for position, part in parts:
                    error[position] += part.result()
    return [backend.to_numpy(error) for error in errors]


def inner_tests(chunks, targets, works, fits, shift, backend):
    """Sums of squared errors on the inner folds, by split: shape (F, a * k)."""
    coefficients, intercepts = fits[:2]
    n, k = targets.shape
    errors = [backend.zeros((len(work.folds), intercepts.shape[1])) for work in works]
    offset = backend.asarray(shift)
    usable = [{fold: ~work.split.excluded(fold) for fold in work.folds} for work in works]
    for rows, features in read_chunks(chunks, n):
        for work, error, masks in zip(works, errors, usable, strict=True):
            for fold in sorted({other for _, other, _ in work.inner}):
                index = np.flatnonzero(work.split.folds[rows] == fold)
                if not len(index):
                    continue
                tests = [(position, number) for position, other, number in work.inner if other == fold]
                positions, numbers = map(list, zip(*tests, strict=True))
                counted = np.array([masks[work.folds[position]][rows[index]] for position in positions])
                x = backend.shifted(features, index, offset)
                y = backend.asarray(targets[rows[index]])
                residual = x @ coefficients[numbers] + intercepts[numbers][:, None, :]
                by_column = residual.reshape(len(tests), len(index), -1, k)
                by_column -= y[:, None, :]
                residual *= residual
                error[positions] += (backend.asarray(counted)[:, None, :] @ residual)[:, 0]
    return [backend.to_numpy(error) for error in errors]


def fit_primal(chunks, targets, works, trainings, alphas, penalty, standardise, shift, backend):
    """Ridge regressions of at least as many rows as columns; as :func:`geoprobe.probes.dual.fit_dual`.

    The coefficients of all training sets are given.
    """
    sets, weights = list_sets([work.split for work in works], trainings)
    sums = gather_moments(chunks, targets, sets.reshape(-1, len(targets)), shift, backend)
    one_out = penalty == "leave-one-out"
    parallel = len(shift) >= SMALL and isinstance(sums.xx, np.ndarray)
    with submitting(parallel) as submit:
        fits = solve_all(sums, weights, alphas, standardise, backend, one_out, submit)
        del sums  # freed by the last solution
        if one_out:
            errors = leave_one_out(chunks, targets, works, fits, shift, backend, submit)
        for wait in fits[-1]:
            wait()
    if not one_out:
        errors = inner_tests(chunks, targets, works, fits, shift, backend)
    return *(backend.to_numpy(values) for values in fits[:3]), errors

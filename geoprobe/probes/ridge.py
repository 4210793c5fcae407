"""Ridge regression in every fold, for all penalties and targets at once; a fold's training rows choose the penalty."""

from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

from geoprobe.probes.backend import SMALL, make_backend, on_one_thread
from geoprobe.probes.dual import fit_dual
from geoprobe.probes.moments import check_finite, first_shift, read_chunks
from geoprobe.probes.primal import EPSILON, fit_primal

PENALTIES = ("inner-folds", "leave-one-out")


@dataclass(frozen=True)
class RidgeFit:
    """Ridge regressions of one target under one cross-validation; not a number where a fold has a reason.

    Attributes:
        folds: fold numbers, shape (F,).
        predictions: held out, shape (n, k); not a number where a row was not tested.
        coefficients: of the features as they were given, shape (F, d, k).
        intercepts: shape (F, k).
        alphas: chosen penalties, shape (F, k); the same in every column unless each has its own.
        at_border: True where a chosen penalty is the first or the last of several, shape (F,).
        ill_conditioned: True where a penalty is so small beside the largest eigenvalue of the centred x'x that
            rounding of x'x may show in the coefficients, shape (F,).
        r2_inner: R² on the rows that chose the penalty, mean over columns, shape (F,).
        n_train, n_test: rows, shape (F,).
        reasons: why a fold has no numbers, "" where it has.
    """

    folds: np.ndarray
    predictions: np.ndarray
    coefficients: np.ndarray
    intercepts: np.ndarray
    alphas: np.ndarray
    at_border: np.ndarray
    ill_conditioned: np.ndarray
    r2_inner: np.ndarray
    n_train: np.ndarray
    n_test: np.ndarray
    reasons: list


@dataclass
class Work:
    """What is to be fitted under one split; training sets are numbers in a list that all splits share.

    Attributes:
        folds: fold numbers to be tested, shape (F,).
        outer: training set of each fold that can be fitted, by its position in `folds`.
        inner: (position in `folds`, inner fold, training set) of each inner test.
    """

    split: object
    folds: np.ndarray
    n_train: np.ndarray
    n_test: np.ndarray
    reasons: list
    outer: dict = field(default_factory=dict)
    inner: list = field(default_factory=list)

    def chosen_on(self, position, penalty):
        """True in the rows whose errors choose a fold's penalty, shape (n,)."""
        trained = ~self.split.excluded(self.folds[position])
        if penalty == "leave-one-out":
            return trained
        tested = [self.split.tested(fold) for where, fold, _ in self.inner if where == position]
        return trained & np.logical_or.reduce(tested)


def plan_work(splits, penalty, only):
    """Lists the training sets of all splits, each once.

    Returns:
        List of Work, and for each training set (position of its split, fold numbers left out).
    """
    works, trainings = [], []
    for number, split in enumerate(splits):
        numbers = split.numbers
        folds = np.array([fold for fold in numbers if only is None or fold in only], dtype=np.int64)
        excluded = {fold: split.excluded(fold) for fold in numbers}
        n_train = np.array([np.count_nonzero(~excluded[fold]) for fold in folds], dtype=np.int64)
        n_test = np.array([np.count_nonzero(split.folds == fold) for fold in folds], dtype=np.int64)
        work = Work(split, folds, n_train, n_test, [""] * len(folds))
        works.append(work)
        known = {}

        def training(*left_out, number=number, known=known):
            key = frozenset(left_out)
            if key not in known:
                known[key] = len(trainings)
                trainings.append((number, tuple(sorted(key))))
            return known[key]

        for position, fold in enumerate(folds):
            if n_train[position] < 2:
                work.reasons[position] = f"{n_train[position]} training rows; a regression needs at least 2"
                continue
            if n_test[position] < 2:
                work.reasons[position] = f"{n_test[position]} test rows; R² needs at least 2"
                continue
            if penalty == "inner-folds":
                tests = [
                    other
                    for other in numbers
                    if other != fold
                    and np.count_nonzero(~(excluded[fold] | excluded[other])) >= 2
                    and (~excluded[fold] & (split.folds == other)).any()
                ]
                if not tests:
                    work.reasons[position] = (
                        "no other fold has at least 2 training rows and 1 test row to choose the penalty on"
                    )
                    continue
                work.inner += [(position, other, training(fold, other)) for other in tests]
            work.outer[position] = training(fold)
    return works, trainings


def check_arguments(targets, splits, alphas, penalty):
    """Targets side by side, shape (n, columns), and penalties, shape (a,); ValueError if they cannot be used."""
    if penalty not in PENALTIES:
        raise ValueError(f"penalty is {penalty!r}; give one of {', '.join(PENALTIES)}.")
    alphas = np.asarray(alphas, dtype=np.float64)
    if alphas.ndim != 1 or not len(alphas) or not (alphas > 0).all() or not (np.diff(alphas) > 0).all():
        raise ValueError(f"alphas are {alphas.tolist()}; give positive penalties, rising.")
    n = len(splits[0].folds)
    if n == 0:
        raise ValueError("the splits have 0 rows; give at least one.")
    for what, values in [("split", split.folds) for split in splits] + [("target", target) for target in targets]:
        if len(values) != n:
            raise ValueError(f"a {what} has {len(values)} rows, and the first split {n}; give all the same rows.")
    for target in targets:
        if np.ndim(target) != 2:
            raise ValueError(f"a target has the shape {np.shape(target)}; give ({n}, columns).")
    together = np.concatenate([np.asarray(target, dtype=np.float64) for target in targets], axis=1)
    check_finite(together, np.arange(n), "targets")
    return together, alphas


def choose(work, target, columns, errors, fits, alphas, masks, per_column):
    """A RidgeFit of one target, without predictions; coefficients are of the shifted features and targets.

    Args:
        columns: slice of the target's columns among all.
        errors: sums of squared errors of the split, shape (F, a, columns of all targets).
        fits: coefficients (t, d, a, columns), intercepts (t, a, columns), largest eigenvalues (t,).
        masks: for each position, True in the rows whose errors these are, shape (n,).
    """
    coefficients, intercepts, largest = fits
    count, k, d = len(work.folds), target.shape[1], coefficients.shape[1]
    fit = RidgeFit(
        folds=work.folds,
        predictions=np.full(target.shape, np.nan),
        coefficients=np.full((count, d, k), np.nan),
        intercepts=np.full((count, k), np.nan),
        alphas=np.full((count, k), np.nan),
        at_border=np.zeros(count, dtype=bool),
        ill_conditioned=np.zeros(count, dtype=bool),
        r2_inner=np.full(count, np.nan),
        n_train=work.n_train,
        n_test=work.n_test,
        reasons=list(work.reasons),
    )
    each, last = np.arange(k), len(alphas) - 1
    for position, number in work.outer.items():
        own = errors[position][:, columns]
        best = own.argmin(axis=0) if per_column else np.repeat(own.mean(axis=1).argmin(), k)
        truth = target[masks[position]]
        total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
        varies = total > 0
        r2 = np.where(varies, 1 - own[best, each] / np.where(varies, total, 1), np.nan)
        fit.coefficients[position] = coefficients[number][:, :, columns][:, best, each]
        fit.intercepts[position] = intercepts[number][:, columns][best, each]
        fit.alphas[position] = alphas[best]
        fit.at_border[position] = last > 0 and bool(((best == 0) | (best == last)).any())
        fit.ill_conditioned[position] = bool((alphas[best] < 1e6 * EPSILON * largest[number]).any())
        fit.r2_inner[position] = r2.mean()
    return fit


def predict(chunks, works, fits, shift):
    """Fills in the held-out predictions of fits, by split and target, from coefficients about a shift."""
    n = len(works[0].split.folds)
    stacks = [np.concatenate([fit.coefficients for fit in own], axis=2) for own in fits]
    constants = [np.concatenate([fit.intercepts for fit in own], axis=1) for own in fits]
    ends = np.cumsum([fit.alphas.shape[1] for fit in fits[0]])
    for rows, features in read_chunks(chunks, n):
        for work, own, stack, constant in zip(works, fits, stacks, constants, strict=True):
            for position in work.outer:
                index = np.flatnonzero(work.split.folds[rows] == work.folds[position])
                x = np.subtract(features[index], shift, dtype=np.float64)
                predicted = np.split(x @ stack[position] + constant[position], ends[:-1], axis=1)
                for fit, values in zip(own, predicted, strict=True):
                    fit.predictions[rows[index]] = values


def fit_folds(
    chunks, targets, splits, alphas, penalty="inner-folds", per_column=False, standardise=False, device="cpu", only=None
):
    """Fit ridge regressions with an intercept in every fold of every cross-validation, and predict what is held out.

    Args:
        chunks: function without arguments; each call gives an iterable of (rows, features): row numbers (m,) and a
            float array (m, d), each of the n rows once over all chunks, the same at each call. One chunk is in
            memory at a time; three passes are made. Fewer rows than columns are all held.
        targets: list of arrays (n, k_j), each a regression of its own with one penalty for its columns.
        splits: list of :class:`geoprobe.probes.folds.Split` of n rows; all are served by the same passes.
        alphas: penalties, shape (a,), positive, rising; the penalty is on the sum of squared errors, as scikit-learn's.
        penalty: "leave-one-out" chooses it by the exact leave-one-out error of the training rows, as scikit-learn's
            RidgeCV; "inner-folds" by the mean squared error on every other fold of the same cross-validation, fitted
            without both folds and without what is near either, so that the choice meets the same kind of test.
        per_column: choose a penalty for each column by itself.
        standardise: divide features by their standard deviation in the training rows (constant ones by 1).
        device: "cpu" (numpy) or "cuda" (torch), both in float64.
        only: fold numbers to be tested; None for all.

    Returns:
        By split, by target: :class:`RidgeFit`.

    Raises:
        ValueError: features or targets are not finite, rows are missing or repeated, or shapes and options do not fit.

    About a common shift, a training set's sums are those of the other folds less those of near rows; one
    decomposition of its centred x'x gives all penalties and targets. With fewer rows than columns the same
    is done with the rows' xx'.
    """
    together, alphas = check_arguments(targets, splits, alphas, penalty)
    n, k = together.shape
    middle = together.mean(axis=0)
    y = together - middle
    shift = first_shift(chunks, n)
    works, trainings = plan_work(splits, penalty, only)
    backend = make_backend(device)
    with on_one_thread() if min(n, len(shift)) < SMALL else nullcontext():
        fit = fit_dual if n < len(shift) else fit_primal
        coefficients, intercepts, largest, errors = fit(
            chunks, y, works, trainings, alphas, penalty, standardise, shift, backend
        )
    shape = (len(trainings), len(shift), len(alphas), k)
    solved = coefficients.reshape(shape), intercepts.reshape(len(trainings), len(alphas), k), largest
    fitted = [[] for _ in works]
    ends = np.cumsum([target.shape[1] for target in targets])
    masks = [{position: work.chosen_on(position, penalty) for position in work.outer} for work in works]
    for end, target in zip(ends, targets, strict=True):
        columns = slice(end - target.shape[1], end)
        for work, error, mask, own in zip(works, errors, masks, fitted, strict=True):
            error = error.reshape(len(work.folds), len(alphas), k)
            own.append(choose(work, y[:, columns], columns, error, solved, alphas, mask, per_column))
    predict(chunks, works, fitted, shift)
    for own in fitted:
        for fit, end in zip(own, ends, strict=True):
            level = middle[end - fit.alphas.shape[1] : end]
            fit.predictions[:] += level
            fit.intercepts[:] += level - (shift[None, None, :] @ fit.coefficients)[:, 0]
    return fitted

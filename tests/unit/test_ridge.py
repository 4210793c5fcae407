"""Ridge regressions in folds against scikit-learn's Ridge and RidgeCV, fitted fold by fold."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geoprobe.probes.folds import Split
from geoprobe.probes.ridge import fit_folds

ALPHAS = np.logspace(-1, 4, 12)
COUNT = 4


def problem(n, d, k=2, seed=0, noise=1.0, offset=3.0):
    """Features of many scales with some relation to the targets."""
    random = np.random.default_rng(seed)
    scales = np.logspace(-1, 1, d)
    x = random.normal(offset, 1.0, (n, d)) * scales
    signal = x @ (random.normal(size=(d, k)) / scales[:, None] / np.sqrt(d))
    return x, signal + noise * random.normal(size=(n, k)) + np.full(k, 40.0)


def split_of(n, count=COUNT, seed=0, near=0.0, left_out=0.0):
    """Folds at random; a share of the rows is near each other fold, and a share in none."""
    random = np.random.default_rng(seed)
    folds = random.permutation(np.arange(n) % count)
    bits = np.zeros(n, dtype=np.int64)
    for fold in range(count):
        bits |= np.where((random.random(n) < near) & (folds != fold), 1 << fold, 0)
    folds[random.random(n) < left_out] = -1
    return Split(folds, bits if near else None)


def chunked(x, size=None, seed=0):
    """Chunks of the rows in a random order; one chunk in the given order if no size is given."""
    order = np.arange(len(x)) if size is None else np.random.default_rng(seed).permutation(len(x))
    size = size or len(x)
    return lambda: ((order[first : first + size], x[order[first : first + size]]) for first in range(0, len(x), size))


def apart(ours, theirs):
    """Largest difference beside the largest value."""
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def same_fits(ours, theirs, tolerance):
    for name in ("coefficients", "intercepts", "predictions", "r2_inner"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(other))
        # leverages of leave-one-out are in single precision, and the order of the products is not fixed
        close = max(tolerance, 1e-6) if name == "r2_inner" else tolerance
        assert apart(np.nan_to_num(mine), np.nan_to_num(other)) < close
    for name in ("folds", "alphas", "at_border", "ill_conditioned", "n_train", "n_test", "reasons"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def constant_columns():
    x, y = problem(90, 20)
    x[:, [0, 7]] = 0.1
    return x, y


def duplicated_rows():
    x, y = problem(60, 20)
    return np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0)


def duplicated_columns():
    x, y = problem(90, 20)
    return np.hstack([x, x]), y


def massive_activation():
    """One direction a thousand times as strong as the rest, as vision transformers have."""
    x, y = problem(150, 30)
    x[:, 4] *= 1000
    return x, y


PROBLEMS = {
    "more rows than columns": lambda: problem(200, 20),
    "many rows": lambda: problem(600, 40, noise=5.0),
    "wide enough for threads": lambda: problem(700, 260, noise=5.0),
    "as many rows as columns": lambda: problem(40, 40),
    "fewer training rows than columns": lambda: problem(45, 40),
    "fewer rows than columns": lambda: problem(40, 100),
    "far fewer rows than columns": lambda: problem(16, 200),
    "one target": lambda: problem(50, 10, k=1),
    "three targets": lambda: problem(50, 60, k=3),
    "hardly any noise": lambda: problem(100, 10, noise=1e-3),
    "one column": lambda: problem(30, 1),
    "constant columns": constant_columns,
    "duplicated rows": duplicated_rows,
    "duplicated columns": duplicated_columns,
    "half precision": lambda: (problem(90, 20)[0].astype(np.float16), problem(90, 20)[1]),
    "half precision of fewer rows": lambda: (problem(40, 90)[0].astype(np.float16), problem(40, 90)[1]),
    "massive activation": massive_activation,
    "pure noise": lambda: (problem(90, 20)[0], np.random.default_rng(5).normal(size=(90, 2))),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_fold_is_scikit_learns_ridge_with_its_leave_one_out(name):
    x, y = PROBLEMS[name]()
    split = split_of(len(x))
    [[fit]] = fit_folds(chunked(x), [y], [split], ALPHAS, penalty="leave-one-out")
    exact = x.astype(np.float64)
    assert fit.folds.tolist() == list(range(COUNT))
    assert fit.reasons == [""] * COUNT
    for position in range(COUNT):
        test = split.folds == position
        oracle = RidgeCV(ALPHAS, store_cv_results=True).fit(exact[~test], y[~test])
        np.testing.assert_allclose(fit.alphas[position], oracle.alpha_, rtol=1e-12)
        assert apart(fit.coefficients[position], oracle.coef_.reshape(y.shape[1], -1).T) < 1e-5
        np.testing.assert_allclose(fit.intercepts[position], np.ravel(oracle.intercept_), rtol=1e-5, atol=1e-6)
        predicted = oracle.predict(exact[test]).reshape(-1, y.shape[1])
        assert r2_score(y[test], fit.predictions[test]) == pytest.approx(r2_score(y[test], predicted), abs=1e-6)
        best = ALPHAS.tolist().index(oracle.alpha_)
        squares = oracle.cv_results_.reshape(np.count_nonzero(~test), -1, len(ALPHAS))[:, :, best].sum(axis=0)
        inner = 1 - squares / ((y[~test] - y[~test].mean(axis=0)) ** 2).sum(axis=0)
        assert fit.r2_inner[position] == pytest.approx(inner.mean(), abs=1e-6)
        assert fit.at_border[position] == (best in (0, len(ALPHAS) - 1))
        assert (fit.n_train[position], fit.n_test[position]) == (np.count_nonzero(~test), np.count_nonzero(test))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d", [15, 70])
def test_a_common_offset_loses_no_digits(d, dtype):
    x, y = problem(60, d, offset=0.0)
    far = (x * 0.01 + 1e4).astype(dtype)
    near = far.astype(np.float64) - 1e4  # exact: what is left of the features once they have been stored
    split = split_of(len(x))
    for penalty in ("leave-one-out", "inner-folds"):
        [[fit]] = fit_folds(chunked(far), [y], [split], np.logspace(-6, 1, 8), penalty=penalty)
        [[centred]] = fit_folds(chunked(near), [y], [split], np.logspace(-6, 1, 8), penalty=penalty)
        for position in range(COUNT):
            test = split.folds == position
            oracle = Ridge(fit.alphas[position, 0]).fit(near[~test], y[~test])
            assert apart(fit.coefficients[position], oracle.coef_.T) < 1e-5
            assert apart(fit.predictions[test], oracle.predict(near[test])) < 1e-7
        np.testing.assert_array_equal(fit.alphas, centred.alphas)


@pytest.mark.parametrize("penalty", ["leave-one-out", "inner-folds"])
@pytest.mark.parametrize(("n", "d"), [(120, 25), (40, 90)])
def test_several_chunks_in_any_order_are_as_one(n, d, penalty):
    x, y = problem(n, d)
    splits = [split_of(n), split_of(n, seed=2, near=0.2, left_out=0.1)]
    whole = fit_folds(chunked(x), [y], splits, ALPHAS, penalty=penalty)
    for size in (1, 17):
        parts = fit_folds(chunked(x, size), [y], splits, ALPHAS, penalty=penalty)
        for [ours], [theirs] in zip(parts, whole, strict=True):
            same_fits(ours, theirs, 1e-9)


@pytest.mark.parametrize(("n", "d"), [(150, 20), (40, 90)])
def test_a_penalty_a_column_is_scikit_learns(n, d):
    x, y = problem(n, d, k=3)
    y[:, 1] = np.random.default_rng(1).normal(size=n) * 30
    split = split_of(n)
    [[fit]] = fit_folds(chunked(x), [y], [split], ALPHAS, penalty="leave-one-out", per_column=True)
    for position in range(COUNT):
        train = split.folds != position
        oracle = RidgeCV(ALPHAS, alpha_per_target=True).fit(x[train], y[train])
        np.testing.assert_allclose(fit.alphas[position], oracle.alpha_, rtol=1e-12)
        assert apart(fit.coefficients[position], oracle.coef_.T) < 1e-5
    assert len(np.unique(fit.alphas[0])) > 1  # so that mixing them up would show


def switched_off(n=120, d=25):
    """A column that is constant in some training sets alone, and one that is always."""
    x, y = problem(n, d)
    x[:, 3] = 0.1
    x[split_of(n).folds != 0, 5] = 7.3
    return x, y


@pytest.mark.parametrize("data", [switched_off, lambda: problem(40, 90), lambda: switched_off(40, 90)])
def test_standardising_is_that_of_a_pipeline_in_the_training_rows(data):
    x, y = data()
    split = split_of(len(x))
    [[fit]] = fit_folds(chunked(x, 30), [y], [split], ALPHAS, penalty="leave-one-out", standardise=True)
    [[inner]] = fit_folds(chunked(x, 30), [y], [split], ALPHAS[5:6], standardise=True)
    for position in range(COUNT):
        test = split.folds == position
        oracle = RidgeCV(ALPHAS).fit(StandardScaler().fit_transform(x[~test]), y[~test])
        np.testing.assert_allclose(fit.alphas[position], oracle.alpha_, rtol=1e-12)
        for ours, alpha in ((fit, oracle.alpha_), (inner, ALPHAS[5])):
            pipeline = make_pipeline(StandardScaler(), Ridge(alpha)).fit(x[~test], y[~test])
            assert apart(ours.coefficients[position], pipeline[1].coef_.T / pipeline[0].scale_[:, None]) < 1e-5
            assert apart(ours.predictions[test], pipeline.predict(x[test])) < 1e-7


def test_a_column_that_only_a_near_row_varies_is_constant_in_training():
    x, y = problem(120, 6)
    split = split_of(120)
    near = np.zeros(120, dtype=np.int64)
    row = int(np.flatnonzero(split.folds == 1)[0])
    near[row] = 1
    x[:, 2] = 0.0
    x[row, 2] = 1e3
    for size in (1, 50):
        [[fit]] = fit_folds(chunked(x, size), [y], [Split(split.folds, near)], [10.0], standardise=True, only=[0])
        train = (split.folds != 0) & (near == 0)
        pipeline = make_pipeline(StandardScaler(), Ridge(10.0)).fit(x[train], y[train])
        assert apart(fit.coefficients[0], pipeline[1].coef_.T / pipeline[0].scale_[:, None]) < 1e-7


def nested(x, y, split, standardise, per_column=False):
    """Chosen penalties (F, k) and their R² on inner folds, one Ridge a fold, inner fold and penalty."""
    alphas, scores = [], []
    for fold in split.numbers:
        truth, predicted = [], []
        for other in split.numbers:
            near = np.zeros(len(x), dtype=bool)
            if split.near is not None:
                near = (split.near & (1 << int(fold) | 1 << int(other))) > 0
            train = (split.folds >= 0) & (split.folds != fold) & (split.folds != other) & ~near
            test = split.folds == other
            if split.near is not None:
                test &= (split.near & (1 << int(fold))) == 0
            if other == fold or train.sum() < 2 or test.sum() < 1:
                continue
            truth.append(y[test])
            steps = [StandardScaler()] if standardise else []
            predicted.append(
                [make_pipeline(*steps, Ridge(alpha)).fit(x[train], y[train]).predict(x[test]) for alpha in ALPHAS[::2]]
            )
        truth, predicted = np.concatenate(truth), np.concatenate(predicted, axis=1)
        errors = ((truth - predicted) ** 2).mean(axis=1)
        best = errors.argmin(axis=0) if per_column else np.repeat(errors.mean(axis=1).argmin(), y.shape[1])
        alphas.append(ALPHAS[::2][best])
        scores.append(r2_score(truth, predicted[best, :, np.arange(y.shape[1])].T))
    return np.array(alphas), np.array(scores)


@pytest.mark.parametrize(
    "options", [{}, {"standardise": True}, {"per_column": True}], ids=["plain", "scaled", "column"]
)
@pytest.mark.parametrize(("n", "d"), [(120, 25), (60, 50), (45, 90)])
def test_inner_folds_are_an_explicit_nested_loop(n, d, options):
    x, y = problem(n, d, noise=2.0, k=2)
    y[:, 1] += np.random.default_rng(7).normal(size=n) * 20
    splits = [split_of(n), split_of(n, near=0.15), split_of(n, seed=3, near=0.1, left_out=0.1)]
    assert (splits[0].folds == splits[1].folds).all()  # as blocked and buffered, which share their sums
    fits = fit_folds(chunked(x, 50), [y], splits, ALPHAS[::2], **options)
    for [fit], split in zip(fits, splits, strict=True):
        chosen, scores = nested(x, y, split, options.get("standardise", False), options.get("per_column", False))
        np.testing.assert_array_equal(fit.alphas, chosen)
        np.testing.assert_allclose(fit.r2_inner, scores, atol=1e-6)
        for position in range(COUNT):
            train = ~split.excluded(position)
            steps = [StandardScaler()] if options.get("standardise") else []
            oracle = make_pipeline(*steps, Ridge(fit.alphas[position])).fit(x[train], y[train])
            test = split.folds == position
            assert apart(fit.predictions[test], oracle.predict(x[test])) < 1e-7
            assert fit.n_train[position] == np.count_nonzero(train)
        np.testing.assert_array_equal(np.isnan(fit.predictions).any(axis=1), split.folds < 0)


@pytest.mark.parametrize("penalty", ["leave-one-out", "inner-folds"])
@pytest.mark.parametrize(("n", "d"), [(120, 25), (40, 90)])
def test_rows_of_no_fold_are_as_if_they_were_not_there(n, d, penalty):
    x, y = problem(n, d)
    split = split_of(n, left_out=0.2)
    inside = split.folds >= 0
    x[~inside] *= 100
    [[fit]] = fit_folds(chunked(x), [y], [split], ALPHAS, penalty=penalty)
    [[alone]] = fit_folds(chunked(x[inside]), [y[inside]], [Split(split.folds[inside], None)], ALPHAS, penalty=penalty)
    assert np.isnan(fit.predictions[~inside]).all()
    assert apart(fit.predictions[inside], alone.predictions) < 1e-8
    np.testing.assert_array_equal(fit.alphas, alone.alphas)
    np.testing.assert_allclose(fit.r2_inner, alone.r2_inner, rtol=1e-7)


@pytest.mark.parametrize("penalty", ["leave-one-out", "inner-folds"])
@pytest.mark.parametrize(("n", "d"), [(120, 25), (40, 90)])
def test_only_some_folds_are_those_of_all(n, d, penalty):
    x, y = problem(n, d)
    split = split_of(n, near=0.1)
    [[whole]] = fit_folds(chunked(x), [y], [split], ALPHAS, penalty=penalty)
    [[some]] = fit_folds(chunked(x), [y], [split], ALPHAS, penalty=penalty, only=[3, 1])
    assert some.folds.tolist() == [1, 3]
    for name in ("coefficients", "intercepts", "alphas", "r2_inner", "n_train", "n_test"):
        np.testing.assert_allclose(getattr(some, name), getattr(whole, name)[[1, 3]], rtol=1e-7)
    tested = np.isin(split.folds, [1, 3])
    assert apart(some.predictions[tested], whole.predictions[tested]) < 1e-9
    assert np.isnan(some.predictions[~tested]).all()


@pytest.mark.parametrize("penalty", ["leave-one-out", "inner-folds"])
@pytest.mark.parametrize(("n", "d"), [(90, 25), (40, 60)])
def test_targets_and_splits_fitted_together_are_those_fitted_each_by_itself(n, d, penalty):
    x, y = problem(n, d, k=5, noise=0.3)
    targets = [y[:, :2], np.random.default_rng(1).normal(size=(n, 3)), y[:, 2:3], y[:, 3:] * 1000]
    splits = [split_of(n), split_of(n, seed=4, count=3), split_of(n, near=0.2)]
    together = fit_folds(chunked(x), targets, splits, ALPHAS, penalty=penalty)
    assert [len(own) for own in together] == [len(targets)] * len(splits)
    assert len({fit.alphas[0, 0] for fit in together[0]}) > 1  # so that mixing them up would show
    for own, split in zip(together, splits, strict=True):
        for fit, target in zip(own, targets, strict=True):
            [[alone]] = fit_folds(chunked(x), [target], [split], ALPHAS, penalty=penalty)
            same_fits(fit, alone, 1e-8)


@pytest.mark.parametrize("d", [8, 60])
def test_a_penalty_at_the_end_of_the_list_is_at_the_border(d):
    x, _ = problem(50, d, offset=0.0)
    # all columns alike and half of the variance noise, so that the best penalty is near the number of columns
    even = x / x.std(axis=0)
    y = even.sum(axis=1, keepdims=True) + np.random.default_rng(4).normal(size=(50, 1)) * np.sqrt(d)
    noise = np.random.default_rng(0).normal(size=y.shape)
    split = split_of(50)
    for penalty in ("leave-one-out", "inner-folds"):
        [[high]] = fit_folds(chunked(x), [noise], [split], np.logspace(-3, 0, 4), penalty=penalty)
        [[low]] = fit_folds(chunked(x), [x[:, -1:] * 1.0], [split], np.logspace(0, 9, 4), penalty=penalty)
        [[inside]] = fit_folds(chunked(even), [y], [split], np.r_[1e-6, np.logspace(-2, 4, 13), 1e9], penalty=penalty)
        [[single]] = fit_folds(chunked(x), [noise], [split], [1.0], penalty=penalty)
        assert high.at_border.all()
        assert (high.alphas == 1).all()
        assert low.at_border.all()
        assert (low.alphas == 1).all()
        at_end = np.isin(inside.alphas[:, 0], [1e-6, 1e9])
        np.testing.assert_array_equal(inside.at_border, at_end)
        assert not at_end.all()
        assert not single.at_border.any()


@pytest.mark.parametrize("d", [8, 60])
def test_a_penalty_below_the_rounding_of_the_largest_eigenvalue_is_ill_conditioned(d):
    x, y = problem(50, d)
    split = split_of(50)
    train = split.folds != 0
    largest = np.linalg.svd(x[train] - x[train].mean(axis=0), compute_uv=False)[0] ** 2
    limit = 1e6 * np.finfo(float).eps * largest
    for factor, expected in ((0.99, True), (1.01, False)):
        [[fit]] = fit_folds(chunked(x), [y], [split], [factor * limit], penalty="leave-one-out", only=[0])
        assert fit.ill_conditioned.tolist() == [expected]


@pytest.mark.parametrize("d", [8, 60])
def test_a_penalty_that_rounding_hides_ends_in_numbers(d):
    x, y = problem(50, d)
    [[fit]] = fit_folds(chunked(np.hstack([x, x]) * 1e4), [y], [split_of(50)], [1e-30, 1e6])
    assert np.isfinite(fit.coefficients).all()
    [[fit]] = fit_folds(chunked(np.hstack([x, x]) * 1e4), [y], [split_of(50)], [1e-30])
    assert fit.ill_conditioned.all()
    assert np.isfinite(fit.predictions).all()


def test_folds_that_cannot_be_fitted_have_a_reason_and_no_numbers():
    x, y = problem(30, 4)
    folds = np.repeat([0, 1, 2], [14, 15, 1])
    near = np.where(folds != 0, 1, 0)  # nothing may be trained on when fold 0 is tested
    [[fit]] = fit_folds(chunked(x), [y], [Split(folds, near)], ALPHAS, penalty="leave-one-out")
    assert fit.reasons[0].startswith("0 training rows")
    assert fit.reasons[1] == ""
    assert fit.reasons[2].startswith("1 test rows")
    for name in ("coefficients", "intercepts", "alphas", "r2_inner"):
        assert np.isnan(getattr(fit, name)[[0, 2]]).all()
        assert np.isfinite(getattr(fit, name)[1]).all()
    np.testing.assert_array_equal(np.isfinite(fit.predictions).all(axis=1), folds == 1)


@pytest.mark.parametrize("d", [4, 60])
def test_two_folds_have_no_inner_fold(d):
    x, y = problem(30, d)
    [[fit]] = fit_folds(chunked(x), [y], [split_of(30, count=2)], ALPHAS)
    assert all(reason.startswith("no other fold") for reason in fit.reasons)
    assert np.isnan(fit.predictions).all()
    [[fit]] = fit_folds(chunked(x), [y], [split_of(30, count=2)], ALPHAS, penalty="leave-one-out")
    assert fit.reasons == ["", ""]


def test_a_split_without_folds_has_no_fits():
    x, y = problem(30, 4)
    [[fit], [other]] = fit_folds(chunked(x), [y], [Split(np.full(30, -1), None), split_of(30)], ALPHAS)
    assert len(fit.folds) == 0
    assert fit.coefficients.shape == (0, 4, 2)
    assert np.isnan(fit.predictions).all()
    assert other.reasons == [""] * COUNT


@pytest.mark.parametrize("penalty", ["leave-one-out", "inner-folds"])
@pytest.mark.parametrize("d", [4, 60])
def test_features_that_do_not_vary_predict_the_mean(d, penalty):
    y = problem(30, 3)[1]
    split = split_of(30)
    for value in (0.0, 0.1, 1e6):
        for standardise in (False, True):
            [[fit]] = fit_folds(
                chunked(np.full((30, d), value), 7), [y], [split], ALPHAS, penalty, standardise=standardise
            )
            for fold in range(COUNT):
                expected = y[split.folds != fold].mean(axis=0)
                np.testing.assert_allclose(
                    fit.predictions[split.folds == fold],
                    expected[None].repeat(np.count_nonzero(split.folds == fold), axis=0),
                    rtol=1e-9,
                )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("penalty", ["leave-one-out", "inner-folds"])
@pytest.mark.parametrize(("n", "d"), [(120, 25), (40, 90)])
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("device", ["torch-cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_torch_gives_what_numpy_gives(device, n, d, penalty, dtype, standardise):
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device on this machine")
    x, y = problem(n, d)
    x = x.astype(dtype)
    x.flags.writeable = False
    splits = [split_of(n), split_of(n, near=0.2, left_out=0.1)]
    options = {"penalty": penalty, "standardise": standardise}
    ours = fit_folds(chunked(x, 50), [y, y[:, :1]], splits, ALPHAS, device=device, **options)
    theirs = fit_folds(chunked(x, 50), [y, y[:, :1]], splits, ALPHAS, **options)
    for own, other in zip(ours, theirs, strict=True):
        for fit, expected in zip(own, other, strict=True):
            same_fits(fit, expected, 1e-7)


def test_the_data_are_not_changed():
    x, y = problem(20, 5)
    before = x.copy(), y.copy()
    for penalty in ("leave-one-out", "inner-folds"):
        fit_folds(chunked(x), [y], [split_of(20)], ALPHAS, penalty=penalty)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [6, 19])
@pytest.mark.parametrize("d", [3, 40])
@pytest.mark.parametrize("split", [split_of(20), Split(np.where(np.arange(20) == 19, -1, np.arange(20) % 4), None)])
def test_a_feature_that_is_not_finite_is_refused_with_its_row(value, row, d, split):
    x, y = problem(20, d)
    x[row, 1] = value
    for size in (None, 5):
        with pytest.raises(ValueError, match=f"features, row {row}: a value is not finite"):
            fit_folds(chunked(x, size), [y], [split], ALPHAS)


def test_a_target_that_is_not_finite_is_refused_with_its_row():
    x, y = problem(20, 3)
    y[4, 1] = np.nan
    with pytest.raises(ValueError, match="targets, row 4: a value is not finite"):
        fit_folds(chunked(x), [y[:, :1], y[:, 1:]], [split_of(20)], ALPHAS)


@pytest.mark.parametrize("d", [3, 40])
def test_rows_that_are_missing_or_repeated_are_refused(d):
    x, y = problem(20, d)
    for rows, message in (
        (np.arange(19), "row 19 occurs 0 times"),
        (np.r_[np.arange(20), 4], "row 4 occurs 2 times"),
        (np.r_[np.arange(19), 20], "row numbers from 0 to 20"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_folds(lambda rows=rows: [(rows, x[rows % 20])], [y], [split_of(20)], ALPHAS)


def test_wrong_shapes_and_options_are_refused():
    x, y = problem(20, 3)
    split = split_of(20)
    for chunks in ([(np.arange(20), x[:19])], [(np.arange(10), x[:10]), (np.arange(10, 20), x[10:, :2])]):
        with pytest.raises(ValueError, match="a chunk has row numbers of shape"):
            fit_folds(lambda chunks=chunks: chunks, [y], [split], ALPHAS)
    with pytest.raises(ValueError, match="row 0 occurs 0 times"):
        fit_folds(list, [y], [split], ALPHAS)
    with pytest.raises(ValueError, match="the splits have 0 rows"):
        fit_folds(list, [y[:0]], [Split(split.folds[:0], None)], ALPHAS)
    with pytest.raises(ValueError, match="a target has 19 rows"):
        fit_folds(chunked(x), [y[:19]], [split], ALPHAS)
    with pytest.raises(ValueError, match="a target has the shape"):
        fit_folds(chunked(x), [y[:, 0]], [split], ALPHAS)
    with pytest.raises(ValueError, match="a split has 21 rows"):
        fit_folds(chunked(x), [y], [split, split_of(21)], ALPHAS)
    with pytest.raises(ValueError, match="penalty is 'gcv'"):
        fit_folds(chunked(x), [y], [split], ALPHAS, penalty="gcv")
    for alphas in ([], [0.0, 1.0], [2.0, 1.0], 1.0):
        with pytest.raises(ValueError, match="alphas are"):
            fit_folds(chunked(x), [y], [split], alphas)

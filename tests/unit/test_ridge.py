"""Ridge regression against scikit-learn's RidgeCV and a leave-one-out done one row at a time."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score

from geoprobe.probes.ridge import fit_ridge

ALPHAS = np.logspace(-1, 4, 12)


def problem(n, d, k=2, seed=0, noise=1.0):
    """Features of many scales with some relation to the targets, and as many again to predict on."""
    random = np.random.default_rng(seed)
    scales = np.logspace(-1, 1, d)
    x = random.normal(3.0, 1.0, (2 * n, d)) * scales
    y = (
        x @ (random.normal(size=(d, k)) / scales[:, None] / np.sqrt(d))
        + noise * random.normal(size=(2 * n, k))
        + [40.0] * k
    )
    return x[:n], y[:n], x[n:], y[n:]


def constant_columns(n=60, d=20):
    x, y, new, truth = problem(n, d)
    for part in (x, new):
        part[:, [0, 7]] = 0.1
    return x, y, new, truth


def duplicated_rows(n=60, d=20):
    x, y, new, truth = problem(n, d)
    return np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0), new, truth


def duplicated_columns(n=60, d=20):
    x, y, new, truth = problem(n, d)
    return np.hstack([x, x]), y, np.hstack([new, new]), truth


def half_precision(n=60, d=20):
    x, y, new, truth = problem(n, d)
    return x.astype(np.float16), y, new.astype(np.float16), truth


def massive_activation(n=150, d=30):
    """One direction a thousand times as strong as the rest, as vision transformers have."""
    x, y, new, truth = problem(n, d)
    x[:, 4] *= 1000
    new[:, 4] *= 1000
    return x, y, new, truth


def pure_noise(n=60, d=20):
    x, _, new, truth = problem(n, d)
    return x, np.random.default_rng(5).normal(size=(n, 2)), new, truth


PROBLEMS = {
    "more rows than columns": lambda: problem(200, 20),
    "many rows": lambda: problem(600, 40, noise=5.0),
    "as many rows as columns": lambda: problem(40, 40),
    "one row more than columns": lambda: problem(41, 40),
    "fewer rows than columns": lambda: problem(40, 100),
    "far fewer rows than columns": lambda: problem(5, 200),
    "one target": lambda: problem(50, 10, k=1),
    "three targets": lambda: problem(50, 60, k=3),
    "hardly any noise": lambda: problem(100, 10, noise=1e-3),
    "one column": lambda: problem(30, 1),
    "constant columns": constant_columns,
    "duplicated rows": duplicated_rows,
    "duplicated columns": duplicated_columns,
    "half precision": half_precision,
    "massive activation": massive_activation,
    "pure noise": pure_noise,
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_ridge_is_scikit_learns_ridge_with_its_leave_one_out(name):
    x, y, new, truth = PROBLEMS[name]()
    oracle = RidgeCV(ALPHAS, fit_intercept=True).fit(x.astype(np.float64), y)
    [(weights, intercept, best)] = fit_ridge(x, [y], ALPHAS)
    assert ALPHAS[best] == pytest.approx(oracle.alpha_, rel=1e-12)
    coefficients = oracle.coef_.reshape(y.shape[1], -1).T
    assert np.linalg.norm(weights - coefficients) <= 1e-5 * np.linalg.norm(coefficients)
    np.testing.assert_allclose(intercept, np.ravel(oracle.intercept_), rtol=1e-5, atol=1e-6)
    predicted = new.astype(np.float64) @ weights + intercept
    ours = r2_score(truth, predicted)
    theirs = r2_score(truth, oracle.predict(new.astype(np.float64)).reshape(truth.shape))
    assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(12, 3), (8, 8), (6, 15)])
def test_the_penalty_is_that_of_leaving_out_one_row_after_the_other(n, d):
    alphas = np.logspace(-2, 3, 9)
    for seed in range(4):
        x, y, _, _ = problem(n, d, seed=seed, noise=2.0)
        errors = []
        for alpha in alphas:
            left_out = [
                y[row] - Ridge(alpha).fit(np.delete(x, row, 0), np.delete(y, row, 0)).predict(x[row : row + 1])[0]
                for row in range(n)
            ]
            errors.append(np.square(left_out).mean())
        [(_, _, best)] = fit_ridge(x, [y], alphas)
        assert best == int(np.argmin(errors))


def test_targets_fitted_together_are_those_fitted_each_by_itself():
    x, y, _, _ = problem(60, 30, k=5, noise=0.3)
    targets = [y[:, :2], np.random.default_rng(1).normal(size=(60, 3)), y[:, 2:3], y[:, 3:] * 1000]
    together = fit_ridge(x, targets, ALPHAS)
    assert len(together) == len(targets)
    assert len({best for _, _, best in together}) > 1  # so that mixing them up would show
    for (weights, intercept, best), target in zip(together, targets, strict=True):
        [(alone, constant, chosen)] = fit_ridge(x, [target], ALPHAS)
        assert best == chosen
        np.testing.assert_allclose(weights, alone, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(intercept, constant, rtol=1e-9)


def test_columns_of_one_target_share_one_penalty():
    x, y, _, _ = problem(80, 20, noise=1.0)
    y[:, 1] = np.random.default_rng(1).normal(size=80) * 30
    [(_, _, shared)], [(_, _, first)], [(_, _, second)] = (
        fit_ridge(x, [target], ALPHAS) for target in (y, y[:, :1], y[:, 1:])
    )
    assert first != second
    assert shared in range(min(first, second), max(first, second) + 1)
    assert ALPHAS[shared] == pytest.approx(RidgeCV(ALPHAS).fit(x, y).alpha_)


def test_features_that_do_not_vary_predict_the_mean():
    y = problem(30, 3)[1]
    for value in (0.0, 0.1, 1e6):
        [(weights, intercept, _)] = fit_ridge(np.full((30, 4), value), [y], ALPHAS)
        np.testing.assert_allclose(np.full((1, 4), value) @ weights + intercept, [y.mean(axis=0)], rtol=1e-9)


def test_moving_the_origin_of_the_features_changes_no_prediction():
    x, y, new, _ = problem(60, 20)
    [(weights, intercept, best)] = fit_ridge(x, [y], ALPHAS)
    [(moved, constant, chosen)] = fit_ridge(x + 1000, [y], ALPHAS)
    assert best == chosen
    np.testing.assert_allclose((new + 1000) @ moved + constant, new @ weights + intercept, rtol=1e-7)


def test_the_data_are_not_changed():
    x, y, _, _ = problem(20, 5)
    before = x.copy(), y.copy()
    fit_ridge(x, [y], ALPHAS)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_fewer_than_two_rows_are_refused_with_their_number():
    for n in (0, 1):
        with pytest.raises(ValueError, match=f"at least 2 rows, and there are {n}"):
            fit_ridge(np.ones((n, 3)), [np.ones((n, 2))], ALPHAS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_is_refused_with_its_row(value):
    x, y, _, _ = problem(10, 3)
    x[6, 1] = value
    with pytest.raises(ValueError, match="features, row 6: a value is not finite"):
        fit_ridge(x, [y], ALPHAS)


def test_a_target_that_is_not_finite_is_refused_with_its_row():
    x, y, _, _ = problem(10, 3)
    y[4, 1] = np.nan
    with pytest.raises(ValueError, match="targets, row 4: a value is not finite"):
        fit_ridge(x, [y[:, :1], y[:, 1:]], ALPHAS)

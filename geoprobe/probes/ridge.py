"""Ridge regression with the penalty chosen by exact leave-one-out, for all penalties and targets at once."""

import numpy as np


def fit_ridge(features, targets, alphas):
    """Fit ridge regressions with an intercept and choose each one's penalty by exact leave-one-out.

    Args:
        features: shape (n, d), finite.
        targets: list of arrays of shape (n, k_j); each is a regression of its own with one penalty for its k_j
            columns, as the paper's (scikit-learn's RidgeCV with a matrix of targets).
        alphas: penalties, shape (a,), positive, rising.

    Returns:
        For each target a tuple: coefficients (d, k_j), intercept (k_j,), index of the chosen penalty.

    Raises:
        ValueError: features or targets are not finite, or there are fewer than two rows.

    With centred X = U S V', the leave-one-out residual of a row is r_i / (1 - h_i), where r is the residual of
    the fit and h the diagonal of U S^2 / (S^2 + alpha) U' + 1/n (Golub, Heath and Wahba 1979; the 1/n is the
    intercept's). U S V' comes from the eigenvectors of the smaller Gram matrix, X'X or XX'. The criterion is
    the mean squared leave-one-out residual over rows and columns.
    """
    x = np.asarray(features, dtype=np.float64)
    n = len(x)
    if n < 2:
        raise ValueError(f"ridge regression needs at least 2 rows, and there are {n}")
    if not np.isfinite(x).all():
        row = int(np.argmax(~np.isfinite(x).all(axis=1)))
        raise ValueError(f"features, row {row}: a value is not finite")
    targets = [np.asarray(target, dtype=np.float64) for target in targets]
    y = np.concatenate(targets, axis=1)
    if not np.isfinite(y).all():
        raise ValueError(f"targets, row {int(np.argmax(~np.isfinite(y).all(axis=1)))}: a value is not finite")
    alphas = np.asarray(alphas, dtype=np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    left, squares, right = _decompose(x)
    projected = left.T @ y
    # all penalties and targets in two products: (n, alphas) and (n, alphas, columns)
    shrink = squares[:, None] / (squares[:, None] + alphas)
    leverage = left**2 @ shrink + 1 / n
    fitted = left @ (shrink[:, :, None] * projected[:, None, :]).reshape(len(squares), len(alphas) * y.shape[1])
    residual = y[:, None, :] - fitted.reshape(n, len(alphas), y.shape[1])
    errors = ((residual / (1 - leverage)[:, :, None]) ** 2).mean(axis=0)
    fits, first = [], 0
    for target in targets:
        columns = slice(first, first + target.shape[1])
        first = columns.stop
        best = int(np.argmin(errors[:, columns].mean(axis=1)))
        weights = np.sqrt(squares) / (squares + alphas[best])
        coefficients = right @ (weights[:, None] * projected[:, columns])
        fits.append((coefficients, y_mean[columns] - x_mean @ coefficients, best))
    return fits


def _decompose(x):
    """Left singular vectors (n, r), squared singular values (r,) and right singular vectors (d, r) of x."""
    n, d = x.shape
    squares, vectors = np.linalg.eigh(x.T @ x if d <= n else x @ x.T)
    # what is zero but for rounding has no direction
    keep = squares > squares[-1] * max(n, d) * np.finfo(np.float64).eps
    squares, vectors = squares[keep], vectors[:, keep]
    roots = np.sqrt(squares)
    if d <= n:
        return x @ vectors / roots, squares, vectors
    return vectors, squares, x.T @ vectors / roots

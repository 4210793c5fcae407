"""The networks against scikit-learn's MLPRegressor, against automatic differentiation, and by their properties."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from geoprobe.probes import mlp
from geoprobe.probes.folds import Split

OPTIONS = {
    **{"hidden": 32, "learning_rate": 0.01, "alpha": 0.01, "max_iter": 60, "batch_size": 200},
    **{"validation_fraction": 0.1, "patience": 10, "tolerance": 1e-4},
}


pytestmark = pytest.mark.usefixtures("one_thread")


def planted(n=600, d=5, seed=0, noise=0.1):
    """Features, and positions in degrees that no linear function of them predicts; three folds."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)).astype(np.float32)
    y = np.column_stack([np.abs(x[:, 0]), x[:, 0] * x[:, 1]]) + random.normal(0, noise, (n, 2))
    return x, y * [20, 40] + [30, -50], Split(random.permutation(n) % 3)


def regressor(**changes):
    """scikit-learn's, with the options above."""
    own = {
        "hidden_layer_sizes": (OPTIONS["hidden"],),
        "learning_rate_init": OPTIONS["learning_rate"],
        "alpha": OPTIONS["alpha"],
        "max_iter": OPTIONS["max_iter"],
        "early_stopping": True,
    }
    return MLPRegressor(**{**own, **changes})


def stacked(arrays):
    return [torch.from_numpy(np.stack(own).astype(np.float32)) for own in zip(*arrays, strict=True)]


def batch_of(n=23, d=4, k=3, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)).astype(np.float32), random.normal(size=(n, k)).astype(np.float32)


def test_it_learns_what_a_linear_probe_cannot():
    x, y, split = planted()
    fit = mlp.fit_folds(x, [y], [split], OPTIONS, seed=1)[0][0]
    linear = np.empty_like(y)
    for fold in range(3):
        train, test = split.folds != fold, split.folds == fold
        linear[test] = RidgeCV(np.logspace(-1, 4, 6)).fit(x[train], y[train]).predict(x[test])
    assert r2_score(y, fit.predictions) > 0.9
    assert r2_score(y, linear) < 0.1
    np.testing.assert_array_equal(fit.folds, [0, 1, 2])
    np.testing.assert_array_equal(fit.n_train, [400, 400, 400])
    np.testing.assert_array_equal(fit.n_test, [200, 200, 200])
    assert fit.reasons == ["", "", ""]
    assert fit.r2_inner.min() > 0.85


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(("noise", "max_iter"), [(0.1, 15), (0.1, 60), (1.0, 60)], ids=["early", "late", "noisy"])
def test_held_out_scores_are_scikit_learns(noise, max_iter):
    x, y, split = planted(noise=noise)
    fit = mlp.fit_folds(x, [y], [split], {**OPTIONS, "max_iter": max_iter}, seed=1)[0][0]
    theirs = []
    for fold in range(3):
        train, test = split.folds != fold, split.folds == fold
        features, target = StandardScaler().fit(x[train]), StandardScaler().fit(y[train])
        network = regressor(max_iter=max_iter, random_state=fold)
        network.fit(features.transform(x[train]), target.transform(y[train]))
        predicted = target.inverse_transform(network.predict(features.transform(x[test])))
        theirs.append(r2_score(y[test], predicted))
    ours = [r2_score(y[split.folds == fold], fit.predictions[split.folds == fold]) for fold in range(3)]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.05)


def test_initial_weights_are_within_scikit_learns_bounds():
    x, y = batch_of(n=30, d=50)
    theirs = regressor(early_stopping=False, hidden_layer_sizes=(200,), max_iter=1).partial_fit(x, y)
    drawn = mlp.draw_weights(np.random.default_rng(0), 50, 200, 3)
    assert [a.shape for a in drawn] == [(50, 200), (1, 200), (200, 3), (1, 3)]
    for ours, reference, bound in ((drawn[0], theirs.coefs_[0], 6 / 250), (drawn[2], theirs.coefs_[1], 6 / 203)):
        # scikit-learn's has made one step, of about the learning rate
        assert np.abs(ours).max() <= np.sqrt(bound)
        assert np.abs(ours).max() == pytest.approx(np.abs(reference).max(), abs=0.02)
        assert ours.std() == pytest.approx(np.sqrt(bound / 3), rel=0.06)
    assert 0 < np.abs(drawn[1]).max() <= np.sqrt(6 / 250)


def test_gradients_are_those_of_automatic_differentiation_and_of_each_network_alone():
    rows = (23, 9)  # the second batch is filled up to the first one's size
    x, y = stacked([batch_of(seed=seed) for seed in (1, 2)])
    used = torch.zeros(2, 23, 1)
    weights = stacked([mlp.draw_weights(np.random.default_rng(seed), 4, 6, 3) for seed in (3, 4)])
    for index, count in enumerate(rows):
        used[index, :count] = 1
    grads = mlp.gradients(weights, x, y, used, 0.7)
    for index, count in enumerate(rows):
        inner, inner_bias, outer, outer_bias = own = [w[index].clone().requires_grad_() for w in weights]
        output = torch.relu(x[index, :count] @ inner + inner_bias) @ outer + outer_bias
        penalty = 0.7 / 2 * ((inner**2).sum() + (outer**2).sum())
        (((output - y[index, :count]) ** 2).sum() / 2 + penalty).div(count).backward()
        for ours, reference in zip(grads, own, strict=True):
            np.testing.assert_allclose(ours[index], reference.grad, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.01, 5.0])
def test_steps_of_adam_are_scikit_learns(alpha):
    x, y = batch_of()
    theirs = regressor(early_stopping=False, alpha=alpha, random_state=0).partial_fit(x, y)
    drawn = mlp.draw_weights(np.random.default_rng(0), 4, OPTIONS["hidden"], 3)
    theirs.coefs_, theirs.intercepts_ = [drawn[0].copy(), drawn[2].copy()], [drawn[1][0].copy(), drawn[3][0].copy()]
    del theirs._optimizer  # of the step that made the arrays
    weights = stacked([drawn])
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    data = torch.from_numpy(x)[None], torch.from_numpy(y)[None], torch.ones(1, len(x), 1)
    for step in range(1, 6):
        theirs.partial_fit(x, y)
        rate = torch.tensor(mlp.adam_rates(OPTIONS["learning_rate"], step), dtype=torch.float32).view(1, 1, 1)
        mlp.adam_step(weights, first, second, mlp.gradients(weights, *data, alpha), rate)
        references = (theirs.coefs_[0], theirs.intercepts_[0], theirs.coefs_[1], theirs.intercepts_[1])
        for ours, reference in zip(weights, references, strict=True):
            np.testing.assert_allclose(ours[0].squeeze(0), reference, atol=1e-5)
    assert np.abs(weights[0][0].numpy() - drawn[0]).max() > 0.02


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    x, y, split = planted(300)
    options = {**OPTIONS, "max_iter": 5}
    one, again, other = (mlp.fit_folds(x, [y], [split], options, seed=seed)[0][0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.predictions, again.predictions)
    np.testing.assert_array_equal(one.r2_inner, again.r2_inner)
    assert np.abs(one.predictions - other.predictions).max() > 0.1


def test_numbers_do_not_hang_on_what_is_trained_beside(monkeypatch):
    x, y, split = planted(450)
    # training sets with another number of batches, and some that stop earlier
    uneven = Split(np.where(np.arange(450) < 330, 0, np.arange(450) % 2 + 1))
    noise = np.random.default_rng(0).normal(size=(450, 3))
    options = {**OPTIONS, "max_iter": 25, "patience": 2, "batch_size": 50}
    together = mlp.fit_folds(x, [y, noise, noise[:, :2]], [split, uneven], options, seed=1)
    assert len({int(epochs) for of_split in together for fit in of_split for epochs in fit.epochs}) > 3
    monkeypatch.setitem(mlp.GROUP_BYTES, "cpu", 1)
    alone = mlp.fit_folds(x, [y, noise, noise[:, :2]], [split, uneven], options, seed=1)
    for of_split, of_split_alone in zip(together, alone, strict=True):
        for fit, fit_alone in zip(of_split, of_split_alone, strict=True):
            np.testing.assert_array_equal(fit.epochs, fit_alone.epochs)
            np.testing.assert_allclose(fit.predictions, fit_alone.predictions, atol=1e-3)
    first = mlp.fit_folds(x, [y], [split], options, seed=1)[0][0]
    np.testing.assert_allclose(first.predictions, together[0][0].predictions, atol=1e-3)


def test_groups_hold_what_the_budget_allows_and_networks_of_one_number_of_columns():
    tasks = [mlp.Task(0, target, fold, fold, 2 + target, 100 + fold) for target in (0, 1) for fold in range(5)]
    for budget, count in ((1, 10), (2**40, 2)):
        groups = mlp._group(tasks, 150, 8, OPTIONS, budget)
        assert len(groups) == count
        assert sorted((t.target, t.fold) for group in groups for t in group) == [(t.target, t.fold) for t in tasks]
        assert all(len({task.columns for task in group}) == 1 for group in groups)
        assert all([task.rows for task in group] == sorted((t.rows for t in group), reverse=True) for group in groups)


def scores_by_epoch(monkeypatch, make_scores):
    """Let validation scores be given ones, by epoch, and keep the weights that were scored."""
    seen = []

    def validation_r2(self, weights):
        seen.append([weight.clone() for weight in weights])
        return np.full(len(weights[0]), make_scores(len(seen)))

    monkeypatch.setattr(mlp.Data, "validation_r2", validation_r2)
    return seen


def test_the_weights_of_the_best_epoch_are_kept_and_training_stops_when_patience_is_over(monkeypatch):
    x, y, _ = planted(120)
    split = Split(np.arange(120) % 2)
    # patience 3: the fourth epoch in a row without a gain of the tolerance is the last
    seen = scores_by_epoch(monkeypatch, lambda epoch: {1: 0.1, 2: 0.3, 3: 0.7, 5: 0.70005}.get(epoch, 0.2))
    fit = mlp.fit_folds(x, [y], [split], {**OPTIONS, "patience": 3}, seed=1)[0][0]
    assert fit.epochs.tolist() == [7, 7]
    assert len(seen) == 7
    # less than the tolerance above the best: no gain, and yet the best, as in scikit-learn
    assert fit.r2_inner.tolist() == [0.70005, 0.70005]
    for position, fold in enumerate(fit.folds):
        train, test = split.folds != fold, split.folds == fold
        features, target = StandardScaler().fit(x[train].astype(float)), StandardScaler().fit(y[train])
        inputs = torch.from_numpy(features.transform(x[test].astype(float)).astype(np.float32))[None]
        outputs = [
            target.inverse_transform(mlp.forward([w[position : position + 1] for w in weights], inputs)[1][0].numpy())
            for weights in seen
        ]
        np.testing.assert_allclose(fit.predictions[test], outputs[4], rtol=1e-4, atol=1e-3)
        assert np.abs(outputs[6] - outputs[4]).max() > 0.1


def test_validation_scores_are_scikit_learns_on_the_rows_drawn_and_over_several_batches():
    x, y, split = planted(300)
    y = np.column_stack([y, np.full(300, 0.1)])  # a column that does not vary
    options = {**OPTIONS, "batch_size": 7}
    task = mlp.Task(0, 0, 1, 1, 3, 200)
    rows = np.flatnonzero(split.folds != 1)
    network = mlp._prepare(task, split, y, mlp._moments(x, rows), options, 5)
    assert len(network.validation) == 20
    assert sorted([*network.validation, *network.train]) == rows.tolist()
    np.testing.assert_array_equal(network.test, np.flatnonzero(split.folds == 1))
    data = mlp.Data(torch.from_numpy(x), [network], 7)
    weights = stacked([mlp.draw_weights(np.random.default_rng(0), x.shape[1], 32, 3)])
    scaled = StandardScaler().fit(x[rows].astype(float)).transform(x[network.validation].astype(float))
    output = mlp.forward(weights, torch.from_numpy(scaled.astype(np.float32))[None])[1][0].numpy()
    target = StandardScaler().fit(y[rows]).transform(y[network.validation])
    expected = [r2_score(target[:, column], output[:, column]) for column in range(2)]
    assert data.validation_r2(weights)[0] == pytest.approx(np.mean([*expected, 0.0]), abs=1e-5)


def test_features_of_another_scale_or_offset_give_the_same():
    x, y, split = planted(300)
    options = {**OPTIONS, "max_iter": 10}
    plain = mlp.fit_folds(x, [y], [split], options, seed=1)[0][0]
    scaled = mlp.fit_folds(x * 1e4, [y], [split], options, seed=1)[0][0]
    np.testing.assert_allclose(scaled.predictions, plain.predictions, atol=0.01)
    moved = mlp.fit_folds(x + 100, [y], [split], options, seed=1)[0][0]
    assert r2_score(y, moved.predictions) == pytest.approx(r2_score(y, plain.predictions), abs=0.01)


def test_a_target_of_another_scale_gives_the_same_in_that_scale():
    x, y, split = planted(300)
    options = {**OPTIONS, "max_iter": 10}
    plain = mlp.fit_folds(x, [y], [split], options, seed=1)[0][0]
    scaled = mlp.fit_folds(x, [y / 1000 + 5], [split], options, seed=1)[0][0]
    np.testing.assert_allclose((scaled.predictions - 5) * 1000, plain.predictions, atol=0.01)


def test_what_is_tested_decides_about_nothing():
    x, y, split = planted(300)
    options = {**OPTIONS, "max_iter": 5}
    before = mlp.fit_folds(x, [y], [split], options, seed=1)[0][0]
    test = split.folds == 1
    x, y = x.copy(), y.copy()
    changed = np.flatnonzero(test)[1:]
    x[changed] *= 50
    y[test] += 500
    after = mlp.fit_folds(x, [y], [split], options, seed=1)[0][0]
    row = np.flatnonzero(test)[0]
    np.testing.assert_allclose(after.predictions[row], before.predictions[row], rtol=1e-6)
    assert after.r2_inner[1] == before.r2_inner[1]
    assert after.r2_inner[0] != before.r2_inner[0]


def test_rows_near_a_fold_and_rows_in_no_fold_are_not_trained_on():
    x, y, split = planted(300)
    options = {**OPTIONS, "max_iter": 5}
    folds, near = split.folds.copy(), np.zeros(300, dtype=np.int64)
    folds[:30] = -1
    near[30:90] = np.where(folds[30:90] != 2, 1 << 2, 0)
    split = Split(folds, near)
    before = mlp.fit_folds(x, [y], [split], options, seed=1)[0][0]
    assert before.n_train.tolist() == [(~split.excluded(fold)).sum() for fold in range(3)]
    assert before.n_train[2] < (folds != 2).sum() - 30
    x, y = x.copy(), y.copy()
    x[split.excluded(2) & (folds != 2)] = 1e3
    y[split.excluded(2)] = -1e3
    after = mlp.fit_folds(x, [y], [split], options, seed=1)[0][0]
    np.testing.assert_array_equal(before.predictions[folds == 2], after.predictions[folds == 2])
    assert np.isnan(before.predictions[:30]).all()
    assert np.isfinite(before.predictions[30:]).all()


def test_shuffled_labels_score_at_or_below_zero():
    x, y, split = planted()
    shuffled = np.random.default_rng(7).permutation(y)
    fit = mlp.fit_folds(x, [shuffled], [split], OPTIONS, seed=1)[0][0]
    assert r2_score(shuffled, fit.predictions) < 0.02
    assert fit.epochs.min() < OPTIONS["max_iter"] / 2


def test_a_column_that_does_not_vary_in_training_is_not_blown_up():
    x, y, split = planted(300)
    x[:, 4] = np.where(split.folds == 0, 0.3, 0.1)
    y[split.folds != 0, 1] = 0.1
    fit = mlp.fit_folds(x, [y], [split], {**OPTIONS, "max_iter": 5}, seed=1)[0][0]
    assert np.isfinite(fit.predictions).all()
    assert np.abs(fit.predictions[split.folds == 0, 0] - 30).max() < 200


def test_folds_that_are_too_small_have_a_reason_and_no_numbers():
    x, y, _ = planted(40)
    folds = np.full(40, -1)
    folds[:12], folds[12:14], folds[14:15] = 0, 1, 2
    fit = mlp.fit_folds(x, [y], [Split(folds)], {**OPTIONS, "max_iter": 3}, seed=1)[0][0]
    assert fit.reasons == [
        "3 training and 12 test images; at least 10 and 2 are needed",
        "",
        "14 training and 1 test images; at least 10 and 2 are needed",
    ]
    assert fit.n_train.tolist() == [3, 13, 14]
    assert np.isfinite(fit.predictions[12:14]).all()
    assert np.isnan(np.delete(fit.predictions, [12, 13], axis=0)).all()
    np.testing.assert_array_equal(np.isnan(fit.r2_inner), [True, False, True])
    assert fit.epochs.tolist() == [0, 3, 0]


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_there_are_always_rows_to_train_on_and_two_to_validate(fraction):
    x, y, _ = planted(14)
    options = {**OPTIONS, "validation_fraction": fraction, "max_iter": 2}
    fit = mlp.fit_folds(x, [y], [Split(np.array([0] * 4 + [1] * 10))], options, seed=1)[0][0]
    assert fit.reasons[0] == ""
    assert np.isfinite(fit.r2_inner[0])


def test_training_that_diverges_has_a_reason_and_no_numbers():
    x, y, split = planted(100)
    fit = mlp.fit_folds(x, [y], [split], {**OPTIONS, "learning_rate": 1e30}, seed=1)[0][0]
    assert fit.reasons == ["training diverged at a learning rate of 1e+30"] * 3
    assert np.isnan(fit.predictions).all()
    assert np.isnan(fit.r2_inner).all()


def test_values_that_are_not_finite_and_other_numbers_of_rows_are_refused():
    x, y, split = planted(60)
    for value in (np.nan, np.inf, 1e39):  # float32 ends at 3.4e38
        bad = x.astype(np.float64)
        bad[17, 3] = value
        with pytest.raises(ValueError, match="features, row 17: a value is not finite"):
            mlp.fit_folds(bad, [y], [split], OPTIONS, seed=1)
    bad = y.copy()
    bad[4, 1] = np.nan
    with pytest.raises(ValueError, match="targets, row 4: a value is not finite"):
        mlp.fit_folds(x, [y, bad], [split], OPTIONS, seed=1)
    with pytest.raises(ValueError, match="features have 60 rows, but a target has 59"):
        mlp.fit_folds(x, [y[1:]], [split], OPTIONS, seed=1)
    with pytest.raises(ValueError, match="features have 60 rows, but a split has 58"):
        mlp.fit_folds(x, [y], [Split(split.folds[2:])], OPTIONS, seed=1)


def test_features_that_cannot_be_written_to_are_taken():
    x, y, split = planted(60)
    x.flags.writeable = False
    fit = mlp.fit_folds(x, [y], [split], {**OPTIONS, "max_iter": 1}, seed=1)[0][0]
    assert np.isfinite(fit.predictions).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine")
def test_a_gpu_gives_what_a_cpu_gives():
    x, y, split = planted()
    options = {**OPTIONS, "max_iter": 10}
    cpu, gpu = (mlp.fit_folds(x, [y, y[:, :1]], [split], options, 1, device=device)[0] for device in ("cpu", "cuda"))
    for ours, theirs in zip(gpu, cpu, strict=True):
        np.testing.assert_allclose(ours.predictions, theirs.predictions, atol=0.05)
        np.testing.assert_allclose(ours.r2_inner, theirs.r2_inner, atol=0.001)

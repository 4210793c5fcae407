"""The block bootstrap: weights, R2 of weighted blocks, intervals and how often they hold the truth."""

import numpy as np
import pytest
from sklearn.metrics import r2_score

from geoprobe.analysis.bootstrap import (
    draw_weights,
    interval,
    resample_members,
    resampled_r2,
    resampled_squares,
    unit_sums,
)


def blocky(blocks=12, seed=0, k=2):
    """Truth and predictions of images in blocks of different sizes, alike within a block."""
    random = np.random.default_rng(seed)
    block = np.repeat(np.arange(blocks), random.integers(1, 9, blocks))
    block = random.permutation(block)
    truth = random.normal(0, 10, (blocks, k))[block] + random.normal(0, 3, (len(block), k)) + [50.0, -120.0, 1.0][:k]
    predicted = truth + random.normal(0, 4, (blocks, k))[block] + random.normal(0, 2, truth.shape)
    return truth, predicted, block


def sampled(truth, predicted, block, weights):
    """Resampled R2 of each column: the function gives the mean over columns, so each goes through it alone."""
    columns = []
    for column in range(truth.shape[1]):
        own = slice(column, column + 1)
        errors = unit_sums((truth[:, own] - predicted[:, own]) ** 2, block, weights.shape[1])
        columns.append(resampled_r2(resampled_squares(truth[:, own], block, weights), errors[None], weights)[0])
    return np.stack(columns, axis=1)


def test_a_resample_draws_as_many_blocks_as_there_are():
    weights = draw_weights(17, 200, seed=1)
    assert weights.shape == (200, 17)
    assert (weights.sum(axis=1) == 17).all()
    assert (weights == weights.round()).all()
    assert (weights >= 0).all()


def test_every_block_is_drawn_alike_and_as_often_as_with_replacement():
    weights = draw_weights(10, 20000, seed=1)
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.04)
    # left out with probability (1 - 1/n)^n
    np.testing.assert_allclose((weights == 0).mean(axis=0), 0.9**10, atol=0.02)


def test_a_seed_gives_the_same_resamples_and_another_seed_others():
    np.testing.assert_array_equal(draw_weights(9, 50, seed=3), draw_weights(9, 50, seed=3))
    assert (draw_weights(9, 50, seed=3) != draw_weights(9, 50, seed=4)).any()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_r2_of_weighted_blocks_is_scikit_learns_with_sample_weights(k):
    truth, predicted, block = blocky(k=k)
    weights = draw_weights(12, 30, seed=0)
    samples = sampled(truth, predicted, block, weights)
    assert samples.shape == (30, k)
    for row, sample in zip(weights, samples, strict=True):
        expected = r2_score(truth, predicted, sample_weight=row[block], multioutput="raw_values")
        np.testing.assert_allclose(sample, expected, rtol=1e-9)


def test_r2_of_weighted_blocks_is_that_of_rows_written_out_as_often_as_drawn():
    truth, predicted, block = blocky()
    weights = draw_weights(12, 30, seed=0)
    for row, sample in zip(weights, sampled(truth, predicted, block, weights), strict=True):
        rows = [
            i for number, times in enumerate(row.astype(int)) for i in np.flatnonzero(block == number).tolist() * times
        ]
        np.testing.assert_allclose(sample, r2_score(truth[rows], predicted[rows], multioutput="raw_values"), rtol=1e-9)


def test_many_predictions_go_through_at_once_and_r2_is_the_mean_over_columns():
    truth, predicted, block = blocky(k=3)
    others = [predicted, predicted[::-1], truth * 0.5]
    weights = draw_weights(12, 30, seed=0)
    errors = np.stack([unit_sums((truth - other) ** 2, block, 12) for other in others])
    samples = resampled_r2(resampled_squares(truth, block, weights), errors, weights)
    assert samples.shape == (3, 30)
    for other, drawn in zip(others, samples, strict=True):
        np.testing.assert_allclose(drawn, sampled(truth, other, block, weights).mean(axis=1), rtol=1e-12)


def test_sums_are_those_of_each_units_rows():
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    np.testing.assert_array_equal(unit_sums(values, np.array([2, 0, 2]), 4), [[2, 20], [0, 0], [5, 50], [0, 0]])


def test_weights_of_one_give_the_r2_itself():
    truth, predicted, block = blocky()
    np.testing.assert_allclose(
        sampled(truth, predicted, block, np.ones((1, 12)))[0], r2_score(truth, predicted, multioutput="raw_values")
    )


def test_a_truth_far_from_zero_costs_no_digits():
    truth, predicted, block = blocky()
    weights = draw_weights(12, 10, seed=0)
    near, far = sampled(truth, predicted, block, weights), sampled(truth + 1e6, predicted + 1e6, block, weights)
    np.testing.assert_allclose(near, far, rtol=1e-6)


def test_a_resample_without_variance_has_no_r2():
    truth, predicted, block = np.array([[1.0], [1.0], [5.0]]), np.zeros((3, 1)), np.array([0, 0, 1])
    samples = sampled(truth, predicted, block, np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    assert np.isnan(samples[:, 0]).tolist() == [True, True, False]


def test_rounding_is_not_taken_for_variance():
    # both images of the first block are at the same place, whose distance from the mean has no exact square
    truth = np.array([[0.1], [0.1], [0.1], [0.7]])
    samples = sampled(truth, truth + 1, np.array([0, 0, 0, 1]), np.array([[3.0, 0.0], [1.0, 1.0]]))
    assert np.isnan(samples[:, 0]).tolist() == [True, False]


def test_one_member_is_itself():
    samples = np.random.default_rng(0).normal(size=(1, 50))
    np.testing.assert_array_equal(resample_members(samples, seed=1), samples[0])


def test_members_that_agree_are_any_of_them():
    samples = np.tile(np.random.default_rng(0).normal(size=50), (4, 1))
    np.testing.assert_allclose(resample_members(samples, seed=1), samples[0])


def test_members_spread_as_their_mean_when_drawn_with_replacement():
    values = np.array([0.0, 1.0, 5.0])
    joined = resample_members(np.repeat(values[:, None], 40000, axis=1), seed=1)
    assert joined.mean() == pytest.approx(values.mean(), abs=0.03)
    assert joined.var() == pytest.approx(values.var() / 3, rel=0.03)
    assert set(np.round(joined * 3, 9)) == {a + b + c for a in values for b in values for c in values}


def test_an_interval_is_between_the_quantiles():
    samples = np.random.default_rng(0).permutation(np.arange(1001.0))
    assert interval(samples) == pytest.approx((25.0, 975.0))
    assert interval(samples, level=0.5) == pytest.approx((250.0, 750.0))


def test_what_is_no_number_is_left_out_of_an_interval():
    samples = np.concatenate([np.arange(1001.0), [np.nan] * 50, [np.inf]])
    assert interval(samples) == pytest.approx((25.0, 975.0))
    assert np.isnan(interval(np.array([np.nan, np.nan]))).all()


def test_intervals_hold_the_true_r2_about_as_often_as_they_say():
    # blocks of 4 images; truth and error are alike within a block, so that R2 is 1 - var(error) / var(truth) in truth
    blocks, each, held, narrow = 60, 4, 0, 0
    block = np.repeat(np.arange(blocks), each)
    for seed in range(200):
        random = np.random.default_rng(seed)
        truth = random.normal(0, 2, (blocks, 1))[block]
        predicted = truth + random.normal(0, 1, (blocks, 1))[block]
        low, high = interval(sampled(truth, predicted, block, draw_weights(blocks, 300, seed))[:, 0])
        held += low <= 0.75 <= high
        # drawing images as if they were independent makes intervals that are too short
        rows = np.arange(blocks * each)
        low, high = interval(sampled(truth, predicted, rows, draw_weights(len(rows), 300, seed))[:, 0])
        narrow += low <= 0.75 <= high
    assert 0.88 <= held / 200 <= 0.98
    assert narrow / 200 < 0.8

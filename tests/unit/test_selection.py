"""Choosing a layer: from training images, at a depth, and as the paper by the test images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoprobe.analysis.selection import (
    CHOICES,
    choose,
    choose_depth,
    choose_inner,
    choose_maximum,
    describe,
    list_candidates,
)

NAN = np.nan
LAYERS = [
    ("vision", "cls", 0), ("vision", "mean", 0), ("vision", "mean", 10), ("vision", "cls", 10), ("vision", "cls", 9),
    ("text", "mean", 0), ("text", "last", 2), ("text", "last", 0),
]  # fmt: skip
TOWERS = [("vision", "cls", 0), ("vision", "cls", 9), ("vision", "cls", 10), ("text", "last", 0), ("text", "last", 2)]
scores = st.floats(-2, 1) | st.just(NAN)
matrices = arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=scores)


def test_candidates_are_each_towers_layers_in_order_under_the_first_pooling_that_it_has():
    assert list_candidates(LAYERS, ["cls", "last", "mean"], "vit") == TOWERS
    assert list_candidates(LAYERS, ["last", "mean"], "vit") == [
        ("vision", "mean", 0), ("vision", "mean", 10), ("text", "last", 0), ("text", "last", 2)
    ]  # fmt: skip


def test_a_tower_without_the_poolings_has_no_candidates_and_a_model_without_any_is_an_error():
    assert list_candidates(LAYERS, ["last"], "vit") == [("text", "last", 0), ("text", "last", 2)]
    with pytest.raises(
        ValueError, match=r"vit: has the poolings cls, mean, last, none of max, min; add one .*poolings"
    ):
        list_candidates(LAYERS, ["max", "min"], "vit")


def test_the_inner_choice_is_each_folds_best_and_the_first_of_equals():
    assert choose_inner(np.array([[0.1, 0.5, NAN], [0.3, 0.5, -1.0], [0.2, 0.4, -2.0]])).tolist() == [1, 0, 1]


def test_a_fold_without_an_inner_score_has_no_layer():
    assert choose_inner(np.array([[0.1, NAN], [NAN, NAN]])).tolist() == [0, -1]
    assert choose_inner(np.full((2, 3), NAN)).tolist() == [-1, -1, -1]


def test_the_maximum_is_the_best_mean_over_the_folds_that_there_are():
    r2 = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, NAN], [NAN, NAN, NAN]])
    assert choose_maximum(r2).tolist() == [1, 1, 1]
    assert choose_maximum(np.full((2, 2), NAN)).tolist() == [-1, -1]


def test_a_layer_that_is_best_on_the_test_folds_and_worst_on_the_inner_ones_is_the_maximum_alone():
    inner, test = np.full((4, 5), 0.3), np.full((4, 5), 0.2)
    inner[2], test[2], inner[1] = -1.0, 0.9, 0.4
    chosen = {
        name: picks.tolist() for name, _, picks in choose([("vision", "cls", n) for n in range(4)], inner, test, 1)
    }
    assert chosen == {"inner": [1] * 5, "depth": [3] * 5, "maximum": [2] * 5}


@given(matrices, st.data())
def test_the_inner_choice_does_not_depend_on_the_test_folds(inner, data):
    candidates = [("vision", "cls", layer) for layer in range(len(inner))]
    first, second = (data.draw(arrays(float, inner.shape, elements=scores)) for _ in range(2))
    a, b = (choose(candidates, inner, test, 0.5) for test in (first, second))
    for (name, _, own), (_, _, other) in zip(a[:-1], b[:-1], strict=True):
        assert name != "maximum"
        assert own.tolist() == other.tolist()


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(-2, 1)))
def test_no_single_layer_has_a_higher_mean_than_the_maximum(r2):
    picks = choose_maximum(r2)
    assert len(set(picks)) == 1
    assert r2[picks[0]].mean() >= r2.mean(axis=1).max() - 1e-12


@pytest.mark.parametrize(
    ("depth", "layers"),
    [(0, {"vision": 0, "text": 0}), (0.6, {"vision": 9, "text": 2}), (1, {"vision": 10, "text": 2})],
)
def test_a_depth_is_a_share_of_the_layers_that_a_tower_has(depth, layers):
    chosen = choose_depth(TOWERS, depth)
    assert {tower: TOWERS[index][2] for tower, index in chosen.items()} == layers


@given(st.integers(1, 60), st.floats(0, 1))
def test_a_depth_is_never_more_than_half_a_layer_off(count, depth):
    [index] = choose_depth([("vision", "cls", layer) for layer in range(count)], depth).values()
    assert 0 <= index < count
    assert abs(index - depth * (count - 1)) <= 0.5


def test_every_choice_is_made_once_and_depth_once_a_tower():
    found = [(name, tower) for name, tower, _ in choose(TOWERS, np.zeros((5, 2)), np.zeros((5, 2)), 1)]
    assert found == [("inner", ""), ("depth", "vision"), ("depth", "text"), ("maximum", "")]
    assert set(CHOICES) == {name for name, _ in found}


@pytest.mark.parametrize(
    ("picks", "words"),
    [
        ([1, 1, 0], ("vision", "cls", "9, 9, 0")),
        ([4, 1, 3], ("text, vision", "last, cls", "text 2, vision 9, text 0")),
        ([-1, 2], ("vision", "cls", "–, 10")),
        ([-1, -1], ("", "", "–, –")),
        ([], ("", "", "")),
    ],
    ids=["one tower", "two towers", "a fold without", "none", "no folds"],
)
def test_a_choice_is_told_in_words(picks, words):
    assert tuple(describe(TOWERS, np.array(picks, dtype=int)).values()) == words

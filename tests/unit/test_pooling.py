"""Pooling: closed forms, and properties under masks, padding, index maps and half precision."""

import pytest
import torch

from geoprobe.models.pooling import POOLINGS, TokenMap, gather_tokens, pool_tokens

torch.set_num_threads(1)

# two images of four tokens, the first a class token, in a stream of width two
VALUES = torch.tensor(
    [[[9.0, -9.0], [1.0, 2.0], [3.0, -4.0], [5.0, 8.0]], [[7.0, 0.0], [-1.0, 0.0], [-2.0, 6.0], [0.0, 3.0]]]
)
MASK = torch.tensor([[True, True, True, False], [True, True, True, True]])


def pooled(pooling, values=VALUES, **tokens):
    return pool_tokens(values, TokenMap(**tokens), pooling)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls", [[9, -9], [7, 0]]),
        ("last", [[5, 8], [0, 3]]),
        ("mean", [[3, 2], [-1, 3]]),
        ("maxmin", [[5, 8, 1, -4], [0, 6, -2, 0]]),
        ("mean-all", [[4.5, -0.75], [1, 2.25]]),
        ("maxmin-all", [[9, 8, 1, -9], [7, 6, -2, 0]]),
    ],
)
def test_without_padding_a_pooling_is_its_closed_form(pooling, expected):
    assert pooled(pooling, own=slice(1, None), summary=0).tolist() == expected


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls", [[9, -9], [7, 0]]),
        ("last", [[3, -4], [0, 3]]),
        ("mean", [[2, -1], [-1, 3]]),
        ("maxmin", [[3, 2, 1, -4], [0, 6, -2, 0]]),
        ("mean-all", [[13 / 3, -11 / 3], [1, 2.25]]),
        ("maxmin-all", [[9, 2, 1, -9], [7, 6, -2, 0]]),
    ],
)
@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan"), float("inf"), -float("inf")])
def test_padding_does_not_count_whatever_it_holds(pooling, expected, filler):
    values = torch.where(MASK[..., None], VALUES, torch.tensor(filler))
    given = pooled(pooling, values, mask=MASK, own=slice(1, None), summary=0)
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float32))


def test_padding_before_the_tokens_does_not_count_either():
    mask = torch.tensor([[False, True, True, True], [True, True, True, True]])
    values = torch.where(mask[..., None], VALUES, torch.tensor(float("nan")))
    assert pooled("last", values, mask=mask).tolist() == [[5, 8], [0, 3]]
    assert pooled("mean-all", values, mask=mask)[0].tolist() == [3, 2]
    assert pooled("maxmin-all", values, mask=mask)[0].tolist() == [5, 8, 1, -4]


def test_the_images_own_tokens_may_be_a_mask_that_differs_between_images():
    own = torch.tensor([[False, True, False, True], [False, False, True, False]])
    assert pooled("mean", own=own).tolist() == [[3, 5], [-2, 6]]
    assert pooled("maxmin", own=own).tolist() == [[5, 8, 1, 2], [-2, 6, -2, 6]]
    # padding is nobody's own
    assert pooled("mean", own=own, mask=MASK).tolist() == [[1, 2], [-2, 6]]
    assert pooled("mean-all", own=own).tolist() == [[4.5, -0.75], [1, 2.25]]


def test_the_class_token_may_lie_in_another_column_of_each_image():
    assert pooled("cls", summary=torch.tensor([2, 1])).tolist() == [[3, -4], [-1, 0]]
    assert pooled("cls", summary=3).tolist() == [[5, 8], [0, 3]]


@pytest.mark.parametrize("pooling", ["mean", "maxmin"])
def test_an_image_without_tokens_gets_no_finite_numbers(pooling):
    own = torch.tensor([[False] * 4, [True] * 4])
    first, second = pooled(pooling, own=own)
    assert not torch.isfinite(first).any()
    assert torch.isfinite(second).all()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_result_is_float32_and_as_wide_as_the_table_says(pooling, dtype):
    values = VALUES.to(dtype)
    for mask in (None, MASK):
        given = pooled(pooling, values, own=slice(1, None), summary=0, mask=mask)
        assert given.dtype == torch.float32
        assert given.shape == (2, 2 * POOLINGS[pooling])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("masked", [False, True])
def test_the_mean_of_many_tokens_is_taken_in_float32(dtype, masked):
    values = (1000 + torch.randn(2, 3000, 4, generator=torch.Generator().manual_seed(0))).to(dtype)
    mask = torch.ones(2, 3000, dtype=torch.bool) if masked else None
    given = pool_tokens(values, TokenMap(mask=mask), "mean")
    torch.testing.assert_close(given, values.double().mean(dim=1).float(), rtol=1e-6, atol=0)


def test_tokens_are_gathered_by_their_rows_in_a_stream_without_an_axis_for_images():
    stream = torch.arange(10.0).view(5, 2)
    index = torch.tensor([[4, 0, 2], [1, 3, 3]])
    tokens = TokenMap(index=index, mask=torch.tensor([[True] * 3, [True, True, False]]))
    values = gather_tokens(stream, tokens)
    assert values.tolist() == [[[8, 9], [0, 1], [4, 5]], [[2, 3], [6, 7], [6, 7]]]
    assert pool_tokens(values, tokens, "mean").tolist() == [[4, 5], [4, 5]]
    assert pool_tokens(values, tokens, "last").tolist() == [[4, 5], [6, 7]]


def test_a_stream_with_an_axis_for_images_is_taken_as_it_is():
    assert gather_tokens(VALUES, TokenMap()) is VALUES


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_permuted_stream_and_its_index_give_what_the_stream_in_order_gives(pooling):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 7, 4, generator=generator)
    mask = torch.arange(7) < torch.tensor([[7], [4], [5]])
    tokens = {"mask": mask, "own": slice(1, None), "summary": 0}
    where = torch.randperm(21, generator=generator)
    stream = torch.empty(21, 4)
    stream[where] = values.view(21, 4)
    permuted = TokenMap(index=where.view(3, 7), **tokens)
    expected = pool_tokens(values, TokenMap(**tokens), pooling)
    assert torch.equal(pool_tokens(gather_tokens(stream, permuted), permuted, pooling), expected)


@pytest.mark.parametrize("pooling", ["mean", "maxmin", "mean-all", "maxmin-all"])
def test_the_order_of_an_images_own_tokens_does_not_matter(pooling):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 7, 4, generator=generator)
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(6, generator=generator)])
    tokens = TokenMap(own=slice(1, None))
    torch.testing.assert_close(
        pool_tokens(values[:, order], tokens, pooling), pool_tokens(values, tokens, pooling), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_more_padding_changes_nothing(pooling):
    values = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(5) < torch.tensor([[5], [3], [4]])
    longer = torch.nn.functional.pad(values, (0, 0, 0, 6), value=float("nan"))
    given = pooled(pooling, longer, mask=torch.nn.functional.pad(mask, (0, 6)), own=slice(1, None), summary=0)
    torch.testing.assert_close(given, pooled(pooling, values, mask=mask, own=slice(1, None), summary=0))


def test_a_map_moves_to_another_device_with_all_its_tensors():
    tokens = TokenMap(index=torch.zeros(2, 4, dtype=torch.long), mask=MASK, own=MASK, summary=torch.tensor([0, 1]))
    moved = tokens.to("meta")
    assert {value.device.type for value in vars(moved).values()} == {"meta"}
    plain = TokenMap(own=slice(1, None), summary=0).to("meta")
    assert (plain.index, plain.mask, plain.own, plain.summary) == (None, None, slice(1, None), 0)


def test_the_class_token_of_a_tower_without_one_is_refused():
    with pytest.raises(ValueError, match="no class token; use mean"):
        pooled("cls")


@pytest.mark.parametrize("name", ["max", "means", "cls-all", ""])
def test_an_unknown_pooling_is_refused_by_name(name):
    with pytest.raises(
        ValueError, match=f'pooling is "{name}"; allowed: cls, last, mean, maxmin, mean-all, maxmin-all'
    ):
        pooled(name, summary=0)

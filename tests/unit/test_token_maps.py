"""Whose token is which, in small streams written out by hand."""

import pytest
import torch
from torch import nn

from geoprobe.models.pooling import gather_tokens, pool_tokens
from geoprobe.models.token_maps import count_prefix, map_packed, map_text, map_views, raster_order


class Tower(nn.Module):
    def __init__(self, **shapes):
        super().__init__()
        self.embeddings = nn.Module()
        for name, shape in shapes.items():
            setattr(self.embeddings, name, nn.Parameter(torch.zeros(shape)))
        self.blocks = nn.Linear(8, 8)
        self.head = nn.Module()
        self.head.cls_token = nn.Parameter(torch.zeros(1, 1, 8))


@pytest.mark.parametrize(
    ("shapes", "prefix"),
    [
        ({"patch_embedding": (8, 3), "position_embedding": (17, 8)}, (0, 0)),
        ({"class_embedding": (8,)}, (1, 0)),
        ({"cls_token": (1, 1, 8), "mask_token": (1, 8)}, (1, 0)),
        ({"cls_token": (1, 1, 8), "register_tokens": (1, 4, 8)}, (1, 4)),
        ({"cls_token": (1, 1, 8), "distillation_token": (1, 1, 8)}, (1, 1)),
        ({"cls_register_token": (10, 8)}, (0, 10)),
        ({"class_token": (1, 1, 8), "reg_token": (1, 2, 8), "storage_tokens": (1, 3, 8)}, (1, 5)),
    ],
)
def test_class_token_and_registers_of_a_tower_are_counted_by_its_parameters(shapes, prefix):
    # what comes after the blocks is not in the stream
    assert count_prefix(Tower(**shapes), "blocks", 8) == prefix


def test_a_decoders_image_tokens_are_told_from_prompt_and_padding():
    batch = {
        "input_ids": torch.tensor([[0, 0, 9, 9, 5], [9, 9, 9, 6, 7]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
    }
    stream = torch.arange(10.0).reshape(2, 5, 1)
    tokens = map_text(batch, stream, image_token=9)
    values = gather_tokens(stream, tokens)
    assert pool_tokens(values, tokens, "last").tolist() == [[4], [9]]
    assert pool_tokens(values, tokens, "mean").tolist() == [[2.5], [6]]
    assert pool_tokens(values, tokens, "mean-all").tolist() == [[3], [7]]
    assert pool_tokens(values, tokens, "maxmin").tolist() == [[3, 2], [7, 5]]


def test_padding_with_the_image_token_itself_is_not_an_image():
    batch = {"input_ids": torch.tensor([[9, 9, 5]]), "attention_mask": torch.tensor([[0, 1, 1]])}
    assert map_text(batch, torch.zeros(1, 3, 2), image_token=9).own.tolist() == [[False, True, False]]


@pytest.mark.parametrize(("whole", "summaries"), [(0, [0, 4, 12]), (-1, [0, 8, 12])])
def test_views_of_an_image_are_pooled_together_and_its_class_token_is_that_of_the_whole(whole, summaries):
    # 1, 2 and 1 views of a class token, a register and two patches
    stream = torch.arange(16.0).reshape(4, 4, 1)
    tokens = map_views(torch.tensor([1, 2, 1]), length=4, prefix=2, summary=0, whole=whole)
    values = gather_tokens(stream, tokens)
    assert pool_tokens(values, tokens, "cls").flatten().tolist() == summaries
    assert pool_tokens(values, tokens, "mean").flatten().tolist() == [2.5, (6 + 7 + 10 + 11) / 4, 14.5]
    assert pool_tokens(values, tokens, "mean-all").flatten().tolist() == [1.5, 7.5, 13.5]
    assert pool_tokens(values, tokens, "maxmin").tolist() == [[3, 2], [11, 6], [15, 14]]


def test_patches_packed_in_squares_come_in_raster_order():
    # 4 rows of 6 patches as image processors pack them: squares of two by two, a row of squares after the other
    packed = torch.tensor(
        [
            [0, 1, 4, 5, 8, 9],
            [2, 3, 6, 7, 10, 11],
            [12, 13, 16, 17, 20, 21],
            [14, 15, 18, 19, 22, 23],
        ]
    )
    assert raster_order((1, 4, 6), 2).tolist() == packed.flatten().tolist()
    assert raster_order((2, 4, 6), 2).tolist() == [*packed.flatten().tolist(), *(packed + 24).flatten().tolist()]


def test_squares_put_into_windows_are_put_back():
    # two images: 2 by 4 patches (two squares), then 2 by 2 (one square); the stream holds squares 1, 0 and 2
    windows = torch.tensor([1, 0, 2])
    packed = torch.arange(12.0).reshape(12, 1)
    stream = packed.reshape(3, 4)[windows].reshape(12, 1)
    tokens = map_packed([[1, 2, 4], [1, 2, 2]], 2, windows)
    values = gather_tokens(stream, tokens)
    assert values[0].flatten().tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    assert values[1, :4].flatten().tolist() == [8, 9, 10, 11]
    assert tokens.mask.sum(dim=1).tolist() == [8, 4]
    assert tokens.summary is None
    assert pool_tokens(values, tokens, "mean").flatten().tolist() == [3.5, 9.5]


def test_the_last_token_as_it_lies_is_found_in_raster_order():
    windows = torch.tensor([1, 0, 2])
    stream = torch.arange(12.0).reshape(3, 4)[windows].reshape(12, 1)
    tokens = map_packed([[1, 2, 4], [1, 2, 2]], 2, windows, last=True)
    assert pool_tokens(gather_tokens(stream, tokens), tokens, "cls").flatten().tolist() == [3, 11]
    assert stream[[7, 11]].flatten().tolist() == [3, 11]

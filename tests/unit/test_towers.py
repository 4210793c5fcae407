"""Finding the blocks, recording the residual stream, pooling: on tiny real models, against timm's own intermediates."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from geoprobe.models.towers import find_blocks, pool_tokens, residual_streams

torch.set_num_threads(1)

TINY = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 5}
VITS = {
    "plain": {},
    "registers": {"reg_tokens": 4, "init_values": 1e-1},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "registers without a class token": {"class_token": False, "reg_tokens": 2, "global_pool": "avg"},
    "attention pooling": {"class_token": False, "global_pool": "map"},
    "normed before": {"pre_norm": True},
}


def images(n=2, size=16):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def vit(name):
    torch.manual_seed(0)
    model = VisionTransformer(**TINY, **VITS[name])
    for parameter in model.parameters():  # zeros of a fresh model would hide a token out of place
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def encoder_stack(depth=3, width=24):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(width, nhead=2, dim_feedforward=32, batch_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False).eval()


def record(module, blocks, *inputs):
    with torch.inference_mode(), residual_streams(blocks) as streams:
        module(*inputs)
    return streams


@pytest.mark.parametrize("name", VITS)
def test_the_blocks_of_a_vision_transformer_are_found(name):
    model = vit(name)
    path, blocks = find_blocks(model, depth=3)
    assert path == "blocks"
    assert blocks is model.blocks


def test_the_blocks_of_torchs_own_encoder_are_found():
    module = nn.ModuleDict({"stem": nn.Linear(3, 24), "encoder": encoder_stack()})
    path, blocks = find_blocks(module, depth=3)
    assert path == "encoder.layers"
    assert blocks is module["encoder"].layers


def test_the_blocks_of_a_model_with_registers_from_timms_own_factory_are_found():
    model = timm.create_model(
        "vit_small_patch14_reg4_dinov2", pretrained=False, img_size=28, depth=2, embed_dim=32, num_heads=2
    ).eval()
    path, blocks = find_blocks(model, depth=2)
    assert (path, blocks) == ("blocks", model.blocks)
    (tokens, prefix), *_ = model.forward_intermediates(
        images(size=28), indices=[1], norm=False, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    stream = record(model, blocks, images(size=28))[1]
    assert model.num_prefix_tokens == 5
    torch.testing.assert_close(stream, torch.cat([prefix, tokens], dim=1))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_another_number_of_blocks_is_found_by_the_depth_alone(depth):
    model = VisionTransformer(**{**TINY, "depth": depth})
    assert find_blocks(model, depth)[1] is model.blocks


def test_a_depth_that_no_stack_has_is_refused_with_the_depth():
    with pytest.raises(ValueError, match="VisionTransformer: expected one stack of 7 blocks, found none"):
        find_blocks(vit("plain"), depth=7)


def test_two_towers_of_one_depth_are_refused_and_both_are_named():
    both = nn.ModuleDict({"vision": vit("plain"), "text": encoder_stack()})
    with pytest.raises(ValueError, match=r"found vision\.blocks, text\.layers") as error:
        find_blocks(both, depth=3)
    assert "pass that tower alone" in str(error.value)
    assert find_blocks(both["text"], depth=3)[0] == "layers"


def test_two_towers_of_different_depths_are_told_apart():
    both = nn.ModuleDict({"vision": vit("plain"), "text": encoder_stack(depth=4)})
    assert find_blocks(both, depth=3)[0] == "vision.blocks"
    assert find_blocks(both, depth=4)[0] == "text.layers"


def test_a_list_of_single_layers_or_of_different_modules_is_no_stack():
    torch.manual_seed(0)
    module = nn.ModuleDict(
        {
            "norms": nn.ModuleList(nn.LayerNorm(4) for _ in range(3)),
            "mixed": nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8), nn.Linear(4, 4)),
            "real": nn.ModuleList(nn.TransformerEncoderLayer(4, 2, 8) for _ in range(3)),
        }
    )
    assert find_blocks(module, depth=3)[0] == "real"


@pytest.mark.parametrize("name", VITS)
def test_streams_are_timms_own_intermediates_at_every_block(name):
    model = vit(name)
    streams = record(model, model.blocks, images())
    prefix_count = model.num_prefix_tokens
    with torch.inference_mode():
        expected = model.forward_intermediates(
            images(),
            norm=False,
            return_prefix_tokens=prefix_count > 0,
            output_fmt="NLC",
            intermediates_only=True,
        )
    assert len(streams) == len(expected) == 3
    for stream, given in zip(streams, expected, strict=True):
        tokens, prefix = given if prefix_count else (given, given[:, :0])
        assert stream.shape == (2, prefix_count + 16, 24)
        torch.testing.assert_close(stream, torch.cat([prefix, tokens], dim=1))
        torch.testing.assert_close(pool_tokens(stream, "mean", prefix_count), tokens.mean(dim=1))
        if model.has_class_token:
            torch.testing.assert_close(pool_tokens(stream, "cls", prefix_count), prefix[:, 0])


def test_streams_of_torchs_encoder_are_those_of_its_layers_one_after_the_other():
    module = encoder_stack()
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    streams = record(module, module.layers, x)
    with torch.inference_mode():
        for layer, stream in zip(module.layers, streams, strict=True):
            x = layer(x)
            torch.testing.assert_close(stream, x)


class TupleBlock(nn.Module):
    """A block that returns its stream and something else, as older releases of transformers do."""

    def forward(self, x):
        return x + 1, "attention"


class TupleModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(TupleBlock() for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x, _ = block(x)
        return x


def test_the_stream_of_a_block_that_returns_a_tuple_is_its_first_item():
    model = TupleModel()
    streams = record(model, model.blocks, torch.zeros(2, 3, 4))
    assert [stream.unique().tolist() for stream in streams] == [[1.0], [2.0], [3.0]]


def test_recording_does_not_change_what_the_model_returns():
    model = vit("plain")
    with torch.inference_mode():
        before = model(images())
        with residual_streams(model.blocks):
            during = model(images())
    assert torch.equal(before, during)


def test_streams_are_of_the_last_forward_pass():
    model = vit("plain")
    with torch.inference_mode(), residual_streams(model.blocks) as streams:
        model(images(3))
        model(images(2))
    assert [len(stream) for stream in streams] == [2, 2, 2]


def test_hooks_are_removed_afterwards():
    model = vit("plain")
    record(model, model.blocks, images())
    assert all(not block._forward_hooks for block in model.blocks)


def test_hooks_are_removed_after_an_error():
    model = vit("plain")
    with pytest.raises(RuntimeError), residual_streams(model.blocks):
        model(torch.zeros(1, 5, 16, 16))  # five channels
    assert all(not block._forward_hooks for block in model.blocks)


def test_pooling_gives_float32_from_half_precision():
    stream = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    for pooling in ("cls", "mean"):
        assert pool_tokens(stream, pooling, prefix=1).dtype == torch.float32
    # the mean is taken in float32, not in half precision
    torch.testing.assert_close(pool_tokens(stream, "mean", 1), stream[:, 1:].float().mean(dim=1), rtol=1e-6, atol=1e-6)


def test_the_class_token_of_a_tower_without_one_is_refused():
    with pytest.raises(ValueError, match="no class token; use mean"):
        pool_tokens(torch.zeros(1, 4, 2), "cls", prefix=0)


def test_an_unknown_pooling_is_refused_by_name():
    with pytest.raises(ValueError, match='pooling is "max"; allowed: cls, mean'):
        pool_tokens(torch.zeros(1, 4, 2), "max", prefix=1)

"""Finding the blocks and reading the residual stream: on tiny real models, against timm's own intermediates."""

import types
import weakref

import pytest
import timm
import torch
import transformers
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from geoprobe.models.towers import depth_of, find_blocks, find_part, reading_blocks

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
    streams = {}
    with torch.inference_mode(), reading_blocks(blocks, range(len(blocks)), streams.__setitem__):
        module(*inputs)
    return list(streams.values())


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


def test_reading_does_not_change_what_the_model_returns():
    model = vit("plain")
    with torch.inference_mode():
        before = model(images())
        with reading_blocks(model.blocks, [0, 2], lambda *_: "something"):
            during = model(images())
    assert torch.equal(before, during)


def test_only_the_layers_asked_for_are_read_in_the_order_of_the_pass():
    model = vit("plain")
    every = record(model, model.blocks, images())
    read = []
    with torch.inference_mode(), reading_blocks(model.blocks, [2, 0], lambda *given: read.append(given)):
        model(images())
    assert [layer for layer, _ in read] == [0, 2]
    assert all(torch.equal(stream, every[layer]) for layer, stream in read)


def test_each_forward_pass_is_read():
    model = vit("plain")
    read = []
    with torch.inference_mode(), reading_blocks(model.blocks, [1], lambda _, stream: read.append(len(stream))):
        model(images(3))
        model(images(2))
    assert read == [3, 2]


def test_a_stream_that_is_not_kept_is_freed_while_the_pass_goes_on():
    model = TupleModel()
    seen, alive = [], []

    def read(_layer, stream):
        alive.append([earlier() is not None for earlier in seen])
        seen.append(weakref.ref(stream))

    with torch.inference_mode(), reading_blocks(model.blocks, range(3), read):
        model(torch.zeros(2, 3, 4))
    # the block before is the input of this one; the one before that is gone
    assert alive == [[], [True], [False, True]]


def hooks(blocks):
    return [len(block._forward_hooks) for block in blocks]


def test_hooks_are_removed_afterwards():
    model = vit("plain")
    record(model, model.blocks, images())
    assert hooks(model.blocks) == [0, 0, 0]


def test_hooks_are_removed_after_an_error_in_the_pass():
    model = vit("plain")
    with pytest.raises(RuntimeError, match="channels"), reading_blocks(model.blocks, range(3), print):
        model(torch.zeros(1, 5, 16, 16))
    assert hooks(model.blocks) == [0, 0, 0]


def test_hooks_are_removed_after_an_error_of_the_reader():
    model = vit("plain")

    def read(layer, _stream):
        raise ArithmeticError(layer)

    with pytest.raises(ArithmeticError, match="1"), reading_blocks(model.blocks, [1], read):
        model(images())
    assert hooks(model.blocks) == [0, 0, 0]


def test_hooks_are_removed_where_a_layer_does_not_exist():
    model = vit("plain")
    with pytest.raises(IndexError), reading_blocks(model.blocks, [0, 1, 7], print):
        model(images())
    assert hooks(model.blocks) == [0, 0, 0]


def test_hooks_of_others_stay():
    model = vit("plain")
    model.blocks[0].register_forward_hook(lambda *_: None)
    record(model, model.blocks, images())
    assert hooks(model.blocks) == [1, 0, 0]


def clip():
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.CLIPConfig(
        vision_config={**sizes, "image_size": 32, "patch_size": 8}, text_config={**sizes, "vocab_size": 50}
    )
    torch.manual_seed(0)
    return transformers.CLIPModel(config)


def test_the_part_of_a_configuration_is_its_outermost_module():
    model = clip()
    name, part = find_part(model, model.config.vision_config)
    assert (name, part) == ("vision_model", model.vision_model)
    name, part = find_part(model, model.config.text_config)
    assert (name, part) == ("text_model", model.text_model)


def test_a_model_is_itself_the_part_of_its_own_configuration():
    model = clip()
    assert find_part(model, model.config) == ("", model)
    # a configuration of the same class, not only the same object
    assert find_part(model.vision_model, transformers.CLIPVisionConfig()) == ("", model.vision_model)


def test_the_blocks_of_a_part_are_not_those_of_its_neighbour():
    model = clip()
    _, part = find_part(model, model.config.vision_config)
    path, blocks = find_blocks(part, depth_of(part.config))
    assert path == "encoder.layers"
    assert blocks is model.vision_model.encoder.layers


def test_a_configuration_that_no_part_was_made_from_is_refused():
    with pytest.raises(ValueError, match="CLIPModel: no part of it has a ViTConfig"):
        find_part(clip(), transformers.ViTConfig())


@pytest.mark.parametrize("name", ["num_hidden_layers", "depth", "num_layers", "n_layer"])
def test_depth_is_read_under_any_of_its_names(name):
    assert depth_of(types.SimpleNamespace(**{name: 7, "hidden_size": 3})) == 7


def test_a_configuration_without_a_depth_is_refused_by_its_class():
    with pytest.raises(ValueError, match="SimpleNamespace has none of num_hidden_layers, depth"):
        depth_of(types.SimpleNamespace(depths=[2, 2], hidden_size=3))

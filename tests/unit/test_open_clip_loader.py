"""Vision towers of open_clip: tiny models of the real classes, block by block by hand."""

import json

import open_clip
import pytest
import torch
from golden import assert_close, batch_of, check_golden, photos, randomise, read
from safetensors.torch import load_file, save_file
from torch import nn

from geoprobe.models.loaders.open_clip import visual_tower
from geoprobe.models.loading import load_model
from geoprobe.models.pooling import gather_tokens, pool_tokens

ROW = {"model": "m", "loader": "open_clip", "id": "org/m", "dtype": "float32", "weights": "safetensors"}
TEXT = {"context_length": 8, "vocab_size": 40, "width": 32, "heads": 2, "layers": 3}
OWN = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 3}
# timm's own smallest models; its adapter in open_clip takes no sizes
TIMM = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 160}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "squash"}

# name: vision configuration, the rest of the model's, tokens before the patches, whether the first is a class token
FAMILIES = {
    "CLIP": (OWN, {}, 1, True),
    "CLIP with QuickGELU": (OWN, {"quick_gelu": True}, 1, True),
    "attention pooling": ({**OWN, "attentional_pool": True, "attn_pooler_heads": 2}, {}, 1, True),
    "another text tower": ({**OWN, "pool_type": "avg", "no_ln_pre": True}, {"custom_text": True}, 1, True),
    "blocks of another type": ({**OWN, "qk_norm": True, "scale_attn": True, "ls_init_value": 0.1}, {}, 1, True),
    "tower of timm": (TIMM, {"custom_text": True}, 1, True),
    "tower of timm without a class token": (
        {**TIMM, "timm_model_name": "test_vit_relpos", "timm_pool": "avg"},
        {"custom_text": True},
        0,
        False,
    ),
}


def save(folder, vision, more, preprocess=PREPROCESS):
    """Save a whole model of open_clip, randomised, in the layout of its repositories on the hub."""
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT, **more}
    kind = open_clip.CustomTextCLIP if more.get("custom_text") else open_clip.CLIP
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    model = randomise(kind(**arguments))
    folder.mkdir(exist_ok=True, parents=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return model


def streams_by_hand(visual, pixels):
    """Streams after each block of open_clip's own vision transformer, of one image after the other."""
    rows = []
    with torch.inference_mode():
        for image in pixels:
            patches = visual.conv1(image[None]).flatten(2).transpose(1, 2)[0]
            stream = torch.cat([visual.class_embedding[None], patches]) + visual.positional_embedding
            stream, row = visual.ln_pre(stream)[None], []
            for block in visual.transformer.resblocks:
                stream = block(stream)
                row.append(stream[0])
            rows.append(row)
    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def intermediates(trunk, pixels):
    """Streams after each block as timm itself gives them."""
    asked = {"return_prefix_tokens": True} if trunk.num_prefix_tokens else {}
    with torch.inference_mode():
        given = trunk.forward_intermediates(pixels, norm=False, output_fmt="NLC", intermediates_only=True, **asked)
    return [torch.cat([before, tokens], dim=1) for tokens, before in given] if asked else given


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """Folder, the whole model as open_clip itself loads it and its transform, prefix, has_class, and ours."""
    vision, more, prefix, has_class = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp("model")
    save(folder, vision, more)
    theirs, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return folder, theirs.eval(), transform, prefix, has_class, load_model(ROW, folder)


def test_every_layer_and_pooling_is_that_of_the_blocks_one_after_the_other(family):
    _, theirs, transform, prefix, has_class, model = family
    pixels = torch.stack([transform(image) for image in photos()])
    own = hasattr(theirs.visual, "transformer")
    expected = streams_by_hand(theirs.visual, pixels) if own else intermediates(theirs.visual.trunk, pixels)
    assert expected[0].shape[:2] == (3, prefix + (16 if own else 100))
    check_golden(model, photos(), expected, prefix, has_class)


def test_an_image_is_prepared_by_open_clips_own_transform(family):
    _, _, transform, _, _, model = family
    batch = batch_of(model, photos())
    assert set(batch) == {"pixel_values"}
    assert torch.equal(batch["pixel_values"], torch.stack([transform(image) for image in photos()]))


def test_tower_and_attributes_say_what_they_are(family):
    _, theirs, _, _, has_class, model = family
    tower, visual = model.towers["vision"], theirs.visual
    assert type(model.module) is type(visual)
    assert model.module.get_submodule(tower.path) is tower.blocks
    assert ("cls" in tower.poolings) == has_class
    inner = getattr(visual, "trunk", visual)
    assert model.attributes["class"] == f"{type(inner).__module__}.{type(inner).__name__}"
    said = json.loads(model.attributes["preprocessing"].partition("PIL: ")[2])
    assert (said["mean"], said["resize_mode"]) == ([0.5, 0.4, 0.3], "squash")
    assert len(model.digest) == 64


def test_the_transform_has_the_defaults_of_open_clip_where_the_file_says_nothing(tmp_path):
    save(tmp_path, OWN, {}, preprocess={})
    _, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    batch = batch_of(load_model(ROW, tmp_path), photos())
    assert torch.equal(batch["pixel_values"], torch.stack([transform(image) for image in photos()]))


def test_a_stream_whose_first_axis_is_the_sequence_is_put_in_order(tmp_path):
    visual = save(tmp_path, OWN, {}).visual
    pixels = batch_of(load_model(ROW, tmp_path), photos())["pixel_values"]
    expected = streams_by_hand(visual, pixels)
    visual.transformer.batch_first = False
    for block in visual.transformer.resblocks:
        block.attn.batch_first = False
    tower, found = visual_tower(visual, "sound"), []

    def keep(_module, _args, stream):
        assert stream.shape == (17, 3, 32)
        tokens = tower.tokens({"pixel_values": pixels}, stream)
        values = gather_tokens(stream, tokens)
        found.append((values, pool_tokens(values, tokens, "cls"), pool_tokens(values, tokens, "mean")))

    for block in tower.blocks:
        block.register_forward_hook(keep)
    with torch.inference_mode():
        visual(pixels)
    for (values, first, mean), given in zip(found, expected, strict=True):
        assert_close(values, given)
        assert_close(first, given[:, 0])
        assert_close(mean, given[:, 1:].mean(dim=1))


def test_a_row_in_half_precision_runs_in_it(tmp_path):
    for name in ("CLIP", "tower of timm"):
        vision, more, *_ = FAMILIES[name]
        save(tmp_path / name, vision, more)
        exact = load_model(ROW, tmp_path / name)
        model = load_model({**ROW, "dtype": "bfloat16"}, tmp_path / name)
        assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}
        batch = batch_of(model, photos())
        streams, pooled = read(model, batch)
        assert streams[0].dtype == torch.bfloat16
        # two or three digits are left of bfloat16; errors add up from block to block
        assert_close(streams[0].float(), read(exact, batch)[0][0], tolerance=0.05)
        assert {values.dtype for values in pooled.values()} == {torch.float32}


def test_a_model_whose_text_tower_is_elsewhere_on_the_hub_needs_no_network(tmp_path):
    visual = save(tmp_path, OWN, {}).visual
    path = tmp_path / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] = {"hf_model_name": "nobody/nowhere", "hf_tokenizer_name": "nobody/nowhere"}
    path.write_text(json.dumps(config))
    model = load_model(ROW, tmp_path)
    check_golden(model, photos(), streams_by_hand(visual, batch_of(model, photos())["pixel_values"]), 1, True)


@pytest.mark.parametrize("name", ["CLIP", "tower of timm"])
def test_files_that_lack_weights_are_refused_by_the_weights_names(name, tmp_path):
    vision, more, *_ = FAMILIES[name]
    save(tmp_path, vision, more)
    path = tmp_path / "open_clip_model.safetensors"
    gone = {"CLIP": "transformer.resblocks.1.ln_1.bias", "tower of timm": "trunk.blocks.1.norm1.bias"}[name]
    save_file({key: value for key, value in load_file(path).items() if key != f"visual.{gone}"}, path)
    with pytest.raises(ValueError, match=rf"{path}: not the weights of .*{gone}"):
        load_model(ROW, tmp_path)


def test_a_pickle_is_read_only_where_the_row_says_so(tmp_path):
    visual = save(tmp_path, OWN, {}).visual
    path = tmp_path / "open_clip_model.safetensors"
    torch.save(load_file(path), tmp_path / "open_clip_pytorch_model.bin")
    path.unlink()
    with pytest.raises(ValueError, match=r'open_clip_pytorch_model\.bin is a pickle; set weights to "any"'):
        load_model(ROW, tmp_path)
    model = load_model({**ROW, "weights": "any"}, tmp_path)
    check_golden(model, photos(), streams_by_hand(visual, batch_of(model, photos())["pixel_values"]), 1, True)


def test_a_convolutional_tower_is_refused_by_its_class(tmp_path):
    save(tmp_path, {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}, {})
    with pytest.raises(ValueError, match=r"ModifiedResNet of open_clip is no stack of blocks"):
        load_model(ROW, tmp_path)
    convolutional = {**TIMM, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"}
    save(tmp_path, convolutional, {"custom_text": True})
    with pytest.raises(ValueError, match=r"ConvNeXt of timm is no stack of blocks"):
        load_model(ROW, tmp_path)


def test_a_folder_without_open_clips_configuration_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no open_clip_config\.json"):
        load_model(ROW, tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(ValueError, match="no model_cfg with a vision_cfg"):
        load_model(ROW, tmp_path)


def test_a_model_of_open_clip_cannot_be_spread_over_devices(tmp_path):
    with pytest.raises(ValueError, match='model "m": the loader open_clip cannot spread a model'):
        load_model(ROW, tmp_path, placement={"device_map": "auto"})


def test_no_text_tower_is_kept(tmp_path):
    save(tmp_path, OWN, {})
    module = load_model(ROW, tmp_path).module
    assert isinstance(module, nn.Module)
    assert not [name for name, _ in module.named_parameters() if "token_embedding" in name or "text" in name]

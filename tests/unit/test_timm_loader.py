"""Models of timm from a folder in the hub's layout: tiny models of the real classes, by timm's own intermediates."""

import json

import pytest
import timm
import torch
from golden import assert_close, batch_of, check_golden, photos, randomise, read
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import nn

from geoprobe.models.loading import load_model

ROW = {"model": "m", "loader": "timm", "id": "m", "dtype": "float32", "weights": "safetensors"}
SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 2}

# name of the entry point, its arguments, image size, tokens before the patches, whether the first is a class token
FAMILIES = {
    "ViT": ("vit_base_patch16_224", SMALL, 64, 1, True),
    "distilled": ("deit_base_distilled_patch16_224", SMALL, 64, 2, True),
    "attention pooling": ("vit_base_patch16_siglip_224", SMALL, 64, 0, False),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", SMALL, 56, 5, True),
    "DINOv3": ("vit_base_patch16_dinov3", SMALL, 64, 5, True),
    "AIMv2": ("aimv2_large_patch14_224", SMALL, 56, 0, False),
    "Perception Encoder": ("vit_pe_core_base_patch16_224", SMALL, 64, 1, True),
    "EVA-02": ("eva02_base_patch14_224", SMALL, 56, 1, True),
    "BEiT": ("beitv2_base_patch16_224", SMALL, 64, 1, True),
    "normed before": ("vit_base_patch16_clip_224", SMALL, 64, 1, True),
}


def save(folder, name, arguments, size):
    """Save a model of timm in the layout of its repositories on the hub, and say what size its images have."""
    model = timm.create_model(name, pretrained=False, img_size=size, **arguments)
    randomise(model)
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, size, size), "num_classes": model.num_classes}
    save_for_hf(
        model,
        folder,
        model_config={**model.pretrained_cfg, "architecture": name, "input_size": (3, size, size)},
        model_args={**arguments, "img_size": size},
        safe_serialization=True,
    )
    return model.eval()


def evaluation_transform(model, size):
    data = {**timm.data.resolve_model_data_config(model), "input_size": (3, size, size)}
    return timm.data.create_transform(**data, is_training=False)


def intermediates(model, pixels):
    """Streams after each block as timm itself gives them: prefix tokens and patches, put together again."""
    asked = {"return_prefix_tokens": True} if model.num_prefix_tokens else {}
    with torch.inference_mode():
        given = model.forward_intermediates(pixels, norm=False, output_fmt="NLC", intermediates_only=True, **asked)
    return [torch.cat([before, tokens], dim=1) for tokens, before in given] if asked else given


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """The model that was saved, its image size, prefix, has_class, and the model as loaded."""
    name, arguments, size, prefix, has_class = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp("model")
    return save(folder, name, arguments, size), size, prefix, has_class, load_model(ROW, folder)


def test_every_layer_and_pooling_is_that_of_timms_own_intermediates(family):
    saved, size, prefix, has_class, model = family
    transform = evaluation_transform(saved, size)
    expected = intermediates(saved, torch.stack([transform(image) for image in photos()]))
    assert expected[0].shape == (3, prefix + 16, 32)
    check_golden(model, photos(), expected, prefix, has_class)


def test_an_image_is_prepared_by_timms_own_evaluation_transform(family):
    saved, size, _, _, model = family
    transform = evaluation_transform(saved, size)
    batch = batch_of(model, photos())
    assert set(batch) == {"pixel_values"}
    assert torch.equal(batch["pixel_values"], torch.stack([transform(image) for image in photos()]))


def test_tower_and_attributes_say_what_they_are(family):
    saved, size, prefix, has_class, model = family
    tower = model.towers["vision"]
    assert (tower.path, tower.width, len(tower.blocks)) == ("blocks", 32, 3)
    assert ("cls" in tower.poolings, "register" in tower.note) == (has_class, prefix > 1)
    assert model.attributes["class"] == f"{type(saved).__module__}.{type(saved).__name__}"
    assert f"CenterCrop(size=({size}, {size}))" in model.attributes["preprocessing"]
    assert len(model.digest) == 64


def small_vit(folder):
    return save(folder, *FAMILIES["ViT"][:3])


def rewrite(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)


def test_a_row_in_half_precision_runs_in_it(tmp_path):
    for name in ("ViT", "DINOv3", "Perception Encoder", "attention pooling"):
        folder = tmp_path / name
        saved = save(folder, *FAMILIES[name][:3]).to(torch.bfloat16)
        model = load_model({**ROW, "dtype": "bfloat16"}, folder)
        assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}
        batch = batch_of(model, photos())
        streams, pooled = read(model, batch)
        for stream, given in zip(streams, intermediates(saved, batch["pixel_values"].bfloat16()), strict=True):
            assert_close(stream.float(), given.float(), tolerance=2e-2)
        assert {values.dtype for values in pooled.values()} == {torch.float32}


@pytest.mark.parametrize("gone", ["blocks.1.mlp.fc1.weight", "cls_token", "head.weight"])
def test_files_that_lack_weights_are_refused_by_the_weights_names(gone, tmp_path):
    small_vit(tmp_path)
    rewrite(tmp_path, lambda weights: {key: value for key, value in weights.items() if key != gone})
    with pytest.raises(ValueError, match=rf"timm .* cannot load it: .*{gone}") as error:
        load_model(ROW, tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("gone", ["blocks.1.mlp.fc1.weight", "pos_embed", "patch_embed.proj.bias"])
def test_a_model_for_which_timm_tolerates_missing_weights_is_refused_too(gone, tmp_path):
    save(tmp_path, "vit_base_patch16_siglip_gap_224", SMALL, 64)
    assert load_model(ROW, tmp_path).towers["vision"].width == 32
    rewrite(tmp_path, lambda weights: {key: value for key, value in weights.items() if key != gone})
    with pytest.raises(ValueError, match=f"VisionTransformer, which would be random: {gone}"):
        load_model(ROW, tmp_path)


def test_a_pickle_is_read_only_where_the_row_says_so(tmp_path):
    saved = small_vit(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r'pytorch_model\.bin is a pickle; set weights to "any"'):
        load_model(ROW, tmp_path)
    model = load_model({**ROW, "weights": "any"}, tmp_path)
    check_golden(model, photos(), intermediates(saved, batch_of(model, photos())["pixel_values"]), 1, True)


def test_safetensors_are_taken_before_a_pickle_beside_them(tmp_path):
    saved = small_vit(tmp_path)
    wrong = {key: torch.zeros_like(value) for key, value in load_file(tmp_path / "model.safetensors").items()}
    torch.save(wrong, tmp_path / "pytorch_model.bin")
    model = load_model({**ROW, "weights": "any"}, tmp_path)
    check_golden(model, photos(), intermediates(saved, batch_of(model, photos())["pixel_values"]), 1, True)


HIERARCHICAL = {
    "swin_tiny_patch4_window7_224": ({"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}, "SwinTransformer"),
    "convnext_tiny": ({"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 16)}, "ConvNeXt"),
}


@pytest.mark.parametrize("name", HIERARCHICAL)
def test_a_hierarchical_model_is_refused_by_its_class_and_shapes(name, tmp_path):
    arguments, kind = HIERARCHICAL[name]
    randomise(model := timm.create_model(name, **arguments))
    save_for_hf(model, tmp_path, model_args=arguments, safe_serialization=True)
    stages = r"\(images, 8, height/4, width/4\), \(images, 16, height/8, width/8\)"
    with pytest.raises(ValueError, match=rf"{kind} of timm is no stack of blocks .* have the shapes {stages}"):
        load_model(ROW, tmp_path)


def test_a_stream_without_the_class_token_that_the_model_has_is_refused(tmp_path):
    # CaiT adds its class token after its blocks
    arguments = {"embed_dim": 32, "depth": 3, "num_heads": 2}
    randomise(cait := timm.create_model("cait_s24_224", img_size=64, **arguments))
    config = {**cait.pretrained_cfg, "architecture": "cait_s24_224", "input_size": (3, 64, 64)}
    save_for_hf(cait, tmp_path, model_config=config, model_args={**arguments, "img_size": 64}, safe_serialization=True)
    model = load_model(ROW, tmp_path)
    with pytest.raises(
        ValueError, match=r"Cait: a block of blocks returned the shape \(3, 16, 32\), not \(3, 17, 32\)"
    ):
        read(model, batch_of(model, photos()))


def test_an_architecture_that_this_release_does_not_know_is_refused_by_name(tmp_path):
    small_vit(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architecture": "vit_of_tomorrow"}))
    with pytest.raises(ValueError, match=r"cannot load it: .*vit_of_tomorrow"):
        load_model(ROW, tmp_path)


def test_a_model_of_timm_cannot_be_spread_over_devices(tmp_path):
    small_vit(tmp_path)
    with pytest.raises(ValueError, match='model "m": the loader timm cannot spread a model'):
        load_model(ROW, tmp_path, placement={"device_map": "auto"})


def test_under_the_papers_protocol_the_last_token_stands_for_a_class_token(tmp_path):
    name, arguments, size, *_ = FAMILIES["attention pooling"]
    saved = save(tmp_path, name, arguments, size)
    model = load_model(ROW, tmp_path, protocol="paper")
    batch = batch_of(model, photos())
    _, pooled = read(model, batch)
    expected = torch.stack([stream[:, -1] for stream in intermediates(saved, batch["pixel_values"])])
    assert_close(pooled["cls"], expected)


def test_the_classifier_does_not_run(tmp_path):
    small_vit(tmp_path)
    model = load_model(ROW, tmp_path)
    ran = []
    for part in (model.module.head, model.module.fc_norm):
        assert isinstance(part, nn.Module)
        part.register_forward_hook(lambda *_: ran.append(True))
    read(model, batch_of(model, photos()))
    assert not ran

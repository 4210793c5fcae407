"""Loader `local`: the files of a folder say which loader it is for; an encoder of the controlled experiment."""

import pickle

import numpy as np
import pytest
import torch
import transformers
from golden import batch_of, check_golden, photos, randomise, read
from PIL import Image
from tiny_checkpoints import write_open_clip, write_timm
from torchvision.transforms import functional as torchvision

from geoprobe.encoders.architecture import MEAN, STD, build_encoder, save_encoder
from geoprobe.models.loading import load_model
from geoprobe.models.registry import library_of

ROW = {"model": "m", "loader": "local", "revision": "none", "dtype": "float32", "weights": "safetensors"}
ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 2, "heads": 2}


def write_encoder(folder, seed=1):
    encoder = build_encoder(**ARCHITECTURE, seed=seed)
    save_encoder(folder, randomise(encoder, seed), {"architecture": ARCHITECTURE, "mean": MEAN, "std": STD})
    return {**ROW, "id": str(folder)}, encoder


def picture(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def loaded(tmp_path):
    return load_model(write_encoder(tmp_path / "encoder")[0])


def prepared(model, image):
    inputs = model.prepare(image, "an id")
    assert set(inputs) == {"pixel_values"}
    return inputs["pixel_values"]


def test_every_layer_and_pooling_is_that_of_timms_own_intermediates(tmp_path):
    row, encoder = write_encoder(tmp_path / "encoder")
    model = load_model(row)
    with torch.inference_mode():
        given = encoder.forward_intermediates(
            batch_of(model, photos())["pixel_values"],
            norm=False,
            output_fmt="NLC",
            intermediates_only=True,
            return_prefix_tokens=True,
        )
    expected = [torch.cat([prefix, tokens], dim=1) for tokens, prefix in given]
    assert expected[0].shape == (3, 17, 32)
    check_golden(model, photos(), expected, 1, True)


def test_the_tower_is_its_stack_of_blocks(loaded):
    assert list(loaded.towers) == ["vision"]
    tower = loaded.towers["vision"]
    assert tower.blocks is loaded.module.blocks
    assert (tower.path, tower.width) == ("blocks", 32)
    assert tower.note == "a class token, patches in raster order"


def test_an_image_of_the_encoders_size_is_only_normalised(loaded):
    image = picture(16, 16)
    expected = torchvision.normalize(torchvision.to_tensor(image), MEAN, STD)
    torch.testing.assert_close(prepared(loaded, image), expected)


@pytest.mark.parametrize(("width", "height"), [(64, 32), (32, 64)])
def test_a_larger_image_is_cut_to_its_central_square(loaded, width, height):
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    left, top = (width - 32) // 2, (height - 32) // 2
    pixels[top : top + 32, left : left + 32] = (10, 120, 230)
    seen = prepared(loaded, Image.fromarray(pixels))
    assert seen.shape == (3, 16, 16)
    red_green_blue = seen * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    # away from the edge, where bicubic weights reach over
    middle = red_green_blue[:, 2:-2, 2:-2] * 255
    expected = torch.tensor([10.0, 120.0, 230.0]).view(3, 1, 1).expand_as(middle)
    torch.testing.assert_close(middle, expected, atol=1.0, rtol=0)


def test_a_smaller_image_is_enlarged(loaded):
    assert prepared(loaded, picture(7, 5)).shape == (3, 16, 16)


def test_what_prepares_an_image_can_be_sent_to_another_process(loaded):
    prepare = pickle.loads(pickle.dumps(loaded.prepare))
    image = picture(20, 30)
    assert torch.equal(prepare(image, "a")["pixel_values"], prepared(loaded, image))


def test_an_encoder_in_half_precision_runs_in_it(tmp_path):
    row, encoder = write_encoder(tmp_path / "encoder")
    model = load_model({**row, "dtype": "bfloat16"})
    batch = batch_of(model, photos())
    streams, pooled = read(model, batch)
    assert streams[0].dtype == torch.bfloat16
    assert pooled["mean"].dtype == torch.float32
    with torch.inference_mode():
        model.forward(batch)
        expected = encoder.bfloat16().blocks[0](
            encoder.norm_pre(encoder._pos_embed(encoder.patch_embed(batch["pixel_values"].bfloat16())))
        )
    assert torch.equal(streams[0], expected)


def test_the_digest_is_that_of_the_weights(tmp_path):
    first, again, other = (
        load_model(write_encoder(tmp_path / name, seed)[0]).digest for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other


def test_the_attributes_state_class_and_preprocessing(loaded):
    assert loaded.attributes["class"] == "timm.models.vision_transformer.VisionTransformer"
    assert "16 pixels" in loaded.attributes["preprocessing"]
    assert "0.485" in loaded.attributes["preprocessing"]


def test_an_encoder_cannot_be_spread_over_devices(tmp_path):
    row, _ = write_encoder(tmp_path / "encoder")
    with pytest.raises(ValueError, match='model "m": the loader local cannot spread a model over devices'):
        load_model(row, placement={"device_map": "auto"})


def test_a_folder_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        load_model({**ROW, "id": str(tmp_path / "nowhere")})


def test_an_encoder_without_its_weights_is_refused_by_the_files_name(tmp_path):
    row, _ = write_encoder(tmp_path / "encoder")
    (tmp_path / "encoder" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load_model(row)


def write_transformers(folder):
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48, image_size=32, patch_size=8
    )
    randomise(transformers.ViTModel(config)).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


WRITERS = {
    "encoder": write_encoder,
    "transformers": write_transformers,
    "timm": write_timm,
    "open_clip": write_open_clip,
}


@pytest.mark.parametrize("library", WRITERS)
def test_the_files_say_which_library_a_folder_is_for(library, tmp_path):
    folder = tmp_path / "model"
    WRITERS[library](folder)
    assert library_of(folder) == library
    local = load_model({**ROW, "id": str(folder)})
    _, pooled = read(local, batch_of(local, photos()))
    if library == "encoder":
        assert pooled["cls"].shape == (2, 3, 32)
        return
    # the same as by the loader of that library
    direct = load_model({**ROW, "loader": library, "id": "org/m"}, folder)
    _, expected = read(direct, batch_of(direct, photos()))
    assert pooled["cls"].shape == (3, 3, 32)
    assert all(torch.equal(pooled[name], expected[name]) for name in expected)
    assert (local.digest, local.attributes) == (direct.digest, direct.attributes)


def test_a_folder_with_files_of_two_libraries_goes_to_the_one_of_its_config(tmp_path):
    write_open_clip(tmp_path / "model")
    write_transformers(tmp_path / "model")
    assert library_of(tmp_path / "model") == "transformers"


@pytest.mark.parametrize("content", [None, "{}", "[1]", '{"architecture": 3}'])
def test_a_folder_of_no_known_library_is_refused_by_name(content, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r'no config\.json with "model_type"') as error:
        load_model({**ROW, "id": str(tmp_path)})
    assert str(tmp_path) in str(error.value)


def test_a_broken_configuration_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: not JSON"):
        load_model({**ROW, "id": str(tmp_path)})

"""Loader `local`: a controlled encoder from its folder."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as torchvision

from geoprobe.encoders.architecture import MEAN, STD, build_encoder, save_encoder
from geoprobe.models.local import load

ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 2, "heads": 2}


def write_encoder(folder, seed=1):
    encoder = build_encoder(**ARCHITECTURE, seed=seed).eval()
    save_encoder(folder, encoder, {"architecture": ARCHITECTURE, "mean": MEAN, "std": STD})
    return {"id": str(folder)}, encoder


def picture(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def loaded(tmp_path):
    return load(write_encoder(tmp_path / "encoder")[0])


def test_the_module_is_the_encoder_that_was_written(tmp_path):
    row, encoder = write_encoder(tmp_path / "encoder")
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(load(row).module(images), encoder(images))


def test_the_tower_is_its_stack_of_blocks(loaded):
    assert list(loaded.towers) == ["vision"]
    tower = loaded.towers["vision"]
    assert tower.blocks is loaded.module.blocks
    assert (tower.path, tower.prefix, tower.width) == ("blocks", 1, 32)


def test_an_image_of_the_encoders_size_is_only_normalised(loaded):
    image = picture(16, 16)
    expected = torchvision.normalize(torchvision.to_tensor(image), MEAN, STD)
    torch.testing.assert_close(loaded.preprocess(image), expected)


@pytest.mark.parametrize(("width", "height"), [(64, 32), (32, 64)])
def test_a_larger_image_is_cut_to_its_central_square(loaded, width, height):
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    left, top = (width - 32) // 2, (height - 32) // 2
    pixels[top : top + 32, left : left + 32] = (10, 120, 230)
    seen = loaded.preprocess(Image.fromarray(pixels))
    assert seen.shape == (3, 16, 16)
    red_green_blue = seen * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    # away from the edge, where bicubic weights reach over
    middle = red_green_blue[:, 2:-2, 2:-2] * 255
    expected = torch.tensor([10.0, 120.0, 230.0]).view(3, 1, 1).expand_as(middle)
    torch.testing.assert_close(middle, expected, atol=1.0, rtol=0)


def test_a_smaller_image_is_enlarged(loaded):
    assert loaded.preprocess(picture(7, 5)).shape == (3, 16, 16)


def test_the_digest_is_that_of_the_weights(tmp_path):
    first, again, other = (
        load(write_encoder(tmp_path / name, seed)[0]).digest for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other


def test_the_attributes_state_class_and_preprocessing(loaded):
    assert loaded.attributes["class"] == "timm.models.vision_transformer.VisionTransformer"
    assert "16 pixels" in loaded.attributes["preprocessing"]
    assert "0.485" in loaded.attributes["preprocessing"]


def test_a_folder_without_an_encoder_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load({"id": str(tmp_path / "nowhere")})

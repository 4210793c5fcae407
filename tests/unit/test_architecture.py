"""The controlled experiment's architecture: weights from a seed, normalisation, files."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torchvision.transforms import functional as torchvision

from geoprobe.encoders.architecture import MEAN, STD, build_encoder, load_encoder, normalise, save_encoder

ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 2, "heads": 2}


def weights(encoder):
    return {name: value.numpy() for name, value in encoder.state_dict().items()}


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture
def saved(tmp_path):
    encoder = build_encoder(**ARCHITECTURE, seed=3).eval()
    config = {"architecture": ARCHITECTURE, "note": "Zürich"}
    save_encoder(tmp_path / "runs" / "encoder", encoder, config)
    return tmp_path / "runs" / "encoder", encoder, config


def test_a_seed_gives_the_same_weights_bit_for_bit():
    assert same_weights(build_encoder(**ARCHITECTURE, seed=5), build_encoder(**ARCHITECTURE, seed=5))


def test_the_weights_are_those_of_the_seed_whatever_was_drawn_before():
    torch.manual_seed(1)
    first = build_encoder(**ARCHITECTURE, seed=5)
    torch.rand(7)
    assert same_weights(first, build_encoder(**ARCHITECTURE, seed=5))


def test_another_seed_gives_other_weights():
    assert not same_weights(build_encoder(**ARCHITECTURE, seed=5), build_encoder(**ARCHITECTURE, seed=6))


def test_building_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(11)
    undisturbed = torch.rand(4)
    torch.manual_seed(11)
    build_encoder(**ARCHITECTURE, seed=5)
    assert torch.equal(torch.rand(4), undisturbed)


def test_the_output_is_a_class_token_and_one_token_a_patch():
    encoder = build_encoder(**ARCHITECTURE, seed=0).eval()
    assert encoder(torch.zeros(3, 3, 16, 16)).shape == (3, 1 + 4 * 4, 32)
    assert encoder.num_prefix_tokens == 1
    assert len(encoder.blocks) == 2


def test_normalise_equals_torchvision():
    pixels = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = torchvision.normalize(pixels.float() / 255, MEAN, STD)
    torch.testing.assert_close(normalise(pixels), expected)


def test_an_encoder_comes_back_from_its_folder_as_it_was(saved):
    folder, encoder, config = saved
    loaded, read = load_encoder(folder)
    assert read == config
    assert not loaded.training
    assert same_weights(loaded, encoder)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(images), encoder(images))


def test_the_weights_file_is_read_by_safetensors_itself(saved):
    folder, encoder, _ = saved
    read = load_file(folder / "model.safetensors")
    expected = weights(encoder)
    assert read.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(read[name], value)


def test_the_configuration_file_is_plain_json(saved):
    folder, _, config = saved
    assert json.loads((folder / "config.json").read_text()) == config


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_one_of_the_files_is_refused_by_name(saved, name):
    folder, _, _ = saved
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"encoder: no {name}"):
        load_encoder(folder)

"""Loading a model by its registry row: frozen, in evaluation mode, by the loader that the row names."""

import sys
import types

import pytest
import torch
from torch import nn

from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.models import registry
from geoprobe.models.loading import LoadedModel, load_model, stack_inputs

ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 2, "heads": 2}


@pytest.fixture
def row(tmp_path):
    save_encoder(
        tmp_path / "encoder",
        build_encoder(**ARCHITECTURE, seed=1),
        {"architecture": ARCHITECTURE, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    )
    row = {"model": "masked-seed1", "loader": "local", "id": str(tmp_path / "encoder"), "revision": "none"}
    return {**row, "dtype": "float32", "weights": "safetensors"}


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(row):
    model = load_model(row)
    assert isinstance(model, LoadedModel)
    assert not any(module.training for module in model.module.modules())
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


@pytest.mark.parametrize(("folder", "expected"), [(None, "org/m"), ("snapshot", "snapshot")])
def test_the_loader_that_the_row_names_is_used_and_what_it_gives_is_frozen(monkeypatch, folder, expected):
    given = []
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())

    def load(*arguments, **options):
        given.append((arguments, options))
        return LoadedModel(module=module, prepare=None, forward=module, towers={})

    # what a new loader is: a line in the table and a module with `load`
    monkeypatch.setitem(registry.LOADERS, "mine", "mine")
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(load=load))
    row = {"model": "m", "loader": "mine", "id": "org/m"}
    model = load_model(row, folder, prompt="Where?", protocol="paper", placement={"device_map": "auto"})
    options = {"prompt": "Where?", "protocol": "paper", "placement": {"device_map": "auto"}}
    assert given == [((row, expected), options)]
    assert model.module is module
    assert not module[1].training
    assert not module[0].weight.requires_grad


def test_the_forward_pass_of_a_loaded_model_keeps_no_graph(row):
    model = load_model(row)
    kept = []
    model.towers["vision"].blocks[1].register_forward_hook(lambda _module, _args, output: kept.append(output))
    model.forward({"pixel_values": torch.zeros(1, 3, 16, 16)})
    assert kept[0].grad_fn is None


def test_inputs_of_single_images_are_stacked_by_name():
    generator = torch.Generator().manual_seed(0)
    inputs = [{"a": torch.randn(2, 4, generator=generator), "b": torch.tensor(k)} for k in range(3)]
    batch = stack_inputs(inputs)
    assert batch["a"].shape == (3, 2, 4)
    assert batch["b"].tolist() == [0, 1, 2]
    assert all(torch.equal(batch["a"][k], inputs[k]["a"]) for k in range(3))


def test_inputs_of_unlike_shape_are_refused_with_both_shapes():
    inputs = [{"pixel_values": torch.zeros(3, 8, 8)}, {"pixel_values": torch.zeros(3, 8, 12)}]
    with pytest.raises(ValueError, match=r"pixel_values .*\(3, 8, 8\), \(3, 8, 12\)"):
        stack_inputs(inputs)

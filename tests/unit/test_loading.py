"""Loading a model by its registry row: frozen, in evaluation mode, by the loader that the row names."""

import sys
import types

import pytest
import torch
from torch import nn

from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.models import loading
from geoprobe.models.loading import LoadedModel, load_model

ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 2, "heads": 2}


@pytest.fixture
def row(tmp_path):
    save_encoder(
        tmp_path / "encoder",
        build_encoder(**ARCHITECTURE, seed=1),
        {"architecture": ARCHITECTURE, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    )
    return {"model": "masked-seed1", "loader": "local", "id": str(tmp_path / "encoder"), "revision": "none"}


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(row):
    model = load_model(row)
    assert isinstance(model, LoadedModel)
    assert not any(module.training for module in model.module.modules())
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_the_loader_that_the_row_names_is_used_and_what_it_gives_is_frozen(monkeypatch):
    given = []
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())

    def load(row):
        given.append(row)
        return LoadedModel(module=module, preprocess=None, towers={})

    # what a new loader is: a line in the table and a module with `load`
    monkeypatch.setitem(loading.LOADERS, "mine", "mine")
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(load=load))
    model = load_model({"model": "m", "loader": "mine"})
    assert given == [{"model": "m", "loader": "mine"}]
    assert model.module is module
    assert not module[1].training
    assert not module[0].weight.requires_grad


def test_the_forward_pass_of_a_loaded_model_keeps_no_graph(row):
    assert load_model(row).module(torch.zeros(1, 3, 16, 16)).grad_fn is None

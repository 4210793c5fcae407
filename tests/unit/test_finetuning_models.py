"""Fine-tuning of models of each kind: what is trained of them, and how much of a batch goes through at once."""

import numpy as np
import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from tiny_countries import accuracy, finetune, make_all, make_store, make_task
from tiny_multimodal import make_row as make_multimodal_row
from tiny_multimodal import save_model

from geoprobe.features.decoding import Batches
from geoprobe.features.engine import extract_batch
from geoprobe.features.layout import choose_readings
from geoprobe.finetune import network
from geoprobe.finetune.network import cut_passes, load_backbone, mark_trained
from geoprobe.finetune.training import Training
from geoprobe.models.loading import load_model, stack_inputs

torch.set_num_threads(1)
# one of InternVL's processor's own, in transformers before 5.24
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("made"))


def test_a_gradient_is_the_same_however_many_images_a_pass(made, tmp_path):
    task = make_task(made)
    gradients = []
    for most in (16, 5):
        task.most = most
        one = Training(task, 3e-3, 1, tmp_path)
        rows = task.rows["train"][:16]
        ((_, inputs),) = task.inputs.load([rows])
        one._gradient(rows, inputs)
        gradients.append(
            torch.cat([weight.grad.flatten() for weight in one.plain.parameters() if weight.requires_grad])
        )
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert gradients[0].abs().max() > 0.01


def test_memory_that_runs_out_halves_the_pass_and_leaves_the_batch(made, tmp_path, monkeypatch, capsys):
    forward = network.Network.forward

    def limited(self, batch):
        if len(batch["pixel_values"]) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, batch)

    monkeypatch.setattr(network.Network, "forward", limited)
    (tmp_path / "limited").mkdir()
    results, _ = finetune(made, tmp_path / "limited", learning_rates=[3e-3], seeds=[1])
    assert "going on with 3 images a pass" in capsys.readouterr().out
    monkeypatch.undo()
    (tmp_path / "free").mkdir()
    free, _ = finetune(made, tmp_path / "free", learning_rates=[3e-3], seeds=[1])
    losses = [[row["train_loss"] for row in found["runs"][0]["history"]] for found in (results, free)]
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_memory_that_does_not_hold_one_image_is_an_error(made, tmp_path, monkeypatch):
    def never(self, batch):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(network.Network, "forward", never)
    with pytest.raises(MemoryError, match="no memory to train this model on one image"):
        finetune(made, tmp_path)


@pytest.fixture
def _fresh_state():
    """accelerate keeps the precision of a process; a job has one, this test another."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("_fresh_state")
def test_mixed_precision_computes_in_fewer_digits_and_keeps_weights_in_float32(made, tmp_path):
    histories = []
    for precision in ("bf16", "no"):
        AcceleratorState._reset_state(reset_partial_state=True)
        task = make_task(made)
        task.precision = precision
        one = Training(task, 3e-3, 1, tmp_path / precision)
        histories.append(one.run()["history"])
        assert {weight.dtype for weight in one.plain.parameters()} == {torch.float32}
    assert histories[0] != histories[1]
    losses = [[row["train_loss"] for row in history] for history in histories]
    np.testing.assert_allclose(*losses, rtol=0.1)


# -- models of transformers


def test_images_of_unlike_shape_go_through_the_model_apart():
    inputs = [{"x": torch.full((size,), float(place))} for place, size in enumerate((2, 3, 2, 2, 3))]
    passes = list(cut_passes(inputs, stack_inputs, most=2))
    assert [places for places, _ in passes] == [[0, 2], [3], [1, 4]]
    for places, batch in passes:
        assert batch["x"][:, 0].tolist() == places


def save_dino(folder):
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=28, patch_size=14
    )
    torch.manual_seed(0)
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(folder)


def test_a_model_of_transformers_is_fine_tuned(made, tmp_path):
    folder = tmp_path / "dino"
    save_dino(folder)
    row = {**made[1], "id": str(folder)}
    (tmp_path / "out").mkdir()
    results, _ = finetune(made, tmp_path / "out", row=row, learning_rates=[3e-3], seeds=[1], poolings=["cls"])
    assert accuracy(results) > 0.8
    assert results["model"]["pooling"] == "cls"


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "qwen2_5_vl", "qwen3_vl", "gemma3", "internvl"])
def test_of_a_multimodal_model_the_vision_tower_alone_is_trained(made, tmp_path, family):
    folder = tmp_path / family
    save_model(family, folder)
    row = {"model": family, **make_multimodal_row(folder)}
    model = load_model(row, folder)
    store = tmp_path / "images.h5"
    make_store(store, (60, 40))
    _, inputs = Batches(store, model.prepare, list)[[0, 1, 2]]
    batch = model.collate(inputs)
    readings = choose_readings(model.towers, ["cls", "mean"], "all")
    whole = extract_batch(model, batch, readings, torch.device("cpu"), torch.float32)
    backbone = load_backbone(row, folder, "sound", ["cls", "mean"], "cpu")
    layer = len(model.towers["vision"].blocks) - 1
    summary = backbone(batch)
    # the decoder has been dropped, and comes after the image
    torch.testing.assert_close(summary, whole["vision", backbone.pooling, layer].clone(), rtol=1e-4, atol=1e-5)
    assert sum(len(list(block.parameters())) for block in backbone.model.towers["text"].blocks) == 0
    mark_trained(backbone, batch)
    tower = {id(weight) for block in backbone.model.towers["vision"].blocks for weight in block.parameters()}
    trained = {id(weight): name for name, weight in backbone.named_parameters() if weight.requires_grad}
    assert tower & set(trained)
    outside = [name for number, name in trained.items() if number not in tower]
    assert all("vision" in name or "visual" in name for name in outside), outside

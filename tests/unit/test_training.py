"""Training: the same budget for all objectives, the same weights after any interruption."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from geoprobe.encoders import training
from geoprobe.encoders.architecture import build_encoder
from geoprobe.encoders.training import learning_rate, plan_epochs, train_encoder

torch.set_num_threads(1)

ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 2, "heads": 2}
BUDGET = {
    "presentations": 72,
    "batch_size": 8,
    "learning_rate": 0.003,
    "weight_decay": 0.05,
    "warmup": 0.1,
    "crop": 0.6,
    "colour": 0.1,
}
OBJECTIVES = {
    "random": {"objective": "random"},
    "masked": {"objective": "masked", "mask": 0.75, "decoder_width": 16},
    "contrastive": {"objective": "contrastive", "projection": 8, "temperature": 0.2},
    "text": {"objective": "text", "captions": "places", "projection": 8, "temperature": 0.2},
}
TRAINED = ("masked", "contrastive", "text")
FILES = ["config.json", "history.csv", "model.safetensors"]
COLOURS = {"sea": (20, 40, 200), "wood": (20, 160, 30), "sand": (230, 200, 120), "ice": (240, 245, 250)}


def tiles(n=28):
    """Striped images of four colours, and the colours' words: something that every objective can learn."""
    generator = torch.Generator().manual_seed(0)
    words = [list(COLOURS)[index % 4] for index in range(n)]
    colour = torch.tensor([COLOURS[word] for word in words], dtype=torch.float32)[:, :, None, None]
    stripes = 20 * torch.sin(torch.arange(16) * 2 * torch.pi / 8)[None, None, None]
    noise = 4 * torch.randn(n, 3, 16, 16, generator=generator)
    return (colour + stripes + noise).clamp(0, 255).to(torch.uint8), words


def train(folder, name="masked", seed=1, images=None, origin="", code="", **budget):
    own, words = tiles()
    train_encoder(
        folder,
        own if images is None else images,
        words if name == "text" else None,
        OBJECTIVES[name],
        ARCHITECTURE,
        {**BUDGET, **budget},
        seed,
        origin=origin,
        code=code,
    )
    return folder


def read_config(folder):
    return json.loads((folder / "config.json").read_text())


def same_training(a, b):
    """Whether two folders hold the same weights and history bit for bit."""
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in FILES)


class Interrupted(Exception):
    pass


def give_up(*_):
    raise Interrupted


def stop_at(monkeypatch, stop):
    """Make the training raise when it comes to step number `stop` of those it takes."""
    taken = []

    def counted(step, *args):
        if len(taken) == stop:
            raise Interrupted
        taken.append(step)
        return learning_rate(step, *args)

    monkeypatch.setattr(training, "learning_rate", counted)
    return taken


def interrupt(monkeypatch, folder, stop, **options):
    with monkeypatch.context() as patch:
        stop_at(patch, stop)
        with pytest.raises(Interrupted):
            train(folder, **options)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder of a whole training for each objective. 28 images in batches of 8: three steps an epoch."""
    return {name: train(tmp_path_factory.mktemp(name), name) for name in OBJECTIVES}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_again_gives_the_same_weights_and_history_bit_for_bit(undisturbed, tmp_path, name):
    torch.rand(3)
    assert same_training(undisturbed[name], train(tmp_path / "again", name))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_finished_training_leaves_three_files_and_no_checkpoint(undisturbed, name):
    assert sorted(path.name for path in undisturbed[name].iterdir()) == FILES


def test_another_seed_trains_another_encoder(undisturbed, tmp_path):
    assert not same_training(undisturbed["masked"], train(tmp_path / "other", seed=2))


@pytest.mark.parametrize("name", TRAINED)
def test_the_weights_of_random_are_what_the_others_start_from(undisturbed, tmp_path, name):
    started = train(tmp_path / name, name, learning_rate=0.0)
    initial = load_file(undisturbed["random"] / "model.safetensors")
    built = build_encoder(**ARCHITECTURE, seed=1).state_dict()
    trained = load_file(undisturbed[name] / "model.safetensors")
    for key, value in load_file(started / "model.safetensors").items():
        assert torch.equal(value, initial[key])
        assert torch.equal(value, built[key])
    assert any(not torch.equal(trained[key], initial[key]) for key in initial)


@pytest.mark.parametrize("presentations", [16, 72, 100, 127])
def test_every_objective_sees_the_same_number_of_images_within_one_batch(tmp_path, monkeypatch, presentations):
    seen = {}
    for name in TRAINED:
        count = []

        def counting(*args, _count=count, **kwargs):
            encoder = build_encoder(*args, **kwargs)
            encoder.patch_embed.register_forward_pre_hook(lambda _module, inputs: _count.append(len(inputs[0])))
            return encoder

        with monkeypatch.context() as patch:
            patch.setattr(training, "build_encoder", counting)
            train(tmp_path / name, name, presentations=presentations)
        seen[name] = sum(count)
        assert seen[name] == read_config(tmp_path / name)["presentations"]
        # a batch of pairs is two batches' worth of images
        assert presentations - 2 * BUDGET["batch_size"] < seen[name] <= presentations
    assert max(seen.values()) - min(seen.values()) <= BUDGET["batch_size"]


def test_an_epoch_takes_an_image_at_most_once_and_each_epoch_has_an_order_of_its_own(tmp_path, monkeypatch):
    images, batches = torch.arange(28, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 16, 16), []
    normalise = training.normalise

    def recorded(pixels):
        batches.append(pixels[:, 0, 0, 0].tolist())
        return normalise(pixels)

    monkeypatch.setattr(training, "normalise", recorded)
    train(tmp_path, images=images)
    epochs = [list(itertools.chain(*batches[first : first + 3])) for first in (0, 3, 6)]
    assert [len(set(epoch)) for epoch in epochs] == [24, 24, 24]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert len(set().union(*epochs)) == 28


def test_random_is_given_no_image(undisturbed):
    assert read_config(undisturbed["random"])["presentations"] == 0
    assert len(pd.read_csv(undisturbed["random"] / "history.csv")) == 0


@pytest.mark.parametrize("name", TRAINED)
def test_the_history_has_a_row_an_epoch_and_ends_with_the_presentations(undisturbed, name):
    history = pd.read_csv(undisturbed[name] / "history.csv")
    assert list(history) == ["epoch", "presentations", "loss"]
    assert history["epoch"].tolist() == list(range(len(history)))
    assert history["presentations"].is_monotonic_increasing
    assert history["presentations"].iloc[-1] == read_config(undisturbed[name])["presentations"]
    assert np.isfinite(history["loss"]).all()


def test_the_configuration_says_all_that_is_needed_to_repeat(undisturbed, tmp_path):
    config = read_config(train(tmp_path / "made", "text", origin="digest of the tiles"))
    assert config["architecture"] == ARCHITECTURE
    assert config["objective"] == OBJECTIVES["text"]
    assert config["training"] == BUDGET
    assert config["seed"] == 1
    assert config["pretraining_digest"] == "digest of the tiles"
    assert (config["mean"], config["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("share", [0.0, 0.34, 0.5, 0.75, 1.0])
def test_a_training_interrupted_anywhere_ends_as_an_undisturbed_one(undisturbed, tmp_path, monkeypatch, name, share):
    # contrastive takes half the steps of the others
    steps = read_config(undisturbed[name])["presentations"] // BUDGET["batch_size"] // (1 + (name == "contrastive"))
    interrupt(monkeypatch, tmp_path, round(share * (steps - 1)), name=name)
    assert not (tmp_path / "model.safetensors").exists()
    train(tmp_path, name)
    assert same_training(undisturbed[name], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_a_training_interrupted_again_and_again_ends_as_an_undisturbed_one(undisturbed, tmp_path, monkeypatch):
    for _ in range(2):
        interrupt(monkeypatch, tmp_path, 4)
    train(tmp_path)
    assert same_training(undisturbed["masked"], tmp_path)


def test_a_resumed_training_takes_only_the_steps_of_the_epochs_that_were_not_whole(tmp_path, monkeypatch):
    interrupt(monkeypatch, tmp_path, 7)
    taken = stop_at(monkeypatch, None)
    train(tmp_path)
    assert taken == [6, 7, 8]


def test_a_training_stopped_after_its_last_step_does_not_train_again(undisturbed, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "save_encoder", give_up)
        with pytest.raises(Interrupted):
            train(tmp_path)
    taken = stop_at(monkeypatch, None)
    train(tmp_path)
    assert taken == []
    assert same_training(undisturbed["masked"], tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 2},
        {"learning_rate": 0.001},
        {"presentations": 96},
        {"crop": 0.9},
        {"origin": "other tiles"},
        {"code": "edited"},
        {"name": "text"},
    ],
    ids=str,
)
def test_a_checkpoint_of_other_options_or_images_is_not_resumed(tmp_path, monkeypatch, capsys, changed):
    interrupt(monkeypatch, tmp_path / "used", 7)
    assert (tmp_path / "used" / training.CHECKPOINT).is_file()
    train(tmp_path / "used", **changed)
    assert "training starts anew" in capsys.readouterr().out
    assert same_training(tmp_path / "used", train(tmp_path / "clean", **changed))


def test_a_checkpoint_that_was_being_written_when_the_job_was_killed_leaves_no_litter(tmp_path, monkeypatch):
    interrupt(monkeypatch, tmp_path, 4)
    checkpoint = tmp_path / training.CHECKPOINT
    # what a killed job of another process id leaves: the private file it was writing to
    shutil.copy(checkpoint, f"{checkpoint}.1234567")
    train(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_falls_on_something_that_can_be_learned(tmp_path, name):
    images, words = tiles(32)
    if name == "contrastive":  # which needs every image to be another
        images = torch.randint(0, 256, (32, 3, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        images = images.repeat(1, 1, 16, 16)
    budget = {**BUDGET, "presentations": 1500, "batch_size": 16, "learning_rate": 0.005, "crop": 0.8, "colour": 0.0}
    train_encoder(tmp_path, images, words if name == "text" else None, OBJECTIVES[name], ARCHITECTURE, budget, seed=1)
    history = pd.read_csv(tmp_path / "history.csv")["loss"]
    assert history.iloc[-1] < 0.85 * history.iloc[0]


@pytest.mark.parametrize(("steps", "warmup"), [(40, 0.25), (10, 0.1), (200, 0.05)])
def test_the_learning_rate_is_torchs_linear_warm_up_and_cosine(steps, warmup):
    warm = round(steps * warmup)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warm)
    expected = [0.01 * (step + 1) / warm for step in range(warm)]
    for _ in range(steps - warm):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    rates = [learning_rate(step, steps, 0.01, warmup) for step in range(steps)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert max(rates) == pytest.approx(0.01)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_the_learning_rate_is_in_range_however_short_the_training(steps, warmup):
    rates = [learning_rate(step, steps, 0.01, warmup) for step in range(steps)]
    assert all(0 <= rate <= 0.01 for rate in rates)
    assert rates[0] > 0


def test_two_views_take_half_the_steps_and_a_tiny_budget_takes_one():
    assert plan_epochs(images=30, presentations=100, batch_size=8, views=1) == (3, 12)
    assert plan_epochs(images=30, presentations=100, batch_size=8, views=2) == (3, 6)
    assert plan_epochs(images=30, presentations=5, batch_size=8, views=2) == (3, 1)


def test_a_batch_larger_than_the_data_set_is_refused_with_both_numbers(tmp_path):
    with pytest.raises(ValueError, match=r"batch_size is 32, but the pretraining set has 28 images\. Lower"):
        train(tmp_path, batch_size=32)


def test_an_objective_with_text_and_no_captions_is_refused(tmp_path):
    with pytest.raises(ValueError, match="text needs captions"):
        train_encoder(tmp_path, tiles()[0], None, OBJECTIVES["text"], ARCHITECTURE, BUDGET, seed=1)


def test_a_caption_without_a_word_is_refused_before_training(tmp_path):
    images, words = tiles()
    with pytest.raises(ValueError, match=r"'\.\.\.' has no word"):
        train_encoder(tmp_path, images, [*words[:-1], "..."], OBJECTIVES["text"], ARCHITECTURE, BUDGET, seed=1)


def test_a_loss_that_is_no_number_stops_the_training_and_says_where(tmp_path, monkeypatch):
    class Broken(training.OBJECTIVES["masked"]):
        def loss(self, images, *args):
            return super().loss(images, *args) * float("nan")

    monkeypatch.setitem(training.OBJECTIVES, "masked", Broken)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 0; lower encoders\.training\.learning_rate"):
        train(tmp_path / "masked-seed1")
    assert not (tmp_path / "masked-seed1" / "model.safetensors").exists()

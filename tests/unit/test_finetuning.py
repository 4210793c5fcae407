"""Fine-tuning: rates that are tried, a test part that is used once, the same end after any interruption."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from tiny_countries import COLOURS, OPTIONS, accuracy, assert_same, finetune, make_all, make_task

from geoprobe.finetune import training
from geoprobe.finetune.grid import choose_rate
from geoprobe.finetune.network import Inputs, load_backbone
from geoprobe.finetune.training import Training
from geoprobe.models.loading import load_model, stack_inputs

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def undisturbed(made, tmp_path_factory):
    return finetune(made, tmp_path_factory.mktemp("undisturbed"))


class Killed(Exception):
    pass


def stop_at(monkeypatch, count):
    """Raise at so many batches; the number of those that were begun is kept in the list."""
    taken, gradient = [], Training._gradient

    def counted(self, rows, inputs):
        taken.append(rows)
        if len(taken) == count:
            raise Killed
        return gradient(self, rows, inputs)

    monkeypatch.setattr(Training, "_gradient", counted)
    return taken


# -- what is learned


def test_what_can_be_told_apart_is_learned(undisturbed):
    results, predictions = undisturbed
    assert accuracy(results) > 0.9
    assert accuracy(results, "top5") >= accuracy(results)
    assert results["learning_rate"] == 3e-3
    assert results["chance"]["top1"] == pytest.approx(1 / 6)
    assert ((predictions["rank"] == 1) == (predictions["predicted"] == predictions["country"])).all()


def test_shuffled_labels_stay_at_chance(made, tmp_path):
    split = pd.read_parquet(made[0] / "split.parquet")
    split["country"] = split["country"].sample(frac=1, random_state=0).to_numpy()
    split.to_parquet(tmp_path / "split.parquet")
    (tmp_path / "out").mkdir()
    results, predictions = finetune(made, tmp_path / "out", tmp_path / "split.parquet", learning_rates=[3e-3])
    count = predictions["id"].nunique()
    assert abs(accuracy(results) - 1 / 6) < 3 * np.sqrt(5 / 36 / count)


def test_the_optimiser_sees_each_rate_and_a_rate_too_high_is_not_chosen(made, tmp_path, monkeypatch):
    seen, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self, *args: (seen.append({group["lr"] for group in self.param_groups}), step(self, *args))[1],
    )
    # accelerate looks for the wrapper that torch puts around a step
    monkeypatch.setattr(torch.optim.AdamW.step, "hooked", True, raising=False)
    results, _ = finetune(made, tmp_path)
    steps = len(seen) // 4
    highest = [max(max(rates) for rates in seen[run * steps : (run + 1) * steps]) for run in range(4)]
    assert highest == [*OPTIONS["learning_rates"], results["learning_rate"]]
    runs = results["runs"]
    assert [(run["learning_rate"], run["seed"]) for run in runs] == [(1e-5, 1), (3e-3, 1), (1.0, 1), (3e-3, 2)]
    for run in runs:
        assert max(row["learning_rate"] for row in run["history"]) == run["learning_rate"]
    losses = [run["history"][-1]["train_loss"] for run in runs]
    assert len(set(losses)) == 4
    assert results["learning_rate"] == 3e-3
    assert runs[2]["validation_accuracy"] < runs[1]["validation_accuracy"]


def test_the_schedule_warms_up_and_falls_to_zero_as_a_cosine(made, tmp_path, monkeypatch):
    task = make_task(made, epochs=5)
    one = Training(task, 0.01, 1, tmp_path)
    seen = []
    for _ in range(one.steps):
        seen.append(one.optimizer.param_groups[0]["lr"])
        one.optimizer.step()
        one.schedule.step()
    warm = round(0.1 * one.steps)
    expected = [0.01 * step / warm for step in range(warm)]
    rest = np.arange(one.steps - warm) / (one.steps - warm)
    np.testing.assert_allclose(seen, [*expected, *0.005 * (1 + np.cos(np.pi * rest))], atol=1e-12)


def test_the_head_alone_is_a_linear_probe_of_an_unchanged_backbone(made, tmp_path, undisturbed):
    results, _ = finetune(made, tmp_path, train="head", learning_rates=[3e-2], epochs=8)
    assert accuracy(results) > 0.9
    task = make_task(made, train="head")
    ((_, summaries),) = task.inputs.load([task.rows["test"]])
    values = stack_inputs(summaries)["summary"]
    source, row = made
    model = load_model(row)
    ((_, inputs),) = Inputs(source / "images.h5", model, 0, 0).load([task.rows["test"]])
    expected = model.module.forward_intermediates(
        stack_inputs(inputs)["pixel_values"], indices=[1], return_prefix_tokens=True, norm=False
    )[1][0][1][:, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


# -- the test part


def test_test_labels_decide_about_test_accuracy_and_nothing_else(made, tmp_path, undisturbed):
    split = pd.read_parquet(made[0] / "split.parquet")
    names = sorted(COLOURS)
    tested = split["part"] == "test"
    split.loc[tested, "country"] = split.loc[tested, "country"].map(
        dict(zip(names, names[1:] + names[:1], strict=True))
    )
    split.to_parquet(tmp_path / "split.parquet")
    (tmp_path / "out").mkdir()
    results, predictions = finetune(made, tmp_path / "out", tmp_path / "split.parquet")
    # what was right is wrong now, on images that no training and no choice has seen
    assert accuracy(results) < 0.1
    assert results["runs"] == undisturbed[0]["runs"]
    assert results["learning_rate"] == undisturbed[0]["learning_rate"]
    pd.testing.assert_series_equal(predictions["predicted"], undisturbed[1]["predicted"])


def test_the_test_part_is_predicted_once_a_seed_and_after_the_choice(made, tmp_path, monkeypatch):
    asked, load = [], Inputs.load

    def noted(self, planned):
        asked.append({row for rows in planned for row in rows})
        return load(self, planned)

    monkeypatch.setattr(Inputs, "load", noted)
    _, predictions = finetune(made, tmp_path)
    split = pd.read_parquet(made[0] / "split.parquet")
    numbers = split["id"].str.removeprefix("image ").astype(int)
    parts = {part: set(numbers[split["part"] == part]) for part in ("train", "validation", "test")}
    named = [next((name for name, rows in parts.items() if rows == some), "one") for some in asked]
    epochs = ["train", "validation"] * OPTIONS["epochs"]
    assert named == ["one", *epochs * 3, "test", *epochs, "test"]
    assert asked[0] < parts["train"]
    assert set(predictions["id"]) == set(split["id"][split["part"] == "test"])
    assert len(predictions) == 2 * len(parts["test"])


# -- interruptions


@pytest.mark.parametrize("share", [0.1, 0.55, 0.95])
def test_a_job_that_is_stopped_and_run_again_ends_as_an_undisturbed_one(
    made, tmp_path, monkeypatch, undisturbed, share
):
    with monkeypatch.context() as patch:
        # 4 trainings of 4 epochs of 3 batches
        taken = stop_at(patch, round(share * 48))
        with pytest.raises(Killed):
            finetune(made, tmp_path)
        before = len(taken)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet.work"]
    with monkeypatch.context() as patch:
        taken = stop_at(patch, None)
        ended = finetune(made, tmp_path)
    assert_same(ended, undisturbed)
    # no more than the epoch that was begun is done again
    assert 48 <= before + len(taken) <= 48 + 3


def test_a_process_killed_by_the_kernel_ends_as_an_undisturbed_one(made, tmp_path, undisturbed):
    source, row = made
    code = (
        "import json, sys, torch\n"
        "from geoprobe.finetune.grid import finetune_model\n"
        "torch.set_num_threads(1)\n"
        "store, split, row, results, predictions, options = json.loads(sys.argv[1])\n"
        "finetune_model(store, split, row, results, predictions, options=options, resamples=50, seed=1,\n"
        "    names={'dataset': 'colours', 'model': 'tiny'}, budget=10**8)\n"
    )
    given = [str(source / "images.h5"), str(source / "split.parquet"), row, str(tmp_path / "results.json"),
             str(tmp_path / "predictions.parquet"), OPTIONS]  # fmt: skip
    work = tmp_path / "predictions.parquet.work"
    with subprocess.Popen([sys.executable, "-c", code, json.dumps(given)], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:  # fmt: skip
        while process.poll() is None and not list(work.glob("*/checkpoint.pt")):
            time.sleep(0.002)
        process.kill()
        said = process.communicate(timeout=60)[0].decode()
    assert process.returncode == -signal.SIGKILL, said
    assert not (tmp_path / "results.json").exists()
    assert_same(finetune(made, tmp_path), undisturbed)


def test_a_damaged_checkpoint_is_started_anew(made, tmp_path, monkeypatch, undisturbed, capsys):
    with monkeypatch.context() as patch:
        stop_at(patch, 8)
        with pytest.raises(Killed):
            finetune(made, tmp_path)
    (checkpoint,) = (tmp_path / "predictions.parquet.work").glob("*/checkpoint.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert_same(finetune(made, tmp_path), undisturbed)
    assert "cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize("changed", [{"code": "other"}, {"weight_decay": 0.1}, {"seeds": [1]}], ids=str)
def test_work_of_another_making_is_not_gone_on_with(made, tmp_path, monkeypatch, capsys, changed):
    with monkeypatch.context() as patch:
        stop_at(patch, 30)
        with pytest.raises(Killed):
            finetune(made, tmp_path)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(Killed):
            finetune(made, tmp_path, **changed)
    assert "fine-tuning starts anew" in capsys.readouterr().out


# -- one training


def test_early_stopping_keeps_the_best_weights(made, tmp_path, monkeypatch):
    task, train = make_task(made, epochs=9, patience=2), Training._train

    def spoiled(self, epoch, progress):
        found = train(self, epoch, progress)
        if epoch > 3:
            torch.nn.init.zeros_(self.plain.head[1].weight)
        return found

    monkeypatch.setattr(Training, "_train", spoiled)
    one = Training(task, 3e-3, 1, tmp_path)
    result = one.run()
    accuracies = [row["validation_accuracy"] for row in result["history"]]
    assert result["end"] == "patience"
    assert result["best_epoch"] == 1 + int(np.argmax(accuracies)) <= 3
    assert len(accuracies) == result["best_epoch"] + 2
    assert accuracies[-1] < result["validation_accuracy"] == max(accuracies)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"best-{result['best_epoch']}.safetensors",
        "result.json",
    ]
    fresh = task.start(1)
    training.load_weights(fresh, load_file(one.best_path(result["best_epoch"])))
    rows = task.rows["validation"]
    told = training.predict(task, fresh, rows).argmax(dim=1) == task.truth(rows)
    assert told.double().mean().item() == result["validation_accuracy"]


def test_all_weights_that_have_a_part_are_changed_and_no_others(made, tmp_path):
    task = make_task(made, epochs=1)
    Training(task, 3e-3, 1, tmp_path).run()
    changed = {name for name, value in task.backbone.state_dict().items() if not torch.equal(value, task.initial[name])}
    # the norm after the last block has no part in what that block returns
    assert {name for name in task.initial if name not in changed} == {"module.norm.weight", "module.norm.bias"}


def test_the_seed_decides_about_head_and_order(made, tmp_path):
    task = make_task(made)
    heads = [task.start(seed).head[1].weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    runs = [Training(task, 3e-3, seed, tmp_path / str(place)).run() for place, seed in enumerate((1, 1, 2))]
    assert runs[0]["history"] == runs[1]["history"] != runs[2]["history"]


@pytest.mark.parametrize("budget", [0, 20_000], ids=["none", "some"])
def test_inputs_that_are_kept_or_not_give_the_same_numbers(made, tmp_path, undisturbed, budget):
    results, _ = finetune(made, tmp_path, budget=budget, learning_rates=[3e-3], seeds=[1])
    assert results["runs"][0] == undisturbed[0]["runs"][1]


# -- choices and refusals


def run(rate, value):
    return {"learning_rate": rate, "validation_accuracy": value}


def test_the_best_rate_is_chosen_the_smaller_of_equal_ones():
    assert choose_rate([run(1e-3, 0.5), run(1e-4, 0.5), run(1e-5, 0.4), run(1e-6, None)]) == 1e-4


def test_training_that_diverges_at_every_rate_is_an_error(made, tmp_path):
    with pytest.raises(FloatingPointError, match=r"diverged at all of finetune\.learning_rates \(1e\+30, 1e\+35\)"):
        finetune(made, tmp_path, learning_rates=[1e30, 1e35], warmup=0)


def test_a_rate_that_diverges_is_noted_and_not_chosen(made, tmp_path):
    results, _ = finetune(made, tmp_path, learning_rates=[1e30, 3e-3], seeds=[1], warmup=0)
    assert (results["runs"][0]["end"], results["runs"][0]["validation_accuracy"]) == ("diverged", None)
    assert results["learning_rate"] == 3e-3


def test_a_pooling_that_the_tower_lacks_is_refused_with_those_it_has(made):
    with pytest.raises(ValueError, match=r'poolings is last, but the vision tower of "tiny" has cls, mean'):
        load_backbone(made[1], None, "sound", ["last"], "cpu")


def test_a_split_of_other_images_is_refused(made, tmp_path):
    split = pd.read_parquet(made[0] / "split.parquet")
    split.loc[0, "id"] = "image elsewhere"
    split.to_parquet(tmp_path / "split.parquet")
    with pytest.raises(ValueError, match="image image elsewhere of the split is not in it"):
        finetune(made, tmp_path, tmp_path / "split.parquet")

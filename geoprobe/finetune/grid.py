"""Fine-tune one model: a grid of learning rates with the first seed, the other seeds at the best, then the test."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from geoprobe.finetune.evaluation import chance_levels, rank_truth, score_predictions
from geoprobe.finetune.network import Inputs, Stored, Summaries, load_backbone, mark_trained
from geoprobe.finetune.splits import PARTS, digest_split
from geoprobe.finetune.training import RESULT, Task, Training, load_weights, predict
from geoprobe.images.store import read_columns
from geoprobe.runtime import peak_mb, write_json, write_table

KEY, TEST = "key", "test.parquet"
PREDICTIONS = ["id", "country", "group", "predicted", "rank", "seed", "learning_rate"]


def choose_rate(results):
    """The learning rate with the best validation accuracy, the smaller of equal ones.

    Args:
        results: of :meth:`geoprobe.finetune.training.Training.run`, one a rate.

    Raises:
        FloatingPointError: all diverged.
    """
    known = [result for result in results if result["validation_accuracy"] is not None]
    if not known:
        rates = ", ".join(f"{result['learning_rate']:g}" for result in results)
        raise FloatingPointError(f"training diverged at all of finetune.learning_rates ({rates}); give lower ones")
    return min(known, key=lambda result: (-result["validation_accuracy"], result["learning_rate"]))["learning_rate"]


class Work:
    """The folder in which an unfinished job keeps what it has done, emptied where that is of another making.

    Args:
        output: the file that the job ends with; the folder lies beside it.
        making: all that decides about the results.
    """

    def __init__(self, output, making):
        self.folder = Path(f"{output}.work")
        key = hashlib.sha256(json.dumps(making, sort_keys=True, default=str).encode()).hexdigest()
        path = self.folder / KEY
        if self.folder.exists() and (not path.is_file() or path.read_text() != key):
            print(f"{self.folder}: of other options, images, weights or code; fine-tuning starts anew")
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(key)

    def of(self, rate, seed):
        """Folder of one training."""
        return self.folder / f"{rate!r}-seed{seed}"

    def drop_weights(self, rate, seed):
        """Remove the best weights of a training, which are not needed any more."""
        for path in self.of(rate, seed).glob("best-*"):
            path.unlink()

    def remove(self):
        """Remove the folder, after the outputs are written."""
        shutil.rmtree(self.folder)


def _train(task, work, rate, seed):
    """Result of one training, taken from the folder if it is finished."""
    path = work.of(rate, seed) / RESULT
    if path.is_file():
        return json.loads(path.read_text())
    result = Training(task, rate, seed, work.of(rate, seed)).run()
    task.release()
    return result


def search_rates(task, work, rates, seed):
    """Train with every rate and one seed; the results, by rate. Only the best so far keeps its weights."""
    results = []
    for rate in rates:
        results.append(_train(task, work, rate, seed))
        if any(result["validation_accuracy"] is not None for result in results):
            best = choose_rate(results)
            for result in results:
                if result["learning_rate"] != best:
                    work.drop_weights(result["learning_rate"], seed)
    return results


def predict_test(task, work, result, split, classes):
    """Predictions of a training's best weights on the test part, made once: the frame of PREDICTIONS but group.

    Raises:
        FloatingPointError: the training diverged before it had any.
    """
    rate, seed = result["learning_rate"], result["seed"]
    folder = work.of(rate, seed)
    if not (folder / TEST).is_file():
        if result["best_epoch"] is None:
            raise FloatingPointError(
                f"training diverged with seed {seed} at the chosen learning rate {rate:g}; leave it out of "
                "finetune.learning_rates"
            )
        training = Training(task, rate, seed, folder)
        load_weights(training.plain, load_file(training.best_path(result["best_epoch"])))
        rows = task.rows["test"]
        logits = predict(task, training.network, rows).numpy()
        task.release()
        frame = pd.DataFrame(
            {
                "id": split.loc[rows, "id"].to_numpy(),
                "predicted": np.asarray(classes, dtype=object)[logits.argmax(axis=1)],
                "rank": rank_truth(logits, task.truth(rows).numpy()),
                "seed": seed,
                "learning_rate": rate,
            }
        )
        write_table(frame, folder / TEST)
    work.drop_weights(rate, seed)
    return pd.read_parquet(folder / TEST)


def _join(store, split):
    """The split with the rows of the store as its index, with groups, and the store's digest."""
    columns = read_columns(store)
    place = pd.Series(range(len(columns["ids"])), index=columns["ids"])
    if missing := sorted(set(split["id"]) - set(place.index)):
        raise ValueError(f"{store}: image {missing[0]} of the split is not in it; split the data set anew")
    split = split.set_index(place.loc[split["id"]].to_numpy())
    return split.assign(group=columns["groups"][split.index]), columns["digest"]


def _make_task(store, split, row, folder, protocol, options, device, precision, workers, budget):
    """The Task, and what is known of the model."""
    backbone = load_backbone(row, folder, protocol, options["poolings"], device)
    model = backbone.model
    classes = sorted(split["country"].unique())
    inputs = Inputs(store, model, workers, budget)
    rows = {part: split.index[split["part"] == part].tolist() for part in PARTS}
    task = Task(
        device=device,
        precision=precision,
        backbone=backbone,
        initial={},
        width=backbone.width,
        inputs=inputs,
        labels=dict(zip(split.index.tolist(), map(classes.index, split["country"]), strict=True)),
        rows=rows,
        classes=len(classes),
        options=options,
        most=options["batch_size"],
    )
    ((_, one),) = inputs.load([rows["train"][:1]])
    ((_, batch),) = task.passes(one)
    known = {
        "class": model.attributes.get("class", ""),
        "preprocessing": model.attributes.get("preprocessing", ""),
        "weights_digest": model.digest,
        "pooling": backbone.pooling,
        "trained_weights": mark_trained(backbone, batch) if options["train"] == "all" else 0,
    }
    return task, classes, known


def _prepare_backbone(task, train):
    """Note what each training starts from; for a head alone, put the summaries of all images for the images."""
    if train == "head":
        task.backbone.requires_grad_(False).eval()
        rows = [row for part in task.rows.values() for row in part]
        plain, task.classes = task.classes, task.width  # summaries are predicted as if they were logits
        values = predict(task, task.accelerate().prepare(task.backbone), rows)
        task.release()
        task.classes, task.inputs = plain, Summaries(dict(zip(rows, values, strict=True)))
        task.backbone = Stored()
    task.initial = {name: value.detach().cpu().clone() for name, value in task.backbone.state_dict().items()}


def finetune_model(
    store,
    split,
    row,
    results,
    predictions,
    *,
    folder=None,
    protocol="sound",
    options,
    resamples,
    seed,
    names=None,
    workers=0,
    budget=0,
    device="cpu",
    code="",
):
    """Fine-tune a model to tell countries, and test it.

    Every learning rate is tried with the first seed; that with the best validation accuracy is taken for the other
    seeds. The test part is used after that, once a seed.

    Args:
        store: image store.
        split: table (Parquet) of :func:`geoprobe.finetune.splits.assign_parts`.
        row: of the registry.
        results: JSON file to write: names, options, model, images (by part), countries, learning_rate (the chosen),
            runs (of :meth:`geoprobe.finetune.training.Training.run`, all rates and seeds), chance, test (rows of
            :func:`geoprobe.finetune.evaluation.score_predictions`), measured.
        predictions: Parquet file to write: PREDICTIONS, a row a test image and seed. While running, a folder
            `<predictions>.work` lies beside it, from which a killed job goes on.
        folder: where the model's files lie; None for the loader `local`.
        protocol: sound; or paper, which repeats how the paper read the model.
        options: learning_rates, seeds, epochs, batch_size, warmup (share of the steps), weight_decay, patience
            (epochs), mixed_precision (no, fp16, bf16; no on a CPU), train (all, or head: the backbone stays as it
            is), poolings (the preferred first).
        resamples, seed: of the bootstrap.
        names: what tells this job from others, for the results: dataset, model.
        workers: processes that decode; 0 to decode in this one.
        budget: bytes of prepared images that may be kept in memory.
        device: torch device.
        code: digest of the source code; work of other code is not gone on with.

    Raises:
        ValueError: the model has no vision tower that can be trained, or the split is of other images.
        FloatingPointError: training diverges at every learning rate, or with one of the other seeds.
        MemoryError: the device does not hold the model and one image.
    """
    device = torch.device(device)
    precision = options["mixed_precision"] if device.type != "cpu" else "no"
    split, digest = _join(store, pd.read_parquet(split))
    task, classes, known = _make_task(store, split, row, folder, protocol, options, device, precision, workers, budget)
    settled = {**options, "mixed_precision": precision}
    making = [settled, protocol, digest, digest_split(split), known, device.type, code]
    work = Work(predictions, making)
    _prepare_backbone(task, options["train"])
    first, *others = options["seeds"]
    runs = search_rates(task, work, options["learning_rates"], first)
    rate = choose_rate(runs)
    tested = [predict_test(task, work, result, split, classes) for result in runs if result["learning_rate"] == rate]
    for other in others:
        runs.append(_train(task, work, rate, other))
        tested.append(predict_test(task, work, runs[-1], split, classes))
    truth = split.set_index("id")[["country", "group"]]
    found = pd.concat(tested, ignore_index=True).join(truth, on="id")[PREDICTIONS]
    scores = score_predictions(found, resamples, seed)
    parts = {part: split.loc[rows, "country"] for part, rows in task.rows.items()}
    write_table(found, predictions)
    write_json(
        {
            "names": names or {},
            "options": settled,
            "protocol": protocol,
            "model": {**known, "supervision": row["supervision"]},
            "images": {part: len(rows) for part, rows in task.rows.items()},
            "images_digest": digest,
            "countries": classes,
            "learning_rate": rate,
            "runs": runs,
            "chance": chance_levels(parts["train"], parts["test"]),
            "test": scores.replace({np.nan: None}).to_dict("records"),
            "measured": {"device": _name_device(device), "images_a_pass": task.most, "peak_memory_mb": peak_mb()},
        },
        results,
    )
    work.remove()
    mean = scores[(scores["member"] == "mean") & (scores["by"] == "all")].set_index("metric")["value"]
    print(f"{results}: rate {rate:g}, top-1 {mean['top1']:.3f}, top-5 {mean['top5']:.3f}, {len(classes)} countries")


def _name_device(device):
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)

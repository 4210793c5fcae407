"""One training: a learning rate and a seed, by accelerate, with a checkpoint after each epoch.

A training runs in one process on one device. What is random in an epoch depends on the seed and the epoch alone, so
that a checkpoint needs no state of a generator.
"""

import gc
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from geoprobe.finetune.network import Network, cut_passes
from geoprobe.runtime import replacing

CHECKPOINT, RESULT = "checkpoint.pt", "result.json"
CLIP = 1.0  # norm of the gradient at most


@dataclass
class Task:
    """What all trainings of one model share.

    Attributes:
        device: torch device.
        precision: no, fp16 or bf16.
        backbone: a Backbone, or Stored where the head alone is trained; a training leaves it changed.
        initial: its weights before any training, on the CPU.
        width: of the summary.
        inputs: Inputs or Summaries.
        labels: class of each image by its row of the store.
        rows: by part, row numbers of the store.
        classes: number of countries.
        options: epochs, batch_size, warmup (share of the steps), weight_decay, patience (epochs).
        most: images a pass; halved where memory does not hold them.
    """

    device: torch.device
    precision: str
    backbone: nn.Module
    initial: dict
    width: int
    inputs: object
    labels: dict
    rows: dict
    classes: int
    options: dict
    most: int

    def accelerate(self):
        """An Accelerator of a training's own, as that of mixed precision has a state: the scale of the loss."""
        return Accelerator(mixed_precision=self.precision, cpu=self.device.type == "cpu")

    def release(self):
        """Give back a GPU's memory that the last training held, optimiser included, before the next one takes it."""
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    def start(self, seed):
        """A Network as it is before training with a seed."""
        self.backbone.load_state_dict(self.initial)
        return Network(self.backbone, self.width, self.classes, seed).to(self.device)

    def passes(self, inputs):
        """Places and batch, on the device, of the images that go through the model together."""
        for places, batch in cut_passes(inputs, self.inputs.collate, self.most):
            yield places, {name: value.to(self.device) for name, value in batch.items()}

    def truth(self, rows):
        """Classes of images, int64, on the CPU."""
        return torch.tensor([self.labels[row] for row in rows])

    def halve(self, error):
        """Take half the images a pass, after memory ran out.

        Raises:
            MemoryError: it was one image.
        """
        if self.most == 1:
            raise MemoryError(
                f"{self.device} has no memory to train this model on one image ({error}); use a GPU with "
                "more memory, finetune.mixed_precision bf16, or finetune.train head"
            )
        self.most //= 2
        print(f"out of memory; going on with {self.most} images a pass, and batches of the same size")
        torch.cuda.empty_cache()


def _until_it_fits(task, run):
    """What `run` returns, tried again with fewer images a pass while memory runs out."""
    while True:
        try:
            return run()
        except torch.OutOfMemoryError as error:
            problem = str(error).partition("\n")[0]
        # out of the handler, whose error holds on to what the pass had allocated
        task.halve(problem)


def group_weights(network, decay):
    """Parameter groups of AdamW: matrices decay, biases and the weights of norms do not."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def copy_weights(network):
    """What training changes in a network, on the CPU: trained weights and buffers by name."""
    fixed = {name for name, weight in network.named_parameters(remove_duplicate=False) if not weight.requires_grad}
    state = network.state_dict()
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
        if name not in fixed
    }


def load_weights(network, weights):
    """Put what :func:`copy_weights` gave into a network that was started from the same backbone.

    Raises:
        ValueError: the weights are not those of such a network.
    """
    missing, unexpected = network.load_state_dict(weights, strict=False)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    if unexpected or trained & set(missing):
        raise ValueError(f"weights of another network: {', '.join([*unexpected, *trained & set(missing)][:5])}; remove")


@torch.no_grad()
def predict(task, network, rows):
    """Logits of images, float32 on the CPU, shape (n, classes)."""
    network.eval()
    size, logits = task.options["batch_size"], torch.empty(len(rows), task.classes)
    planned = [rows[start : start + size] for start in range(0, len(rows), size)]
    for number, (_, inputs) in enumerate(task.inputs.load(planned)):

        def run(inputs=inputs, start=number * size):
            for places, batch in task.passes(inputs):
                logits[[start + place for place in places]] = network(batch).float().cpu()

        _until_it_fits(task, run)
    return logits


class Training:
    """One training, from where its folder's checkpoint stands.

    Args:
        task: a Task.
        rate: the highest learning rate.
        seed: of the head, the order of the images and dropout.
        folder: of its checkpoint, best weights and result; work of another making must not lie there.
    """

    def __init__(self, task, rate, seed, folder):
        self.task, self.rate, self.seed, self.folder = task, rate, seed, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        options = task.options
        self.train_rows = task.rows["train"]
        self.steps = math.ceil(len(self.train_rows) / options["batch_size"]) * options["epochs"]
        self.plain = task.start(seed)
        optimizer = torch.optim.AdamW(group_weights(self.plain, options["weight_decay"]), lr=rate)
        schedule = get_cosine_schedule_with_warmup(optimizer, round(options["warmup"] * self.steps), self.steps)
        self.accelerator = task.accelerate()
        self.network, self.optimizer, self.schedule = self.accelerator.prepare(self.plain, optimizer, schedule)
        self.history, self.diverged = [], False
        self._resume()

    # -- state

    @property
    def best(self):
        """Row of the history with the best validation accuracy, the first of several; None before any."""
        return max(self.history, key=lambda row: row["validation_accuracy"], default=None)

    def best_path(self, epoch):
        """Where the weights of an epoch lie that was the best so far."""
        return self.folder / f"best-{epoch}.safetensors"

    def _save(self):
        best = self.best["epoch"]
        if best == self.history[-1]["epoch"]:
            with replacing(self.best_path(best)) as temporary:
                save_file(copy_weights(self.plain), temporary)
        scaler = self.accelerator.scaler
        state = {
            "weights": copy_weights(self.plain),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
            "history": self.history,
        }
        # a file of Python's own says that the disk is full, where torch's says that it is at an unexpected place
        with replacing(self.folder / CHECKPOINT) as temporary, open(temporary, "wb") as file:
            torch.save(state, file)
        for path in self.folder.glob("best-*"):
            if path != self.best_path(best):
                path.unlink()

    def _resume(self):
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # a damaged file may raise anything; the training can always start anew
            print(f"{path}: cannot be read ({type(error).__name__}: {error}); this training starts anew")
            return
        load_weights(self.plain, state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.history = state["history"]
        print(f"{path}: resumed after epoch {len(self.history)}")

    # -- epochs

    def run(self):
        """Train until the last epoch, or until validation accuracy has not risen for `patience` epochs.

        Returns:
            A dict, also written as RESULT: learning_rate, seed, history (a row an epoch: epoch from 1, learning_rate
            (the highest that the optimiser had), train_loss, validation_loss, validation_accuracy), best_epoch,
            validation_accuracy (its), end (epochs, patience, or diverged: the loss became infinite or not a number).
            Both are None where it diverged in the first epoch. The best weights lie at `best_path`.
        """
        options = self.task.options
        with tqdm(
            total=options["epochs"] * len(self.train_rows),
            initial=len(self.history) * len(self.train_rows),
            unit="image",
            desc=f"rate {self.rate:g}, seed {self.seed}",
            mininterval=5,
        ) as progress:
            while (end := self._end()) is None:
                self._run_epoch(len(self.history) + 1, progress)
        best = self.best or {"epoch": None, "validation_accuracy": None}
        result = {
            "learning_rate": self.rate,
            "seed": self.seed,
            "history": self.history,
            "best_epoch": best["epoch"],
            "validation_accuracy": best["validation_accuracy"],
            "end": end,
        }
        with replacing(self.folder / RESULT) as temporary:
            temporary.write_text(json.dumps(result))
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return result

    def _end(self):
        options = self.task.options
        if self.diverged:
            return "diverged"
        if self.history and len(self.history) - self.best["epoch"] >= options["patience"]:
            return "patience"
        return "epochs" if len(self.history) >= options["epochs"] else None

    def _run_epoch(self, epoch, progress):
        cuda = self.task.device.type == "cuda"
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if cuda else []):
            torch.manual_seed(self.seed * 1_000_003 + epoch)  # of dropout, where a model has it
            rate, loss = self._train(epoch, progress)
        if not math.isfinite(loss):
            self.diverged = True
            return
        logits = predict(self.task, self.network, self.task.rows["validation"])
        truth = self.task.truth(self.task.rows["validation"])
        row = {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": loss,
            "validation_loss": nn.functional.cross_entropy(logits, truth).item(),
            "validation_accuracy": (logits.argmax(dim=1) == truth).double().mean().item(),
        }
        if not math.isfinite(row["validation_loss"]):
            self.diverged = True
            return
        self.history.append(row)
        progress.set_postfix(accuracy=f"{row['validation_accuracy']:.3f}", refresh=False)
        self._save()

    def _train(self, epoch, progress):
        """One epoch; the highest learning rate that the optimiser had in it, and the mean loss."""
        self.network.train()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train_rows), generator=generator).tolist()
        size, highest, total = self.task.options["batch_size"], 0.0, 0.0
        planned = [[self.train_rows[place] for place in order[at : at + size]] for at in range(0, len(order), size)]
        for rows, inputs in self.task.inputs.load(planned):
            loss = _until_it_fits(self.task, lambda rows=rows, inputs=inputs: self._gradient(rows, inputs))
            if not math.isfinite(loss):
                return highest, loss
            self.accelerator.clip_grad_norm_(self.network.parameters(), CLIP)
            highest = max(highest, *(group["lr"] for group in self.optimizer.param_groups))
            self.optimizer.step()
            self.schedule.step()
            total += loss * len(rows)
            progress.update(len(rows))
        return highest, total / len(self.train_rows)

    def _gradient(self, rows, inputs):
        """Add up the gradient of the mean loss of a batch, pass by pass; the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        truth, total = self.task.truth(rows), 0.0
        for places, batch in self.task.passes(inputs):
            wanted = truth[places].to(self.task.device)
            loss = nn.functional.cross_entropy(self.network(batch).float(), wanted, reduction="sum") / len(rows)
            self.accelerator.backward(loss)
            total += loss.item()
        return total

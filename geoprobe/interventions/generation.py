"""Greedy text of a multimodal model for images of a store, in batches, and the file that generations grow in."""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from geoprobe.features.batches import plan
from geoprobe.features.decoding import Batches, load_batches
from geoprobe.features.placing import load_placed
from geoprobe.interventions.swap import acting_on
from geoprobe.runtime import replacing

HEADER = "header"


@dataclass
class Generated:
    """What was written for the images of one batch.

    Attributes:
        tokens: ids, shape (n, steps), filled up after a row's end.
        lengths: tokens of each row, that which ends it included, shape (n,).
        texts: n texts, without special tokens.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    texts: list


def load_writer(row, folder, prompt, protocol, device, offload):
    """A model that writes text, on the device or spread over what there is.

    Args:
        row, folder, prompt, protocol: of :func:`geoprobe.models.loading.load_model`.
        device: torch device.
        offload: folder for weights that fit neither into GPUs nor into memory.

    Raises:
        MemoryError: it does not fit.
        ValueError: the model writes no text.
    """
    model = load_placed(row, folder, prompt, protocol, device, offload)
    if model.generate is None or "text" not in model.towers:
        raise ValueError(
            f'{row["model"]}: a model of the loader "{row["loader"]}" writes no text; '
            "choose models that take an image and a text, such as LLaVA, Qwen2.5-VL or Gemma 3."
        )
    return model


def plan_batches(model, store, rows, size):
    """Sort images into batches of like cost.

    Args:
        model: a LoadedModel.
        store: image store.
        rows: row numbers; one may be there several times.
        size: images a batch, of the costliest of them.

    Returns:
        Lists of positions in `rows`, in which each is once.
    """
    positions = range(len(rows))
    if model.cost is None or not len(rows):
        return plan(positions, size)
    with contextlib.closing(Batches(store, model.prepare, model.collate)) as batches:
        costs = [model.cost(width, height) for width, height in batches.sizes(rows)]
    return plan(positions, size, costs, max(costs))


@torch.inference_mode()
def generate_batch(model, batch, steps, device, dtype, block=None, act=None):
    """Generate for one batch.

    Args:
        model: a LoadedModel that writes text.
        batch: of its `collate`.
        steps: tokens at most.
        device: where its inputs go.
        dtype: torch dtype of its weights; below float32, inputs and passes are made as in extraction (autocast).
        block: number of the decoder block that `act` is called at.
        act: see :func:`geoprobe.interventions.swap.acting_on`; None to leave the model as it is.

    Returns:
        A Generated, on the CPU.
    """
    low = dtype != torch.float32
    moved = {
        name: value.to(device, dtype if low and value.is_floating_point() else None, non_blocking=True)
        for name, value in batch.items()
    }
    with contextlib.ExitStack() as stack:
        if act is not None:
            module = model.towers["text"].blocks[block]
            stack.enter_context(acting_on(module, batch["input_ids"].shape[1], act))
        if low:
            stack.enter_context(torch.autocast(device.type, dtype))
        tokens = model.generate(moved, steps)
    tokens = tokens.cpu()
    return Generated(tokens, model.generate.lengths(tokens), model.generate.decode(tokens))


def generate_batches(model, store, planned, steps, device, dtype, *, block=None, acts=None, workers=0):
    """Yield what is generated for each of the planned batches, in order.

    Args:
        model: a LoadedModel that writes text.
        store: image store.
        planned: lists of its row numbers.
        steps, device, dtype, block: of :func:`generate_batch`.
        acts: an iterable with the `act` of each batch; None to leave the model as it is.
        workers: processes that decode; 0 to decode in this one.

    Yields:
        A Generated a batch.

    Raises:
        MemoryError: a batch does not fit on the device.
        ValueError: an image cannot be decoded; names it.
    """
    acts = iter([None] * len(planned) if acts is None else acts)
    with contextlib.closing(Batches(store, model.prepare, model.collate)) as batches:
        loading = load_batches(batches, planned, workers, pin=device.type == "cuda")
        with contextlib.closing(loading):
            for rows, batch in loading:
                try:
                    made = generate_batch(model, batch, steps, device, dtype, block, next(acts))
                except torch.OutOfMemoryError as error:
                    raise MemoryError(
                        f"{device} has no memory to generate for {len(rows)} images at once "
                        f"({str(error).partition(chr(10))[0]}); set steering.batch_size lower than {len(rows)}: what "
                        "is done is kept."
                    ) from error
                yield made


def read_lines(path):
    """Records of a file of JSON lines up to the first that is not whole; none where there is no file."""
    records = []
    if Path(path).is_file():
        for line in Path(path).read_bytes().splitlines(keepends=True):
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            records.append(record)
    return records


def write_lines(records, path):
    """Write records as JSON lines in one step."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(dump_line(record) for record in records)


def dump_line(record):
    """A record as a line of JSON."""
    return f"{json.dumps(record, ensure_ascii=False)}\n"


class Growing:
    """A file of JSON lines that grows batch by batch and is gone on with after a kill.

    Its first line is a header with the key of the making: what another making left there is dropped.

    Args:
        path: of the unfinished file.
        key: changes with whatever decides about the values.
    """

    def __init__(self, path, key):
        self.path = Path(path)
        self.header = {"kind": HEADER, "key": key}
        header, *records = read_lines(self.path) or [None]
        self.records = records if header == self.header else []

    @contextlib.contextmanager
    def writing(self, records):
        """Begin the file with the given records; a function that adds the records of a batch.

        They are on the disk when it returns.
        """
        write_lines([self.header, *records], self.path)
        with open(self.path, "ab") as file:

            def add(records):
                file.write("".join(map(dump_line, records)).encode())
                file.flush()
                os.fsync(file.fileno())

            yield add

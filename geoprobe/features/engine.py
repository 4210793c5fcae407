"""The extraction engine: one forward pass a batch, every layer of every tower, resumable, beside other shards."""

import contextlib
import hashlib
import json
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm import tqdm

from geoprobe.features import memory
from geoprobe.features.batches import halve, sample_rows, schedule, split_rows, without
from geoprobe.features.decoding import Batches, load_batches
from geoprobe.features.layout import choose_readings, list_datasets
from geoprobe.features.placing import load_placed
from geoprobe.features.store import DONE, open_partial, partial_of
from geoprobe.features.writing import WriteBehind
from geoprobe.images.store import read_positions
from geoprobe.models.pooling import gather_tokens, pool_tokens
from geoprobe.models.towers import reading_blocks
from geoprobe.runtime import peak_mb, provenance

SAMPLE = 32  # images whose size is looked at to tell what a large image costs


def read_tower(name, tower, reading, batch, pooled):
    """A function for :func:`reading_blocks` that pools what a block returns, on the device where it lies.

    Args:
        name: of the tower.
        tower: a Tower.
        reading: its Reading.
        batch: on the device.
        pooled: dict to which (tower, pooling, layer) to float32 (n, width) is added.
    """
    maps = {}

    def read(layer, stream):
        if not maps:
            maps[stream.device] = tower.tokens(batch, stream)
        if stream.device not in maps:
            maps[stream.device] = next(iter(maps.values())).to(stream.device)
        tokens = maps[stream.device]
        values = gather_tokens(stream, tokens)
        for pooling in reading.poolings:
            pooled[name, pooling, layer] = pool_tokens(values, tokens, pooling)

    return read


@torch.inference_mode()
def extract_batch(model, batch, readings, device, dtype):
    """Features of one batch, from one forward pass.

    Args:
        model: a LoadedModel.
        batch: of its `collate`.
        readings: tower name to Reading.
        device: where its inputs go.
        dtype: torch dtype of its weights. Floating inputs are made that, and below float32 autocast is on.

    Returns:
        A dict from (tower, pooling, layer) to float32 tensor (n, width), where the block lies.
    """
    low = dtype != torch.float32
    moved = {
        name: value.to(device, dtype if low and value.is_floating_point() else None, non_blocking=True)
        for name, value in batch.items()
    }
    pooled = {}
    with contextlib.ExitStack() as stack:
        for name, reading in readings.items():
            tower = model.towers[name]
            read = read_tower(name, tower, reading, moved, pooled)
            stack.enter_context(reading_blocks(tower.blocks, reading.layers, read))
        if low:
            stack.enter_context(torch.autocast(device.type, dtype))
        model.forward(moved)
    return pooled


def extract_features(
    store,
    row,
    output,
    *,
    folder=None,
    prompt_name="none",
    prompt=None,
    protocol="sound",
    poolings,
    layers,
    batch_size,
    chunk,
    workers,
    dtype,
    shard=0,
    shards=1,
    device="cpu",
    code="",
):
    """Extract the features of one shard of a data set with a model, and write its feature store.

    Args:
        store: image store.
        row: the model's row of the registry.
        output: HDF5 file. While running, `<output>.partial` lies beside it; a killed job resumes from that.
        folder: where the model's files lie; None for the loader `local`, whose row names it.
        prompt_name, prompt: of the configuration; the options of :func:`geoprobe.models.prompts.make_prompt`, or
            None for an image alone.
        protocol: sound; or paper, which repeats what the paper did.
        poolings: names of :data:`geoprobe.models.pooling.POOLINGS`; a tower has those that it can have.
        layers: "all", a stride counted back from the last block, or numbers, negative ones from the end.
        batch_size: images a forward pass, of the larger images where their sizes differ; "auto" to measure it.
        chunk: images that are marked as done together.
        workers: processes that decode; 0 to decode in this one.
        dtype: float32 or float16, in which features are stored.
        shard, shards: which part of the images, counted from 0, of how many.
        device: torch device.
        code: digest of the code; what other code has left unfinished is not used.

    Raises:
        FloatingPointError: a feature is not finite; names layer and image.
        OverflowError: a feature is too large for float16; names layer and image.
        MemoryError: the model does not fit, or not one image beside it.
        OSError: the disk has no room for the features.
        ValueError: an image cannot be decoded, or nothing of what is asked for is there.
    """
    output, device = Path(output), torch.device(device)
    output.parent.mkdir(parents=True, exist_ok=True)
    offload = output.with_name(output.name + ".offload")
    _, ids = read_positions(store)
    rows = split_rows(len(ids), shard, shards)
    ids = ids[rows.start : rows.stop]
    try:
        model = load_placed(row, folder, prompt, protocol, device, offload)
        readings = choose_readings(model.towers, poolings, layers)
        datasets = list_datasets(model.towers, readings)
        attributes = {
            **_describe_model(model, row, readings),
            "images_digest": _digest_of(store),
            "prompt": prompt_name,
            "protocol": protocol,
            "storage_dtype": dtype,
            "poolings": json.dumps(list(poolings)),
            "layers": json.dumps(layers),
        }
        # what decides about the values; two runs, or two shards, that agree in it can go together
        making = attributes | {"prompt_options": prompt, "chunk": chunk, "shards": shards}
        making = json.dumps(making, sort_keys=True, default=str)
        key = hashlib.sha256(json.dumps([making, shard, code]).encode()).hexdigest()
        attributes |= {"making": making, "shard": f"{shard}/{shards}"}
        partial = partial_of(output)
        there = partial.stat().st_blocks * 512 if partial.is_file() else 0
        memory.check_disk(output, len(rows), datasets, np.dtype(dtype).itemsize, there)
        starts = range(0, len(rows), chunk)
        with open_partial(partial, key, ids, datasets, len(starts), dtype) as file:
            job = Job(store, model, readings, device, getattr(torch, row["dtype"]), workers, rows)
            done = file[DONE][:].astype(bool)
            left = [list(rows[start : start + chunk]) for start, whole in zip(starts, done, strict=True) if not whole]
            with contextlib.closing(job.batches), WriteBehind(file, ids, chunk, datasets) as writer:
                job.run(left, batch_size, writer, row["model"])
            if not file[DONE][:].all():
                raise RuntimeError(f"{partial}: chunks are missing after the last one was written")
            for name, value in (attributes | job.describe() | provenance()).items():
                file.attrs[name] = value
            # last: without it the file is whole, and a job that is stopped before this can still resume
            del file[DONE]
        partial.replace(output)
    finally:
        shutil.rmtree(offload, ignore_errors=True)
    print(f"{output}: {len(rows)} images, {len(datasets)} datasets")


def _digest_of(store):
    with h5py.File(store, "r") as file:
        return file.attrs["digest"]


def _describe_model(model, row, readings):
    """What is known of the model, for the feature store."""
    return {
        **model.attributes,
        "model": row["model"],
        "model_id": row["id"],
        "revision": row["revision"],
        "supervision": row["supervision"],
        "dtype": row["dtype"],
        "weights_digest": model.digest,
        "blocks": json.dumps({name: f"{tower.path}[{len(tower.blocks)}]" for name, tower in model.towers.items()}),
        "tokens": json.dumps({name: model.towers[name].note for name in readings}),
    }


class Job:
    """One run of a model over images, with what is measured on the way."""

    def __init__(self, store, model, readings, device, dtype, workers, rows):
        self.model, self.readings, self.device, self.dtype = model, readings, device, dtype
        self.workers, self.rows = workers, rows
        self.batches = Batches(store, model.prepare, model.collate)
        self.size, self.seen, self.seconds = None, 0, 0.0
        self.measure = self.reference = None
        if model.cost is not None and len(rows):
            self.measure = self._costs
            self.reference = max(self._costs(sample_rows(rows, SAMPLE)))

    def _costs(self, rows):
        return [self.model.cost(width, height) for width, height in self.batches.sizes(rows)]

    def _extract(self, batch):
        return extract_batch(self.model, batch, self.readings, self.device, self.dtype)

    def _devices(self):
        """The GPUs that the model lies on."""
        if self.device.type != "cuda":
            return []
        used = {weights.device for weights in self.model.module.parameters() if weights.is_cuda}
        return sorted(used, key=str) or [self.device]

    def _choose_size(self, batch_size):
        """Images a batch, as configured or measured with the costliest image of a sample."""
        if batch_size != "auto":
            return batch_size
        if self.device.type != "cuda" or not len(self.rows):
            return memory.PLAIN
        sample = sample_rows(self.rows, SAMPLE) if self.measure else [self.rows[0]]
        largest = max(zip(self._costs(sample), sample, strict=True))[1] if self.measure else sample[0]

        def run(count):
            # decoding errors are left to the run itself, which names the image
            for _, batch in load_batches(self.batches, [[largest] * count], workers=0):
                self._extract(batch)

        try:
            return memory.measure_batch(self._devices(), run)
        except torch.OutOfMemoryError as error:
            problem = str(error).partition("\n")[0]
        raise self._too_large(largest, problem)

    def run(self, chunks, batch_size, writer, name):
        """Extract what is left.

        Args:
            chunks: lists of row numbers of the image store.
            batch_size: a number or "auto".
            writer: a WriteBehind.
            name: of the model, for the progress bar.

        Raises:
            MemoryError: one image alone does not fit.
        """
        self.size = self._choose_size(batch_size)
        for device in self._devices():
            torch.cuda.reset_peak_memory_stats(device)
        todo, count = chunks, sum(map(len, chunks))
        start = time.monotonic()
        with tqdm(
            total=len(self.rows), initial=len(self.rows) - count, unit="image", desc=name, mininterval=5
        ) as progress:
            while todo:
                todo = self._run_until_full(todo, writer, progress)
        self.seen, self.seconds = count, time.monotonic() - start

    def _run_until_full(self, chunks, writer, progress):
        """Extract until all is done or memory is full; the rows that are left, for which `size` is smaller then."""
        finished = set()
        planned = schedule(chunks, self.size, self.measure, self.reference)
        loading = load_batches(self.batches, planned, self.workers, pin=self.device.type == "cuda")
        with contextlib.closing(loading):
            for rows, batch in loading:
                try:
                    pooled = self._extract(batch)
                except torch.OutOfMemoryError as error:
                    problem = str(error).partition("\n")[0]
                else:
                    writer.put([row - self.rows.start for row in rows], pooled)
                    finished.update(rows)
                    progress.update(len(rows))
                    continue
                # out of the handler, whose error holds on to what the pass had allocated
                self._shrink(rows, problem)
                break
        return without(chunks, finished)

    def _too_large(self, row, problem):
        return MemoryError(
            f"{self.device} has no memory for image {self.batches.name(row)} alone ({problem}); use a GPU with more "
            "memory, a lower dtype in the model's row, or a smaller model."
        )

    def _shrink(self, rows, problem):
        if len(rows) == 1:
            raise self._too_large(rows[0], problem)
        costs = self._costs(rows) if self.measure else None
        smaller = halve(self.size, rows, costs, self.reference)
        print(f"out of memory with {len(rows)} images; going on with batches of {smaller:g} instead of {self.size:g}")
        self.size = smaller
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def describe(self):
        """What the run used, for the feature store."""
        gpus = self._devices()
        peak = max(map(torch.cuda.max_memory_allocated, gpus)) / 2**20 if gpus else peak_mb()
        return {
            "device": ", ".join(map(torch.cuda.get_device_name, gpus)) or str(self.device),
            "batch_size": self.size,
            "workers": self.workers,
            "peak_memory_mb": peak,
            "seconds": self.seconds,
            "images_per_second": self.seen / self.seconds if self.seen else 0.0,
        }

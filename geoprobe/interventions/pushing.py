"""Steering a model by the directions of its probes: the forward passes, resumable, and the table."""

import contextlib
import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from geoprobe.features.batches import plan, sample_rows
from geoprobe.features.decoding import Batches, load_batches
from geoprobe.features.engine import SAMPLE, read_tower
from geoprobe.features.layout import Reading
from geoprobe.features.placing import load_placed
from geoprobe.images.store import read_positions
from geoprobe.interventions.directions import COLUMNS, adding, keeping, starting_after, summarise_steps
from geoprobe.interventions.push_plan import choose_images, list_variants, plan_pushes
from geoprobe.models.towers import reading_blocks
from geoprobe.probes.folds import unit_of
from geoprobe.probes.labels import join_on_ids, open_fits
from geoprobe.runtime import replacing


class _TowerRead(Exception):
    """All that is asked of a tower has been read: the rest of the pass is left out."""


@torch.inference_mode()
def read_stream(model, push, layers, batch, device, dtype, changes=()):
    """Features of some blocks of a tower, from one pass that ends with the last of them.

    Args:
        model: a LoadedModel.
        push: a Push.
        layers: numbers of the blocks that are read, in order.
        batch: on the device.
        device, dtype: torch device and dtype of the model's weights.
        changes: context managers of :mod:`geoprobe.interventions.directions` under which the pass runs.

    Returns:
        Layer to features, float32, shape (n, d).
    """
    tower, pooled = model.towers[push.tower], {}
    read = read_tower(push.tower, tower, Reading((push.pooling,), tuple(layers)), batch, pooled)

    def read_until_last(layer, stream):
        read(layer, stream)
        # a model that accelerate has spread cleans up behind its blocks, and is let through to its end
        if layer == layers[-1] and not model.placed:
            raise _TowerRead

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(_TowerRead))
        for change in changes:
            stack.enter_context(change)
        # after the changes, so that what is read is the changed stream
        stack.enter_context(reading_blocks(tower.blocks, layers, read_until_last))
        if dtype != torch.float32:
            stack.enter_context(torch.autocast(device.type, dtype))
        model.forward(batch)
    return {layer: values.cpu().numpy() for (_, _, layer), values in pooled.items()}


def can_start_late(model, push):
    """Whether passes may begin after a block: decoders may hand more from block to block than the stream."""
    return push.tower == "vision" and not model.placed


def count_passes(model, push, variants):
    """Forward passes, or parts of one, that :func:`push_batch` makes of a batch."""
    return 1 + len(push.blocks) * (can_start_late(model, push) + len(variants))


def push_batch(model, push, batch, fold, latitudes, variants, device, dtype, progress=None):
    """Steer one batch by every variant at every block of a tower.

    Args:
        model, push, device, dtype: as in :func:`read_stream`.
        batch: of n images, on the device.
        fold: index into the folds of the push of each image, shape (n,).
        latitudes: true ones in degrees, shape (n,).
        variants: of :func:`geoprobe.interventions.push_plan.list_variants`.
        progress: a tqdm bar that counts images times passes.

    Returns:
        A dict: "plain", unsteered predictions in degrees, shape (n, layers, 2); and of each steered block
        "moved/<block>", degrees by which predictions moved, float32, shape (n, variants, read-outs, 2), and
        "norms/<block>", length of the step over that of the token it was added to, shape (n, variants).
    """
    tower = model.towers[push.tower]

    def run(layers, *changes):
        values = read_stream(model, push, layers, batch, device, dtype, changes)
        if progress is not None:
            progress.update(len(fold))
        return values, np.stack([push.predict(layer, values[layer], fold) for layer in layers], axis=1)

    features, plain = run(push.layers)
    found = {"plain": plain}
    for block in push.blocks:
        layers = [layer for layer in push.layers if layer >= block]
        moved, norms, kept = [], [], []
        if can_start_late(model, push):
            run([block], keeping(tower, block, kept))
        for variant in variants:
            vectors = push.vectors(block, variant, fold, latitudes)
            added = torch.from_numpy(vectors.astype(np.float32)).to(device)
            start = [starting_after(tower, block, output) for output in kept]
            _, steered = run(layers, *start, adding(tower, block, push.pooling, batch, added))
            moved.append((steered - plain[:, -len(layers) :]).astype(np.float32))
            norms.append(np.linalg.norm(vectors, axis=1) / np.linalg.norm(features[block], axis=1))
        found[f"moved/{block}"], found[f"norms/{block}"] = np.stack(moved, axis=1), np.stack(norms, axis=1)
    return found


def push_positions(
    store,
    row,
    fits,
    folds,
    work,
    *,
    folder=None,
    prompt=None,
    protocol="sound",
    cv,
    poolings,
    options,
    device="cpu",
    workers=0,
    resamples,
    seed,
    code="",
):
    """Steer a model along its probes' directions and read the positions off all later blocks.

    An image is steered and read by the probes of the fold in which it is tested, which were trained without it.

    Args:
        store: image store.
        row: the model's row of the registry, with its name as `model`.
        fits: file of fits of a ridge regression on degrees.
        folds: folds table.
        work: folder for what is done so far, from which a killed run goes on; removed at the end.
        folder, prompt, protocol: as in :func:`geoprobe.models.loading.load_model`.
        cv: cross-validation.
        poolings: names, the preferred first; of each tower the first of cls and last among them is used.
        options: `blocks` ("all" or numbers, negative ones from the end), `km` (distances, taken both ways),
            `random_seeds` (number of random directions), `images` (at most so many) and `batch_size`.
        device: torch device.
        workers: processes that decode; 0 to decode in this one.
        resamples, seed: of the bootstrap over blocks (countries where these were held out).
        code: digest of the code; what other code has done so far is not used.

    Returns:
        A frame with the columns of :data:`geoprobe.interventions.directions.COLUMNS`. Means over images:
        moved_north_km and moved_east_km, what a read-out's prediction moved by, low and high, the interval of that of
        the asked direction, and share_moved, its share of what was asked. rms_km is the root mean square of the same,
        in which moves of either sign do not cancel. relative_norm is the median length of the step over that of the
        token. r2_before and r2_after, without and with the step, are against the true positions; r2_realigned, with
        the mean move taken off again, says whether the read-out still tells images apart. A cross-validation that the
        data set cannot have gives a row with images 0 and the reason.

    Raises:
        ValueError: the files are not of the same images, nothing can be steered, or an option is wrong.
        MemoryError: the model does not fit.
    """
    work, device = Path(work), torch.device(device)
    variants = list_variants(options["km"], options["random_seeds"])
    positions, ids = read_positions(store)
    table = join_on_ids(ids, pd.read_parquet(folds), folds)
    with open_fits(fits, ids) as file:
        pushes = plan_pushes(file, poolings, options["blocks"], cv)
    fold, units = table[cv].to_numpy(), table[unit_of(cv)].to_numpy()
    frames, ready = [], []
    for push in pushes:
        rows = choose_images(fold, push.folds, options["images"])
        if rows:
            ready.append((push, rows))
            continue
        reason = table.attrs.get("impossible", {}).get(cv, "nothing could be fitted in any fold")
        empty = {"tower": push.tower, "pooling": push.pooling, "cv": cv, "images": 0, "reason": reason}
        frames.append(pd.DataFrame([empty], columns=COLUMNS))
    if ready:
        model = load_placed(row, folder, prompt, protocol, device, work / "offload")
    for push, rows in ready:
        found = _run(store, row, model, push, rows, fold, positions, variants, options, device, workers, work, code)
        for block in push.blocks:
            frames.append(
                summarise_steps(
                    {"tower": push.tower, "pooling": push.pooling, "block": block, "cv": cv},
                    [layer for layer in push.layers if layer >= block],
                    variants,
                    found[f"moved/{block}"].transpose(1, 2, 0, 3),
                    found[f"norms/{block}"].T,
                    found["plain"].transpose(1, 0, 2)[push.layers.index(block) :],
                    positions[rows],
                    units[rows],
                    resamples,
                    seed,
                )
            )
    shutil.rmtree(work, ignore_errors=True)
    return pd.concat(frames, ignore_index=True)


def _run(store, row, model, push, rows, fold, positions, variants, options, device, workers, work, code):
    """What :func:`push_batch` finds, over all rows in order; each batch is kept in the folder until all are there."""
    dtype = getattr(torch, row["dtype"])
    batches = Batches(store, model.prepare, model.collate)
    costs = reference = None
    if model.cost is not None:
        costs = [model.cost(width, height) for width, height in batches.sizes(rows)]
        reference = max(sample_rows(costs, SAMPLE))
    planned = plan(rows, options["batch_size"], costs, reference)
    with h5py.File(store, "r") as file:
        making = [file.attrs["digest"], model.digest, model.attributes, row["dtype"], push.tower, push.pooling, push.cv]
    making += [push.layers, push.blocks, variants, planned, str(device), code]
    key = hashlib.sha256(json.dumps(making, default=str).encode())
    for part in (push.slopes, push.offsets, fold[rows]):
        key.update(np.ascontiguousarray(part))
    parts = work / f"{push.tower}-{key.hexdigest()[:16]}"
    for stale in work.glob(f"{push.tower}-*"):
        if stale != parts:
            shutil.rmtree(stale)
    paths = {batch[0]: parts / f"{batch[0]}.npz" for batch in planned}
    left = [batch for batch in planned if not paths[batch[0]].exists()]
    passes = count_passes(model, push, variants)
    done = passes * (len(rows) - sum(map(len, left)))
    place = {number: at for at, number in enumerate(push.folds.tolist())}
    loading = load_batches(batches, left, workers, pin=device.type == "cuda")
    bar = tqdm(total=passes * len(rows), initial=done, unit="pass", desc=f"steer {push.tower}", mininterval=5)
    with bar as progress, contextlib.closing(batches), contextlib.closing(loading):
        for some, batch in loading:
            low = dtype != torch.float32
            moved = {
                name: value.to(device, dtype if low and value.is_floating_point() else None)
                for name, value in batch.items()
            }
            index = np.array([place[number] for number in fold[some].tolist()])
            found = push_batch(model, push, moved, index, positions[some, 0], variants, device, dtype, progress)
            with replacing(paths[some[0]]) as temporary, open(temporary, "wb") as file:
                np.savez(file, rows=np.array(some), **found)
    loaded = []
    for batch in planned:
        with np.load(paths[batch[0]]) as part:
            loaded.append(dict(part))
    order = np.argsort(np.concatenate([part["rows"] for part in loaded]))
    return {name: np.concatenate([part[name] for part in loaded])[order] for name in loaded[0]}

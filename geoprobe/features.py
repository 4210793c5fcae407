"""Extract layer-wise features in a single forward pass an image, resumably, into a feature store."""

import contextlib
import hashlib
import json
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm import tqdm

from geoprobe.feature_store import DONE, open_partial
from geoprobe.images.store import read_images, read_positions
from geoprobe.models.loading import load_model
from geoprobe.models.towers import pool_tokens, residual_streams
from geoprobe.runtime import provenance


def _layout(model, poolings):
    """(tower, pooling, layer) of every dataset, and its width."""
    return [
        (name, pooling, layer, tower.width)
        for name, tower in model.towers.items()
        for pooling in poolings
        for layer in range(len(tower.blocks))
    ]


@torch.inference_mode()
def extract_batch(model, images, poolings, device):
    """Features of one batch, from one forward pass.

    Args:
        model: a LoadedModel on the device.
        images: preprocessed images, shape (n, 3, h, w).
        poolings: names of poolings.
        device: torch device.

    Returns:
        A dict from (tower, pooling, layer) to float32 array (n, width).
    """
    features = {}
    with contextlib.ExitStack() as stack:
        streams = {name: stack.enter_context(residual_streams(tower.blocks)) for name, tower in model.towers.items()}
        model.module(images.to(device))
    for name, tower in model.towers.items():
        for layer, stream in enumerate(streams[name]):
            for pooling in poolings:
                features[name, pooling, layer] = pool_tokens(stream, pooling, tower.prefix).cpu().numpy()
    return features


def extract_features(store, row, prompt, output, poolings, batch_size, chunk, device="cpu"):
    """Extract the features of a data set with a model, and write the feature store.

    Args:
        store: image store.
        row: the model's row of the registry.
        prompt: name of the prompt; `none` for an image alone.
        output: HDF5 file. While running, `<output>.partial` lies beside it; a killed job resumes from that.
        poolings: names of poolings.
        batch_size: images a forward pass.
        chunk: images written and flushed at a time.
        device: torch device.

    Raises:
        FloatingPointError: a feature is not finite; names layer and image.
    """
    model = load_model(row)
    model.module.to(device)
    _, ids = read_positions(store)
    with h5py.File(store, "r") as file:
        digest = file.attrs["digest"]
    layout = _layout(model, poolings)
    starts = range(0, len(ids), chunk)
    key = hashlib.sha256(json.dumps([digest, model.digest, prompt, layout, chunk]).encode()).hexdigest()
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    begin, seen = time.monotonic(), 0
    with open_partial(partial, key, ids, layout, len(starts)) as file:
        done = file[DONE][:].astype(bool)
        progress = tqdm(total=len(ids), unit="image", desc=row["model"], mininterval=5)
        for number, start in enumerate(starts):
            stop = min(start + chunk, len(ids))
            if not done[number]:
                _write_chunk(file, model, store, ids, range(start, stop), poolings, batch_size, device)
                file.flush()
                # only now, so that a chunk that counts as done is whole on disk
                file[DONE][number] = 1
                file.flush()
                seen += stop - start
            progress.update(stop - start)
        progress.close()
        if not file[DONE][:].all():
            raise RuntimeError(f"{partial}: chunks are missing after the last one was written")
        for name, value in _attributes(model, row, prompt, digest, device, seen / (time.monotonic() - begin)).items():
            file.attrs[name] = value
        # last: without it the file is whole, and a job that is stopped before this can still resume
        del file[DONE]
    partial.replace(output)
    print(f"{output}: {len(ids)} images, {len(layout)} datasets")


def _write_chunk(file, model, store, ids, rows, poolings, batch_size, device):
    images = read_images(store, rows)
    for start in range(rows.start, rows.stop, batch_size):
        stop = min(start + batch_size, rows.stop)
        batch = torch.stack([model.preprocess(next(images)) for _ in range(start, stop)])
        for (tower, pooling, layer), values in extract_batch(model, batch, poolings, device).items():
            finite = np.isfinite(values).all(axis=1)
            if not finite.all():
                raise FloatingPointError(
                    f"{tower}/{pooling}/{layer}: a feature of image {ids[start + int(np.argmin(finite))]} is not finite"
                )
            file[f"{tower}/{pooling}/{layer}"][start:stop] = values


def _attributes(model, row, prompt, digest, device, throughput):
    return {
        "model": row["model"],
        "model_id": row["id"],
        "revision": row["revision"],
        "supervision": row["supervision"],
        "weights_digest": model.digest,
        "images_digest": digest,
        "dtype": "float32",
        "blocks": json.dumps({name: f"{tower.path}[{len(tower.blocks)}]" for name, tower in model.towers.items()}),
        "tokens": "cls: token 0; mean: all tokens but the prefix",
        "prompt": prompt,
        "device": str(device),
        "images_per_second": throughput,
        **model.attributes,
        **provenance(),
    }

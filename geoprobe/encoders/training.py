"""Train one encoder with one objective for a fixed number of image presentations."""

import hashlib
import json
import math
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from geoprobe.encoders.architecture import MEAN, STD, build_encoder, normalise, save_encoder
from geoprobe.encoders.objectives import OBJECTIVES
from geoprobe.encoders.text import build_vocabulary, encode_captions
from geoprobe.runtime import replacing, write_table

CHECKPOINT = "checkpoint.pt"


def plan_epochs(images, presentations, batch_size, views):
    """How many epochs and steps spend the presentations: an objective with two views takes half the steps.

    Returns:
        steps_per_epoch, steps. The last epoch may be cut short.

    Raises:
        ValueError: a batch is larger than the data set.
    """
    if images < batch_size:
        raise ValueError(
            f"encoders.training.batch_size is {batch_size}, but the pretraining set has {images} images. "
            "Lower the batch size or ask for more tiles."
        )
    return images // batch_size, max(1, presentations // (batch_size * views))


def learning_rate(step, steps, peak, warmup):
    """Linear warm-up over a share of the steps, then a half cosine to zero (Loshchilov and Hutter 2017)."""
    warm = max(1, round(steps * warmup))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _generator(seed, epoch):
    # Order, views and masks of an epoch depend on the seed and the epoch alone, so that a resumed training
    # needs no state of a generator and equals an undisturbed one.
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def _digest(*values):
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def train_encoder(folder, images, captions, objective, architecture, training, seed, device="cpu", origin="", code=""):
    """Train an encoder and write it into a folder: model.safetensors, config.json, history.csv.

    Args:
        folder: where to write; a checkpoint lies there after each epoch, until the training is whole.
        images: uint8 pixels, shape (n, 3, size, size).
        captions: a caption for each image, or None for an objective without text.
        objective: its configuration: `objective` (random, masked, contrastive or text) and its options.
        architecture: keywords of :func:`build_encoder` but the seed.
        training: the common budget: presentations, batch_size, learning_rate, weight_decay, warmup, crop, colour.
        seed: of the weights, the order, the views and the masks.
        device: torch device.
        origin: digest of the images and captions; a checkpoint of others is not resumed.
        code: digest of the code; a checkpoint of other code is not resumed.

    Raises:
        ValueError: the objective needs captions and there are none, or the data set is smaller than a batch.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    encoder = build_encoder(**architecture, seed=seed)
    config = {
        "architecture": architecture,
        "objective": objective,
        "training": training,
        "seed": seed,
        "mean": MEAN,
        "std": STD,
        "pretraining_digest": origin,
    }
    history = []
    if objective["objective"] == "random":
        config["presentations"] = 0
    else:
        if objective["objective"] == "text" and captions is None:
            raise ValueError("objective text needs captions; name a caption set of the pretraining store")
        history, config["presentations"] = _fit(folder, encoder, images, captions, config, device, code)
    write_table(pd.DataFrame(history, columns=["epoch", "presentations", "loss"]), folder / "history.csv")
    save_encoder(folder, encoder, config)
    for left in folder.glob(f"{CHECKPOINT}*"):  # with those of jobs killed while they wrote one
        left.unlink(missing_ok=True)


def _fit(folder, encoder, images, captions, config, device, code):
    training, objective, seed = config["training"], config["objective"], config["seed"]
    vocabulary, tokens, labels = [], None, None
    if captions is not None:
        vocabulary = build_vocabulary(captions)
        tokens = encode_captions(captions, vocabulary)
        labels = torch.from_numpy(pd.factorize(pd.Series(captions))[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        model = OBJECTIVES[objective["objective"]](encoder, {**training, **objective}, vocabulary).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training["learning_rate"], weight_decay=training["weight_decay"], betas=(0.9, 0.95)
    )
    per_epoch, steps = plan_epochs(len(images), training["presentations"], training["batch_size"], model.views)
    digest = _digest(config, code)
    start, history = _resume(folder, model, optimizer, digest)
    batch = training["batch_size"]
    progress = tqdm(
        total=steps * batch * model.views,
        initial=min(steps, start * per_epoch) * batch * model.views,
        unit="image",
        desc=folder.name,
        mininterval=5,
    )
    model.train()
    for epoch in range(start, math.ceil(steps / per_epoch)):
        generator = _generator(seed, epoch)
        order = torch.randperm(len(images), generator=generator)
        losses = []
        for step in range(epoch * per_epoch, min(steps, (epoch + 1) * per_epoch)):
            rows = order[(step - epoch * per_epoch) * batch :][:batch]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, training["learning_rate"], training["warmup"])
            loss = model.loss(
                normalise(images[rows].to(device)),
                None if tokens is None else tokens[rows].to(device),
                None if labels is None else labels[rows].to(device),
                generator,
            )
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"{folder.name}: the loss is {loss.item()} at step {step}; lower encoders.training.learning_rate"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            progress.update(batch * model.views)
            progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        done = min(steps, (epoch + 1) * per_epoch) * batch * model.views
        history.append([epoch, done, sum(losses) / len(losses)])
        _write_checkpoint(folder, model, optimizer, digest, epoch + 1, history)
    progress.close()
    model.to("cpu")
    return history, steps * batch * model.views


def _write_checkpoint(folder, model, optimizer, digest, epoch, history):
    content = {
        "digest": digest,
        "epoch": epoch,
        "history": history,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    # a file of Python's own says that the disk is full, where torch's says that it is at an unexpected place
    with replacing(folder / CHECKPOINT) as temporary, open(temporary, "wb") as file:
        torch.save(content, file)


def _resume(folder, model, optimizer, digest):
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0, []
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # a damaged file may raise anything; the training can always start anew
        print(f"{path}: cannot be read ({type(error).__name__}: {error}); training starts anew")
        return 0, []
    if state["digest"] != digest:
        print(f"{path}: made with other options, images or code; training starts anew")
        return 0, []
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"{path}: resumed after epoch {state['epoch']}")
    return state["epoch"], state["history"]

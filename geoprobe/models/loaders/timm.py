"""Loader `timm`: any model of timm that is a stack of blocks over prefix tokens and patches."""

import contextlib
import logging
import re

import timm
import torch

from geoprobe.models.loaders.patches import patch_tower, refuse_placement, refuse_random_weights, weights_for
from geoprobe.models.loading import LoadedModel
from geoprobe.models.towers import find_blocks
from geoprobe.models.untrained import digest_model, draw
from geoprobe.models.weights import is_random


class Transformed:
    """An image transform as `prepare`: {"pixel_values": its result}."""

    def __init__(self, transform):
        self.transform = transform

    def __call__(self, image, image_id):
        """{"pixel_values": float32, shape (3, height, width)} of an RGB image."""
        return {"pixel_values": self.transform(image)}


@contextlib.contextmanager
def missing_weights():
    """Names of weights that timm does not find while it loads a model, as a set that fills.

    For some models (SigLIP without its pooling) timm does not insist on all weights, and says only in its log which
    it did not find.
    """
    names = set()

    class Reader(logging.Handler):
        def emit(self, record):
            if found := re.match(r"Missing keys \((.*?)\)", record.getMessage()):
                names.update(found[1].split(", "))

    log, reader = logging.getLogger("timm.models._builder"), Reader()
    level = log.level
    log.addHandler(reader)
    log.setLevel(logging.INFO)
    try:
        yield names
    finally:
        log.removeHandler(reader)
        log.setLevel(level)


def timm_tower(model, protocol, name=""):
    """The tower of a model of timm.

    Args:
        model: of timm.
        protocol: sound or paper.
        name: of the model in the module that holds it, "" for itself.

    Raises:
        ValueError: the model's blocks do not share one stream of tokens.
    """
    # timm says of each block (of a hierarchical model: each stage) how wide it is and how much it shrinks the image
    stages = [(info["num_chs"], info["reduction"]) for info in getattr(model, "feature_info", None) or []]
    if len(set(stages)) != 1:
        shapes = ", ".join(f"(images, {width}, height/{step}, width/{step})" for width, step in stages) or "unknown"
        raise ValueError(
            f"{type(model).__name__} of timm is no stack of blocks with one stream of the shape (images, tokens, "
            f"width): its stages have the shapes {shapes}; it cannot be read layer by layer"
        )
    width, step = stages[0]
    path, blocks = find_blocks(model, len(stages))
    steps = step if isinstance(step, tuple | list) else (step, step)

    def patches(batch):
        height, width = batch["pixel_values"].shape[-2:]
        return (height // steps[0]) * (width // steps[1])

    return patch_tower(
        model,
        f"{name}.{path}" if name else path,
        blocks,
        width=width,
        prefix=getattr(model, "num_prefix_tokens", 0),
        has_class=getattr(model, "cls_token", None) is not None,
        patches=patches,
        protocol=protocol,
    )


def build(row, folder, pretrained=False):
    """The model of timm that a folder's config.json describes.

    Args:
        row: of the registry; not used.
        folder: in the layout of timm's repositories on the hub.
        pretrained: with the weights in the folder; else with timm's own initialisation.

    Raises:
        ValueError: it is unknown to this release of timm, or the weights are another model's.
    """
    try:
        # with its classifier: without, timm insists on no weights at all
        return timm.create_model(f"local-dir:{folder}", pretrained=pretrained)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: timm {timm.__version__} cannot load it: {reason}") from error


def load_weights(row, folder):
    """The model in a folder with its weights, read or random as the row says, and names of those that the files lack.

    Raises:
        ValueError: see :func:`build`; or the files hold no weights that the row allows.
    """
    if is_random(row):
        return draw(row, folder, lambda: build(row, folder)), set()
    weights_for(row, folder, "timm")
    with missing_weights() as missing:
        return build(row, folder, pretrained=True), missing


def load(row, folder, prompt=None, protocol="sound", placement=None):
    """Load a model of timm from a folder with its config.json and weights.

    Args:
        row: of the registry; its `dtype` and `weights` are used.
        folder: in the layout of timm's repositories on the hub.
        prompt: not used: no text passes these models.
        protocol: sound or paper.
        placement: must be empty.

    Raises:
        ValueError: the model is unknown to this release of timm or cannot be read layer by layer, or the files lack
            some of its weights.
    """
    refuse_placement(row, placement)
    model, missing = load_weights(row, folder)
    tower = timm_tower(model, protocol)
    refuse_random_weights(model, tower.path, missing, folder)
    dtype = getattr(torch, row["dtype"])
    model.to(dtype)
    data = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**data, is_training=False)
    return LoadedModel(
        module=model,
        prepare=Transformed(transform),
        # the head comes after the blocks
        forward=lambda batch: model.forward_features(batch["pixel_values"].to(dtype)),
        towers={"vision": tower},
        attributes={
            "class": f"{type(model).__module__}.{type(model).__name__}",
            "preprocessing": f"timm's evaluation transform, PIL: {' '.join(str(transform).split())}",
        },
        digest=digest_model(row, folder, "timm"),
    )

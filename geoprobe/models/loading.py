"""What a loader gives: a frozen model, how an image becomes its input, and where its towers are."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from geoprobe.models.registry import loader_of, seed_of
from geoprobe.models.weights import DTYPES, is_random, weights_bytes


@dataclass
class Tower:
    """One stack of transformer blocks.

    Attributes:
        blocks: the modules whose outputs are the residual stream, first to last.
        path: dotted name of their container in the model.
        width: of the residual stream.
        poolings: those of :data:`geoprobe.models.pooling.POOLINGS` that this tower has.
        tokens: from a batch (as `collate` gives it, on the device) and the stream of one block to the
            :class:`geoprobe.models.pooling.TokenMap` that says which tokens are which image's.
        note: the same in words, for the feature store.
    """

    blocks: Sequence
    path: str
    width: int
    poolings: tuple
    tokens: Callable
    note: str


def stack_inputs(inputs):
    """Inputs of single images, all of one shape, as a batch: each tensor stacked along a new first axis.

    Raises:
        ValueError: shapes differ: the model's preprocessing leaves images as unlike as they are.
    """
    for name in inputs[0]:
        shapes = dict.fromkeys(tuple(one[name].shape) for one in inputs)
        if len(shapes) > 1:
            raise ValueError(
                f"{name} of the images of one batch have the shapes {', '.join(map(str, shapes))}: this model's "
                "preprocessing brings images to no common size, so give it batch_size: 1"
            )
    return {name: torch.stack([one[name] for one in inputs]) for name in inputs[0]}


@dataclass
class LoadedModel:
    """A model ready for extraction.

    Attributes:
        module: in evaluation mode, without gradients, its weights in the row's dtype.
        prepare: from an RGB PIL image and its id to a dict of tensors, the model's input for that image alone.
            Runs in worker processes, so it can be pickled; the same image and id give the same tensors.
        forward: from a batch on the device to nothing; one pass through every block of every tower.
        towers: tower name (vision, text) to Tower, in the order in which the image passes them.
        collate: from a list of what `prepare` gives to a batch, a dict of tensors. Can be pickled.
        cost: from an image's width and height in pixels to the number of tokens it will take, where that
            depends on them; None where every image takes the same.
        attributes: class, preprocessing and its backend, ... for the feature store.
        digest: changes with the weights; of random ones, with what they are drawn from.
        placed: the module lies on its devices already (accelerate has spread it) and is not to be moved.
        generate: of a model that writes text: from a batch on the device and a number of tokens to their ids, shape
            (n, tokens), greedily; with `lengths` (tokens of each row up to its end) and `decode` (their texts).
            None for any other model.
    """

    module: torch.nn.Module
    prepare: Callable
    forward: Callable
    towers: dict
    collate: Callable = stack_inputs
    cost: Callable | None = None
    attributes: dict = field(default_factory=dict)
    digest: str = ""
    placed: bool = False
    generate: Callable | None = None


def load_model(row, folder=None, prompt=None, protocol="sound", placement=None):
    """Load the model of a registry row.

    Args:
        row: of the registry.
        folder: where its files lie; for a row of the loader `local`, the folder that its id names.
        prompt: of :func:`geoprobe.models.prompts.make_prompt`, for a model that takes text beside the image.
        protocol: sound; or paper, which repeats what the paper did.
        placement: keywords of accelerate's dispatch (device_map, max_memory, offload_folder) for a model that
            does not fit on one device.

    Raises:
        ValueError: the files are not those of a model that can be read layer by layer; says which and why.
    """
    folder = folder or row["id"]
    loader = importlib.import_module(loader_of(row, folder))
    model = loader.load(row, folder, prompt=prompt, protocol=protocol, placement=placement)
    model.module.eval().requires_grad_(False)
    model.attributes["parameters"] = count_parameters(model.module)
    if is_random(row):
        model.attributes["weights"] = f"random, seed {seed_of(row)}"
    return model


def count_parameters(module):
    """Number of weights of a module, those that are shared between its parts once."""
    return sum(weight.numel() for weight in module.parameters())


def model_bytes(row, folder):
    """Bytes that the weights of a row's model take in memory, before it is loaded.

    Args:
        row: of the registry.
        folder: where its files lie.

    Raises:
        ValueError: weights are to be read and are not there, or the files are not those of the row's loader.
    """
    if row["weights"] not in ("random", "none"):
        return weights_bytes(folder, row["dtype"], row["loader"])
    loader = importlib.import_module(loader_of(row, folder))
    # shapes without numbers
    with torch.device("meta"):
        module = loader.build(row, folder)
    return sum(
        weight.numel() * (DTYPES[row["dtype"]] if weight.is_floating_point() else weight.element_size())
        for weight in module.parameters()
    )

"""What a loader gives: a frozen model, its preprocessing, and where its towers are."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from geoprobe.models.registry import LOADERS


@dataclass
class Tower:
    """One stack of transformer blocks.

    Attributes:
        blocks: the modules whose outputs are the residual stream, first to last.
        path: dotted name of their container in the model.
        prefix: tokens before the image's own (class token, registers); token 0 is the class token if prefix > 0.
        width: of the residual stream.
    """

    blocks: torch.nn.ModuleList
    path: str
    prefix: int
    width: int


@dataclass
class LoadedModel:
    """A model ready for extraction.

    Attributes:
        module: in evaluation mode, without gradients.
        preprocess: PIL image to float tensor (3, h, w).
        towers: tower name (vision, text) to Tower.
        attributes: model id, revision, class, preprocessing, ... for the feature store.
        digest: changes with the weights.
    """

    module: torch.nn.Module
    preprocess: Callable
    towers: dict
    attributes: dict = field(default_factory=dict)
    digest: str = ""


def load_model(row):
    """Load the model of a registry row."""
    model = importlib.import_module(LOADERS[row["loader"]]).load(row)
    model.module.eval().requires_grad_(False)
    return model

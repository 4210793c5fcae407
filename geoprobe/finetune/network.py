"""A vision tower with a linear head, and the inputs that it is trained on."""

import contextlib

import torch
from torch import nn

from geoprobe.features.decoding import Batches, load_batches
from geoprobe.finetune.evaluation import TOWER
from geoprobe.models.loading import load_model, stack_inputs
from geoprobe.models.pooling import POOLINGS, gather_tokens, pool_tokens
from geoprobe.models.towers import reading_blocks


class Backbone(nn.Module):
    """A model's vision tower: from a batch to the summary of its last block, float32, shape (n, width).

    Attributes:
        model: the LoadedModel.
        pooling: by which the tokens of the last block are summarised.
        width: of the summary.
    """

    def __init__(self, model, pooling):
        super().__init__()
        self.module, self.model, self.pooling = model.module, model, pooling
        self.width = model.towers[TOWER].width * POOLINGS[pooling]

    def forward(self, batch):
        tower, streams = self.model.towers[TOWER], []
        with reading_blocks(tower.blocks, [len(tower.blocks) - 1], lambda _layer, stream: streams.append(stream)):
            self.model.forward(batch)
        tokens = tower.tokens(batch, streams[-1])
        return pool_tokens(gather_tokens(streams[-1], tokens), tokens, self.pooling)


class Stored(nn.Module):
    """In the place of a backbone that is not trained: its summaries, computed once."""

    def forward(self, batch):
        return batch["summary"]


class Network(nn.Module):
    """A backbone and a linear head; from a batch to logits, shape (n, classes).

    What a block returns has not passed the model's own last norm, and its scale is the model's own, so a LayerNorm
    stands before the linear layer.
    """

    def __init__(self, backbone, width, classes, seed):
        super().__init__()
        self.backbone = backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, batch):
        return self.head(self.backbone(batch))


def load_backbone(row, folder, protocol, poolings, device):
    """The vision tower of a model, its weights in float32, on the device.

    Args:
        row: of the registry. Its dtype is that of a model that is only read; one that is trained has its weights in
            float32, as small steps are lost on fewer digits.
        folder: where its files lie; None for the loader `local`.
        protocol: sound; or paper.
        poolings: names of :data:`geoprobe.models.pooling.POOLINGS`, the preferred first.
        device: torch device.

    Returns:
        A Backbone in evaluation mode, without gradients. The decoder's blocks of a multimodal model are dropped.

    Raises:
        ValueError: the model has no vision tower of blocks, or the tower none of the poolings.
    """
    model = load_model({**row, "dtype": "float32"}, folder, protocol=protocol)
    if TOWER not in model.towers or not any(True for _ in model.module.parameters()):
        raise ValueError(f'model "{row["model"]}" has no weights of a vision tower to train; leave it out of finetune')
    tower = model.towers[TOWER]
    pooling = next((name for name in poolings if name in tower.poolings), None)
    if pooling is None:
        raise ValueError(
            f'finetune.poolings is {", ".join(poolings)}, but the vision tower of "{row["model"]}" has '
            f"{', '.join(tower.poolings)}; add one of these"
        )
    for name, other in model.towers.items():
        if name != TOWER:  # it comes after the image and would take most of the memory
            parent, _, child = other.path.rpartition(".")
            setattr(model.module.get_submodule(parent), child, nn.ModuleList())
            other.blocks = ()
    return Backbone(model, pooling).to(device)


def mark_trained(backbone, batch):
    """Let those weights be trained that the summary depends on; others, such as those of the last norm, have no part.

    Args:
        backbone: a Backbone.
        batch: any, on its device.

    Returns:
        Number of weights that are trained.

    Raises:
        ValueError: there are none.
    """
    backbone.requires_grad_(True)
    backbone(batch).sum().backward()
    count = 0
    for parameter in backbone.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        count += parameter.numel() if parameter.requires_grad else 0
    backbone.zero_grad(set_to_none=True)
    if not count:
        raise ValueError(f"{type(backbone.module).__name__}: no weight has a part in its last block")
    return count


def _as_list(inputs):
    return inputs


class Inputs:
    """What a model takes of single images, prepared once and kept as far as memory allows.

    Args:
        store: image store.
        model: a LoadedModel.
        workers: processes that decode; 0 for this one.
        budget: bytes that may be kept.
    """

    def __init__(self, store, model, workers, budget):
        self.source = Batches(store, model.prepare, _as_list)
        self.collate, self.workers, self.budget, self.kept = model.collate, workers, budget, {}

    def load(self, planned):
        """Yield rows and a list of their inputs for each of the planned lists of row numbers, each row in one."""
        missing = [[row for row in rows if row not in self.kept] for rows in planned]
        loading = load_batches(self.source, [rows for rows in missing if rows], self.workers)
        with contextlib.closing(loading):
            for rows, lacking in zip(planned, missing, strict=True):
                fresh = dict(zip(*next(loading), strict=True)) if lacking else {}
                yield rows, [fresh[row] if row in fresh else self.kept[row] for row in rows]
                for row, inputs in fresh.items():
                    size = sum(value.nbytes for value in inputs.values())
                    if size <= self.budget:
                        self.budget -= size
                        # not as workers sent it, which holds a file open
                        self.kept[row] = {name: value.clone() for name, value in inputs.items()}


class Summaries:
    """Summaries of a backbone in the place of Inputs.

    Args:
        values: by row number, float32, shape (width,).
    """

    collate = staticmethod(stack_inputs)

    def __init__(self, values):
        self.values = values

    def load(self, planned):
        """As :meth:`Inputs.load`."""
        for rows in planned:
            yield rows, [{"summary": self.values[row]} for row in rows]


def cut_passes(inputs, collate, most):
    """Yield places and batch of images that go through a model together.

    Args:
        inputs: of images, a list of dicts of tensors.
        collate: of the model. One that only stacks gets images of one shape at a time.
        most: images a pass.
    """
    alike = {}
    for place, one in enumerate(inputs):
        shape = tuple(tuple(value.shape) for value in one.values()) if collate is stack_inputs else ()
        alike.setdefault(shape, []).append(place)
    for places in alike.values():
        for start in range(0, len(places), most):
            taken = places[start : start + most]
            yield taken, collate([inputs[place] for place in taken])

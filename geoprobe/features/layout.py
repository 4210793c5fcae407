"""What is read of a model: which layers and poolings of which tower, and how large that is."""

from dataclasses import dataclass

from geoprobe.models.pooling import POOLINGS


@dataclass
class Reading:
    """What is read of one tower: its poolings, and its layers in order."""

    poolings: tuple
    layers: tuple


def choose_layers(layers, depth):
    """Numbers of the blocks that are read, in order.

    Args:
        layers: "all"; a stride, counted back from the last block, which is always read; or a list of numbers, of
            which negative ones count from the end and those that there are not are left out.
        depth: number of blocks.
    """
    if layers == "all":
        return tuple(range(depth))
    if isinstance(layers, int):
        if layers < 1:
            raise ValueError(f"features.layers is {layers}; a stride is at least 1")
        return tuple(reversed(range(depth - 1, -1, -layers)))
    counted = {layer if layer >= 0 else depth + layer for layer in layers}
    return tuple(sorted(layer for layer in counted if 0 <= layer < depth))


def choose_readings(towers, poolings, layers):
    """What is read of each tower; a tower of which nothing is read is left out.

    Args:
        towers: name to Tower.
        poolings: names of POOLINGS; those that a tower lacks are left out for it.
        layers: see :func:`choose_layers`.

    Raises:
        ValueError: no tower has any of the poolings, or any of the layers; says what there is.
    """
    asked = tuple(dict.fromkeys(poolings))
    unknown = [name for name in asked if name not in POOLINGS]
    if unknown:
        raise ValueError(f'features.poolings has "{unknown[0]}"; allowed: {", ".join(POOLINGS)}')
    readings = {
        name: Reading(
            tuple(pooling for pooling in asked if pooling in tower.poolings), choose_layers(layers, len(tower.blocks))
        )
        for name, tower in towers.items()
    }
    if not any(reading.poolings for reading in readings.values()):
        has = "; ".join(f"{name} has {', '.join(tower.poolings)}" for name, tower in towers.items())
        raise ValueError(f"features.poolings is {', '.join(asked)}, but no tower of the model has one of these: {has}")
    if not any(reading.layers for reading in readings.values()):
        has = "; ".join(f"{name} has {len(tower.blocks)} blocks" for name, tower in towers.items())
        raise ValueError(f"features.layers is {list(layers)}, but no tower of the model has one of these: {has}")
    kept = {name: reading for name, reading in readings.items() if reading.poolings and reading.layers}
    if not kept:
        raise ValueError("features: no tower of the model has both one of the poolings and one of the layers")
    return kept


def list_datasets(towers, readings):
    """(tower, pooling, layer, width) of every dataset of the feature store."""
    return [
        (name, pooling, layer, POOLINGS[pooling] * towers[name].width)
        for name, reading in readings.items()
        for pooling in reading.poolings
        for layer in reading.layers
    ]

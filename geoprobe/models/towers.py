"""Where the residual stream is: the blocks of a tower, found by structure, read by hooks."""

import contextlib

from torch import nn

# What configurations call the number of blocks.
DEPTHS = ("num_hidden_layers", "depth", "num_layers", "n_layer")


def depth_of(config):
    """Number of blocks by a model's own configuration.

    Raises:
        ValueError: the configuration does not say.
    """
    for name in DEPTHS:
        if isinstance(depth := getattr(config, name, None), int):
            return depth
    raise ValueError(f"{type(config).__name__} has none of {', '.join(DEPTHS)}: how many blocks it has is unknown")


def find_part(module, config):
    """The outermost part of a model that was made from a part of its configuration, such as its vision tower.

    Returns:
        Dotted name ("" for the model itself) and module.

    Raises:
        ValueError: there is none.
    """
    for name, child in module.named_modules():
        if type(getattr(child, "config", None)) is type(config):
            return name, child
    raise ValueError(f"{type(module).__name__}: no part of it has a {type(config).__name__}")


def find_blocks(module, depth):
    """The stack of transformer blocks in a module.

    Args:
        module: a model or a tower of one.
        depth: number of blocks by the model's own configuration.

    Returns:
        Dotted name and container.

    Raises:
        ValueError: no ModuleList or Sequential of that length holds blocks of one class, or several do.
    """
    found = [
        (name, child)
        for name, child in module.named_modules()
        if isinstance(child, nn.ModuleList | nn.Sequential)
        and len(child) == depth
        and len({type(block) for block in child}) == 1
        # a block has attention and an MLP: parts of its own, not a single layer
        and len(list(child[0].children())) > 1
    ]
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise ValueError(
            f"{type(module).__name__}: expected one stack of {depth} blocks, found {names}. "
            "Give the depth of the tower that is wanted, or pass that tower alone."
        )
    return found[0]


@contextlib.contextmanager
def reading_blocks(blocks, layers, read):
    """Call a function with what blocks return, while a forward pass runs.

    Args:
        blocks: of a tower.
        layers: numbers of those that are read.
        read: called with the layer's number and its residual stream, in the order of the pass. What it does not
            keep is freed as soon as the pass needs it no longer.
    """

    def hook_of(layer):
        def hook(_module, _args, output):
            # older releases of transformers return a tuple whose first item is the stream
            read(layer, output[0] if isinstance(output, tuple) else output)

        return hook

    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hooks.callback(blocks[layer].register_forward_hook(hook_of(layer)).remove)
        yield

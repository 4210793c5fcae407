"""Where the residual stream is: the blocks of a tower, found by structure, read by hooks, pooled over tokens."""

import contextlib

import torch
from torch import nn


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
def residual_streams(blocks):
    """Record what each block returns during a forward pass.

    Yields:
        A list that holds, after a forward pass, one tensor (n, tokens, width) a block.
    """
    streams = [None] * len(blocks)

    def keep(layer):
        def hook(_module, _args, output):
            # older releases of transformers return a tuple whose first item is the stream
            streams[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [block.register_forward_hook(keep(layer)) for layer, block in enumerate(blocks)]
    try:
        yield streams
    finally:
        for handle in handles:
            handle.remove()


def pool_tokens(stream, pooling, prefix):
    """One vector an image from the tokens of a layer.

    Args:
        stream: shape (n, tokens, width).
        pooling: cls, the class token; mean, over the image's own tokens.
        prefix: tokens before the image's own.

    Returns:
        shape (n, width), float32.

    Raises:
        ValueError: cls is asked of a tower without a class token, or the pooling is unknown.
    """
    if pooling == "cls":
        if prefix < 1:
            raise ValueError("pooling cls: this tower has no class token; use mean")
        return stream[:, 0].to(torch.float32)
    if pooling == "mean":
        return stream[:, prefix:].to(torch.float32).mean(dim=1)
    raise ValueError(f'pooling is "{pooling}"; allowed: cls, mean')

"""Towers whose stream is a few tokens without a place in the image, then the patches in raster order."""

import torch

from geoprobe.models.loading import Tower
from geoprobe.models.pooling import POOLINGS, TokenMap
from geoprobe.models.weights import weights_in


def refuse_placement(row, placement):
    """Raise a ValueError if a model is to be spread over devices and its loader cannot."""
    if placement:
        raise ValueError(
            f'model "{row.get("model", row["id"])}": the loader {row["loader"]} cannot spread a model over devices; '
            "use a device that holds it, or a row of the loader transformers"
        )


def weights_for(row, folder, loader):
    """The files of weights in a folder that a row of the registry allows.

    Args:
        row: of the registry; `weights` is used.
        folder: of the model.
        loader: whose layout the folder has.

    Raises:
        ValueError: there are none; where the row wants safetensors, a pickle does not count.
    """
    found = weights_in(folder, loader, pickles=row["weights"] == "any")
    if not found:
        pickled = weights_in(folder, loader)
        raise ValueError(
            f'{folder}: {pickled[0].name} is a pickle; set weights to "any" in the row of the registry to read it'
            if pickled
            else f"{folder}: no weights that the loader {loader} knows; fetch the model anew"
        )
    return found


def refuse_random_weights(module, path, missing, folder):
    """Raise a ValueError if weights that the stream depends on were not in the files.

    Args:
        module: the vision tower.
        path: of its blocks.
        missing: names of its weights that were not found.
        folder: of the files, for the error.
    """
    weights = list(module.state_dict())
    last = max(number for number, weight in enumerate(weights) if weight.startswith(f"{path}."))
    # Modules come in the order in which they are used: what follows the blocks is not read. Mask tokens stand in for
    # patches in training alone.
    lost = [name for name in weights[: last + 1] if name in missing and not name.endswith("mask_token")]
    if lost:
        shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        raise ValueError(
            f"{folder}: the files lack weights of {type(module).__name__}, which would be random: {shown}. Is the "
            "configuration that of another model?"
        )


def patches_of(patch_embedding):
    """From a batch to the number of patches that a convolution cuts its images into."""
    kernel, stride, padding = patch_embedding.kernel_size, patch_embedding.stride, patch_embedding.padding
    if padding == "valid":
        padding = (0, 0)

    def count(batch):
        height, width = (
            (size + 2 * pad - cut) // step + 1
            for size, pad, cut, step in zip(batch["pixel_values"].shape[-2:], padding, kernel, stride, strict=True)
        )
        return height * width

    return count


def patch_tower(module, path, blocks, width, prefix, has_class, patches, protocol, mask=None, batch_first=True):
    """The tower of a vision transformer.

    Args:
        module: the model that errors name.
        path, blocks, width: as in Tower.
        prefix: number of tokens before the patches: class tokens and registers.
        has_class: the first of them is a class token.
        patches: from a batch to the number of patches in its stream.
        protocol: sound; or paper, under which a tower without a class token has its last token for one.
        mask: from a batch to which patches are no padding, shape (n, patches); None where none are padded.
        batch_first: the stream is (n, tokens, width), else (tokens, n, width).

    Returns:
        A Tower. Its `tokens` raises a ValueError if a stream has another shape than said here: pooling it would
        take one kind of token for another.
    """
    last_for_class = protocol == "paper" and not has_class

    def tokens(batch, stream):
        n, length = len(batch["pixel_values"]), prefix + patches(batch)
        expected = (n, length, width) if batch_first else (length, n, width)
        if tuple(stream.shape) != expected:
            raise ValueError(
                f"{type(module).__name__}: a block of {path} returned the shape {tuple(stream.shape)}, not {expected} "
                f"({prefix} tokens before {length - prefix} patches); which token is which is unknown, so this model "
                "cannot be read"
            )
        index = None if batch_first else torch.arange(length * n, device=stream.device).view(length, n).T
        real = None
        if mask is not None:
            real = torch.nn.functional.pad(mask(batch).to(stream.device, torch.bool), (prefix, 0), value=True)
        summary = 0 if has_class else length - 1 if last_for_class else None
        return TokenMap(index=index, mask=real, own=slice(prefix, None), summary=summary)

    poolings = tuple(name for name in POOLINGS if name != "last" and (name != "cls" or has_class or last_for_class))
    parts = ["a class token"] if has_class else []
    if prefix > has_class:
        parts.append(f"{prefix - has_class} register{'s' if prefix - has_class > 1 else ''}")
    note = ", ".join([*parts, "patches in raster order"])
    if last_for_class:
        note += "; no class token: cls is the last token of the stream, as the paper took it"
    return Tower(blocks, path, width, poolings, tokens, note)

"""One vector an image from the tokens of a layer: which tokens are whose, and how they are pooled."""

from dataclasses import dataclass, field

import torch

# What is asked of a layer, and the width of it in widths of the residual stream.
POOLINGS = {
    "cls": 1,  # the class token
    "last": 1,  # the last token of a decoder's sequence
    "mean": 1,  # over the image's own tokens: no class token, no registers, no prompt
    "maxmin": 2,  # largest and smallest value of each dimension over the same, one after the other
    "mean-all": 1,  # over all tokens of the sequence
    "maxmin-all": 2,
}


@dataclass
class TokenMap:
    """Which tokens of a stream are which image's.

    Attributes:
        index: shape (n, L): the tokens of each of the n images, in raster or reading order, as rows of the stream
            flattened to (tokens, width); padding may name any row. None where the stream is (n, L, width) as it is.
        mask: shape (n, L), False for padding. None where there is none.
        own: the image's own tokens: a slice of the L columns, or a mask of shape (n, L).
        summary: column of the class token: a number, or shape (n,). None without one.
    """

    index: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    own: torch.Tensor | slice = field(default_factory=lambda: slice(None))
    summary: torch.Tensor | int | None = None

    def to(self, device):
        """The same on another device."""
        moved = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in vars(self).items()
        }
        return TokenMap(**moved)


def gather_tokens(stream, tokens):
    """The tokens of each image, shape (n, L, width); rows of padding hold anything."""
    if tokens.index is None:
        return stream
    return stream.reshape(-1, stream.shape[-1])[tokens.index]


def _select(values, mask, which):
    """The columns `which` (a slice or a mask) of the tokens, and their mask (None if all count)."""
    if isinstance(which, slice):
        return values[:, which], None if mask is None else mask[:, which]
    return values, which if mask is None else which & mask


def pool_tokens(values, tokens, pooling):
    """One vector an image.

    Args:
        values: of :func:`gather_tokens`, shape (n, L, width).
        tokens: a TokenMap.
        pooling: a name of POOLINGS.

    Returns:
        float32, shape (n, width), twice as wide for maxmin and maxmin-all.

    Raises:
        ValueError: cls is asked of a tower without a class token, or the pooling is unknown.
    """
    if pooling == "cls":
        if tokens.summary is None:
            raise ValueError("pooling cls: this tower has no class token; use mean")
        if isinstance(tokens.summary, int):
            return values[:, tokens.summary].to(torch.float32)
        return values[torch.arange(len(values), device=values.device), tokens.summary].to(torch.float32)
    if pooling == "last":
        if tokens.mask is None:
            return values[:, -1].to(torch.float32)
        numbers = torch.arange(values.shape[1], device=values.device)
        columns = torch.where(tokens.mask, numbers, -1).amax(dim=1)
        return values[torch.arange(len(values), device=values.device), columns].to(torch.float32)
    if pooling not in POOLINGS:
        raise ValueError(f'pooling is "{pooling}"; allowed: {", ".join(POOLINGS)}')
    kind, _, over = pooling.partition("-")
    values, mask = _select(values, tokens.mask, slice(None) if over else tokens.own)
    if kind == "mean":
        if mask is None:
            return values.mean(dim=1, dtype=torch.float32)
        weights = mask.to(torch.float32)
        # not a product with a mask of zeros: padding may hold what is not a number
        kept = torch.where(mask[..., None], values, torch.zeros((), dtype=values.dtype, device=values.device))
        return kept.sum(dim=1, dtype=torch.float32) / weights.sum(dim=1, keepdim=True)
    high, low = values, values
    if mask is not None:
        # an image without tokens gets infinities, which no one takes for features
        limit = torch.full((), float("inf"), dtype=values.dtype, device=values.device)
        high, low = torch.where(mask[..., None], values, -limit), torch.where(mask[..., None], values, limit)
    return torch.cat([high.amax(dim=1), low.amin(dim=1)], dim=1).to(torch.float32)

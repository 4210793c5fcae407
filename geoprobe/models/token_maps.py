"""Whose token is which in the streams of image-text models: views of images, packed patches, text around an image."""

import torch

from geoprobe.models.pooling import TokenMap

# What classes call the parameters of vision towers that precede the patches in the stream.
CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
# RADIO has a class token for each of its teachers: none of them is the image's own.
REGISTERS = ("register_tokens", "reg_token", "storage_tokens", "distillation_token", "cls_register_token")


def count_prefix(part, path, width):
    """Tokens before an image's own in a vision tower's stream, which are parameters of its own.

    Args:
        part: the tower.
        path: of its blocks within it.
        width: of its stream.

    Returns:
        Number of class tokens, and of registers.
    """
    classes = registers = 0
    for name, parameter in part.named_parameters():
        if name.startswith(f"{path}."):
            break  # what comes after the blocks, such as the token of a pooling head, is not in the stream
        kind = name.rpartition(".")[2]
        classes += parameter.numel() // width if kind in CLASS_TOKENS else 0
        registers += parameter.numel() // width if kind in REGISTERS else 0
    return classes, registers


def map_text(batch, stream, image_token):
    """Tokens of a decoder's sequence; the image's own are those that hold a place for it."""
    mask = batch["attention_mask"].to(stream.device).bool()
    return TokenMap(mask=mask, own=(batch["input_ids"].to(stream.device) == image_token) & mask)


def map_views(views, length, prefix, summary, whole=0):
    """Tokens of images of which a tower sees one or several views (crops, and the whole), a row of the stream a view.

    Args:
        views: number of views of each image, shape (n,), on the stream's device.
        length: tokens of a view, class token and registers included.
        prefix: those of them that are not the image's own, at the beginning.
        summary: column of the class token within a view, or None.
        whole: number of the view whose class token counts: 0 for the first, -1 for the last.

    Returns:
        A TokenMap with the views of an image one after the other.
    """
    columns = torch.arange(int(views.max()) * length, device=views.device)
    starts = views.cumsum(0) - views
    mask = columns < views[:, None] * length
    index = torch.where(mask, starts[:, None] * length + columns, 0)
    own = mask & (columns % length >= prefix)
    if summary is not None:
        summary = (views - 1) * length + summary if whole else torch.full_like(views, summary)
    return TokenMap(index=index, mask=mask, own=own, summary=summary)


def raster_order(grid, merge):
    """Where the patches of one image lie among its packed ones.

    Image processors that pack patches put those next to each other that the model merges later: squares of
    merge x merge patches, in raster order within and among the squares.

    Args:
        grid: frames, rows and columns of patches; rows and columns are multiples of merge.
        merge: patches along a side of a square.

    Returns:
        Shape (frames * rows * columns,): for each patch in raster order, its number in packed order.
    """
    frames, rows, columns = grid
    packed = torch.arange(frames * rows * columns)
    return packed.reshape(frames, rows // merge, columns // merge, merge, merge).permute(0, 1, 3, 2, 4).flatten()


def map_packed(grids, merge, windows=None, last=False):
    """Tokens of images whose patches lie packed in one row, image after image.

    Args:
        grids: frames, rows and columns of patches of each image: a list of n triples.
        merge: patches along a side of the squares that are kept together.
        windows: for each square of the stream, which of the packed squares it is, where the tower has put those of an
            attention window next to each other; None where it has not.
        last: the summary is the token of each image that comes last in the stream, wherever in the image it lies.

    Returns:
        A TokenMap on the CPU with each image's tokens in raster order, padded at the end.
    """
    sizes = [frames * rows * columns for frames, rows, columns in grids]
    index = torch.zeros(len(grids), max(sizes), dtype=torch.long)
    mask = torch.zeros(len(grids), max(sizes), dtype=torch.bool)
    places = None if windows is None else torch.argsort(windows.cpu())
    start = 0
    for row, (grid, size) in enumerate(zip(grids, sizes, strict=True)):
        packed = start + raster_order(grid, merge)
        if places is not None:
            packed = places[packed // merge**2] * merge**2 + packed % merge**2
        index[row, :size] = packed
        mask[row, :size] = True
        start += size
    summary = torch.where(mask, index, -1).argmax(dim=1) if last else None
    return TokenMap(index=index, mask=mask, own=mask, summary=summary)

"""Two views of one image: random crops, flips and colours, drawn for each image from a generator."""

import torch
import torch.nn.functional as F


def random_views(images, generator, crop, colour):
    """One random view of each image.

    Args:
        images: float images, shape (n, 3, size, size).
        generator: a torch Generator; the views are a function of it alone.
        crop: smallest share of an image's area that a crop keeps, in (0, 1].
        colour: how far brightness, contrast and saturation vary, 0 for not at all.

    Returns:
        Views, shape (n, 3, size, size).
    """
    n, device = len(images), images.device

    def uniform(low, high, *shape):
        return (torch.rand(n, *shape, generator=generator) * (high - low) + low).to(device)

    side = uniform(crop, 1.0).sqrt()
    shift_x, shift_y = (uniform(-1, 1) * (1 - side) for _ in range(2))
    flip_x, flip_y = ((uniform(0, 1) < 0.5).float() * 2 - 1 for _ in range(2))
    zero = torch.zeros_like(side)
    theta = torch.stack(
        [torch.stack([side * flip_x, zero, shift_x], 1), torch.stack([zero, side * flip_y, shift_y], 1)], 1
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if colour:
        brightness, contrast, saturation = (uniform(1 - colour, 1 + colour, 1, 1, 1) for _ in range(3))
        grey = views.mean(dim=1, keepdim=True)
        views = grey + (views - grey) * saturation
        mean = views.mean(dim=(1, 2, 3), keepdim=True)
        views = (mean + (views - mean) * contrast) + (brightness - 1)
    return views

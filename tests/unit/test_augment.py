"""Random views: what they may change, and that a generator alone decides it."""

import pytest
import torch

from geoprobe.encoders.augment import random_views

SIZE = 12


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n, size=SIZE):
    return torch.rand(n, 3, size, size, generator=generator(99))


def ramps(n, size=32):
    """Images whose first two channels are the horizontal and the vertical coordinate of the pixel, from 0 to 1."""
    ramp = torch.linspace(0, 1, size)
    image = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size), torch.zeros(size, size)])
    return image.expand(n, -1, -1, -1)


def spread(view, channel):
    return (view[:, channel].amax(dim=(1, 2)) - view[:, channel].amin(dim=(1, 2))).double()


def test_views_have_the_shape_and_type_of_the_images():
    views = random_views(noise(5), generator(), crop=0.3, colour=0.2)
    assert views.shape == (5, 3, SIZE, SIZE)
    assert views.dtype == torch.float32


def test_a_generator_decides_the_views_whatever_else_is_drawn():
    first = random_views(noise(5), generator(4), crop=0.3, colour=0.2)
    torch.rand(3)
    assert torch.equal(first, random_views(noise(5), generator(4), crop=0.3, colour=0.2))


def test_two_draws_of_one_generator_differ():
    drawn = generator(4)
    first, second = (random_views(noise(5), drawn, crop=0.3, colour=0.2) for _ in range(2))
    assert (first - second).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    undisturbed = torch.rand(2)
    torch.manual_seed(3)
    random_views(noise(2), generator(), crop=0.3, colour=0.2)
    assert torch.equal(torch.rand(2), undisturbed)


def test_images_are_not_changed_in_place():
    images = noise(3)
    random_views(images, generator(), crop=0.3, colour=0.2)
    assert torch.equal(images, noise(3))


def test_without_crop_and_colour_a_view_is_one_of_the_four_flips():
    images = noise(64)
    views = random_views(images, generator(), crop=1.0, colour=0)
    flips = [images, images.flip(3), images.flip(2), images.flip(2, 3)]
    distance = torch.stack([(views - flip).abs().amax(dim=(1, 2, 3)) for flip in flips])
    assert distance.min(dim=0).values.max() < 1e-4
    assert set(distance.argmin(dim=0).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("crop", [0.25, 0.6])
def test_crops_keep_at_least_the_smallest_share_of_the_area_and_spread_evenly_above_it(crop):
    images = ramps(600)
    views = random_views(images, generator(), crop, colour=0)
    # on a ramp, the range of values is the range of coordinates, pixel middle to pixel middle
    area = spread(views, 0) * spread(views, 1)
    assert area.min() >= crop - 0.02
    assert area.max() <= 1 + 1e-6
    assert abs(area.mean() - (1 + crop) / 2) < 0.04


def test_crops_are_squares():
    views = random_views(ramps(100), generator(), crop=0.25, colour=0)
    torch.testing.assert_close(spread(views, 0), spread(views, 1), atol=0.02, rtol=0)


def test_crops_lie_anywhere_in_the_image():
    middle = random_views(ramps(400), generator(), crop=0.25, colour=0)[:, :2].mean(dim=(2, 3))
    # a quarter of the area has half the side: its middle goes from 0.25 to 0.75
    assert middle.min() < 0.32
    assert middle.max() > 0.68
    assert middle.min() > 0.2
    assert middle.max() < 0.8


def test_a_view_depends_on_its_own_image_alone():
    images = noise(6)
    other = images.clone()
    other[2] = 0.5
    before = random_views(images, generator(), crop=0.4, colour=0.3)
    after = random_views(other, generator(), crop=0.4, colour=0.3)
    changed = (before != after).flatten(1).any(dim=1)
    assert changed.tolist() == [False, False, True, False, False, False]


def test_without_colour_no_pixel_leaves_the_range_of_its_image():
    images = noise(20)
    views = random_views(images, generator(), crop=0.3, colour=0)
    assert views.max() <= images.max() + 1e-6
    assert views.min() >= images.min() - 1e-6


def test_a_plain_grey_image_changes_in_brightness_only_and_by_no_more_than_asked():
    images = torch.full((200, 3, 8, 8), 0.4)
    views = random_views(images, generator(), crop=0.5, colour=0.3)
    shift = views.mean(dim=(1, 2, 3)) - 0.4
    assert (views - views.mean(dim=(1, 2, 3), keepdim=True)).abs().max() < 1e-5
    assert shift.abs().max() <= 0.3 + 1e-5
    assert shift.max() > 0.25
    assert shift.min() < -0.25


def test_contrast_and_saturation_scale_differences_by_no_more_than_asked():
    images = torch.zeros(300, 3, 8, 8)
    images[:, 0] = 1.0  # red
    views = random_views(images, generator(), crop=1.0, colour=0.3)
    gap = (views[:, 0] - views[:, 1]).mean(dim=(1, 2))
    assert gap.min() >= 0.7**2 - 1e-4
    assert gap.max() <= 1.3**2 + 1e-4
    assert gap.std() > 0.1

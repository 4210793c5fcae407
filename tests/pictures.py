"""Pictures of noise, as files."""

import io

import numpy as np
from PIL import Image


def noise(seed=0, size=(8, 8), form="PNG", **options):
    """An encoded picture that looks like no other; size is its width and height, options are Pillow's of the form."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=form, **options)
    return buffer.getvalue()

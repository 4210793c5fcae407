"""Which formats photographs may have, and how their files are opened."""

import functools
import importlib.util
import io
import threading
import warnings

from PIL import Image

# What photographs come in. Pillow reads more, and some of that can run programs or hides its true size.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000")
OPENING = threading.Lock()
# what is wrong with a file is said by whoever opened it, as the reason why it is not used; these words name no file
QUIET = {"action": "ignore", "module": r"(PIL|pillow_heif)\."}


@functools.cache
def register_plugins():
    """Let Pillow read HEIC photographs if pillow-heif is installed, and let it not warn of damaged files.

    Returns:
        The formats that are read.
    """
    warnings.filterwarnings(**QUIET)
    if importlib.util.find_spec("pillow_heif") is None:
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def open_header(data):
    """Open an image without decoding it. Pillow's own limit of pixels, which is global and no error below twice its
    value, is out of force meanwhile: the caller compares the size.
    """
    with OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data), formats=register_plugins())
        finally:
            Image.MAX_IMAGE_PIXELS = limit

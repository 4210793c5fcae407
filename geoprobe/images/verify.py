"""Whether bytes are a photograph that can be used: its size, its decoding, its perceptual hash."""

import hashlib

from PIL import ImageOps, UnidentifiedImageError

from geoprobe.images.formats import open_header, register_plugins

# A JPEG may be decoded at a fraction of its size if both sides keep this many pixels: the hash looks at 32 x 32.
DRAFT = 64


def verify_image(data, max_pixels):
    """Decode an encoded image to see whether it is whole, and hash it.

    Args:
        data: bytes.
        max_pixels: more are refused by the header, before decoding.

    Returns:
        A dict: status ("ok", "not an image", "truncated" or "too many pixels"), detail, sha256 of the bytes, width and
        height in pixels when upright by the EXIF orientation, and phash, the perceptual hash of imagehash (which of the
        lowest 8 x 8 cosine coefficients of the image at 32 x 32, grey, are above their median) as 16 hexadecimal
        digits. If not ok, the last four are "" or None.
    """
    import imagehash

    try:
        with open_header(data) as image:
            width, height = image.size
            if width * height > max_pixels:
                return _refused("too many pixels", f"{width} x {height}")
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            if reduced := image.format in ("JPEG", "MPO"):
                # a reduced and grey decoding still reads the whole file
                image.draft("L", (min(DRAFT, width), min(DRAFT, height)))
            # as the image store's reader will do it, so that whatever makes it fail is found now
            upright = ImageOps.exif_transpose(image)
            phash = str(imagehash.phash(upright if upright.mode == "L" else upright.convert("RGB")))
    except UnidentifiedImageError:
        return _refused("not an image", f"none of {', '.join(register_plugins())}")
    except Exception as error:  # a decoder may raise anything on a damaged file, and the status says what
        status = "truncated" if "truncated" in str(error).lower() else "not an image"
        return _refused(status, f"{type(error).__name__}: {error}")
    if not reduced:
        # a damaged HEIF file may have another size than its header says
        width, height = upright.size
        if width * height > max_pixels:
            return _refused("too many pixels", f"{width} x {height}")
    elif turned:
        width, height = height, width
    sha256 = hashlib.sha256(data).hexdigest()
    return {"status": "ok", "detail": "", "sha256": sha256, "width": width, "height": height, "phash": phash}


def _refused(status, detail):
    return {"status": status, "detail": detail, "sha256": "", "width": None, "height": None, "phash": ""}

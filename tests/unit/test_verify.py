"""Verification of images: whole or not, how large, which way up, and a hash that knows a photograph again."""

import hashlib
import io
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import imagehash
import numpy as np
import pytest
from image_server import bomb, photo
from PIL import Image, ImageFile, ImageOps

from geoprobe.images import formats, verify
from geoprobe.images.store import decode_image
from geoprobe.images.verify import verify_image

MANY = 10**8
ORIENTATION = 0x0112


def scene(seed, size=(640, 480)):
    """A picture with structure at several scales, as photographs have it."""
    generator = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    for cells in (3, 9, 40):
        colours = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = np.asarray(Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC), dtype=float)
        pixels += layer / cells
    return Image.fromarray((255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8))


def encode(image, form="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def distance(data, other):
    """Bits in which the hashes of two encoded images differ."""
    hashes = [imagehash.hex_to_hash(verify_image(one, MANY)["phash"]) for one in (data, other)]
    return int(hashes[0] - hashes[1])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"])
def test_a_photograph_of_each_format_is_one(form):
    data = photo(1, form, (60, 40))
    found = verify_image(data, MANY)
    assert (found["status"], found["detail"], found["width"], found["height"]) == ("ok", "", 60, 40)
    assert found["sha256"] == hashlib.sha256(data).hexdigest()
    assert len(found["phash"]) == 16
    assert verify_image(data, MANY) == found


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_hash_is_imagehashs_own_for_every_kind_of_pixel(mode):
    image = scene(3, (90, 70)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 200)
    data = encode(image, "PNG")
    assert verify_image(data, MANY)["phash"] == str(imagehash.phash(decode_image(data)))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 40}, {"subsampling": 0}, {"mode": "CMYK"}, {"mode": "L"}]
)
@pytest.mark.parametrize("size", [(40, 30), (640, 480), (1600, 300), (1501, 999)])
def test_the_hash_of_a_jpeg_decoded_at_a_fraction_is_within_two_bits_of_the_full_ones(options, size):
    options = dict(options)
    image = scene(5, size).convert(options.pop("mode", "RGB"))
    data = encode(image, **options)
    found = verify_image(data, MANY)
    assert (found["width"], found["height"]) == size
    assert imagehash.hex_to_hash(found["phash"]) - imagehash.phash(decode_image(data)) <= 2


def test_copies_of_a_photograph_are_near_and_other_photographs_are_far():
    originals = [scene(seed) for seed in range(6)]
    for image in originals:
        data = encode(image, quality=92)
        assert distance(data, encode(image.resize((320, 240)), quality=60)) <= 4
        assert distance(data, encode(image, "PNG")) <= 4
    encoded = [encode(image) for image in originals]
    assert min(distance(a, b) for a, b in itertools.combinations(encoded, 2)) > 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_size_and_hash_are_those_of_the_upright_image(orientation, form):
    image = scene(7, (400, 240))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = encode(image, form, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(turned)))
    found = verify_image(turned, MANY)
    assert (found["width"], found["height"]) == upright.size
    assert upright.size == ((400, 240) if orientation < 5 else (240, 400))
    assert imagehash.hex_to_hash(found["phash"]) - imagehash.phash(upright) <= 2


@pytest.mark.parametrize(
    "data", [photo(2), encode(scene(1, (300, 200))), encode(scene(1, (300, 200)), progressive=True)]
)
def test_a_jpeg_cut_anywhere_is_found_although_it_is_decoded_at_a_fraction(data):
    """The reader of the image store decodes it in full: what that cannot read must not get there."""
    for place in [*np.linspace(0, len(data) - 3, 80).astype(int), len(data) - 2, len(data) - 1]:
        status = verify_image(data[:place], MANY)["status"]
        try:
            decode_image(data[:place])
        except Exception:  # Pillow is the oracle here, and may raise anything on what is cut
            assert status in ("truncated", "not an image")
        else:
            assert status in ("ok", "truncated")
        assert status != "ok" or place >= len(data) - 2


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000"])
def test_an_image_cut_in_the_middle_is_none(form):
    data = photo(4, form, (60, 40))
    for place in np.linspace(0, len(data) * 0.8, 20).astype(int):
        assert verify_image(data[:place], MANY)["status"] in ("truncated", "not an image")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged headers; they belong in the log
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "TIFF"])
def test_whatever_is_found_whole_is_decoded_by_the_image_store_too(form):
    data, generator = encode(scene(2, (160, 120)), form), np.random.default_rng(11)
    found = set()
    for _ in range(120):
        damaged = bytearray(data)
        for place in generator.integers(0, min(len(data), 700), generator.integers(1, 8)):
            damaged[place] = generator.integers(256)
        result = verify_image(bytes(damaged), 10**6)
        found.add(result["status"])
        if result["status"] == "ok":
            assert decode_image(bytes(damaged)).size == (result["width"], result["height"])
    assert found > {"ok"}


@pytest.mark.parametrize("data", [b"", b"no picture", b"<html></html>", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_photograph_is_none(data):
    found = verify_image(data, MANY)
    assert found["status"] == "not an image"
    assert found["detail"]
    assert (found["sha256"], found["phash"], found["width"], found["height"]) == ("", "", None, None)


@pytest.mark.parametrize("form", ["ICO", "TGA", "PCX", "SGI"])
def test_formats_that_no_camera_writes_are_refused_by_name_of_those_that_are_read(form):
    found = verify_image(photo(1, form, (32, 32)), MANY)
    assert found["status"] == "not an image"
    assert "JPEG" in found["detail"]


def test_a_small_file_of_200_megapixels_is_refused_by_its_header(monkeypatch):
    def load(self):
        raise AssertionError("it was decoded")

    assert len(bomb()) < 50_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    found = verify_image(bomb(), MANY)
    assert (found["status"], found["detail"]) == ("too many pixels", "20000 x 10000")


def test_the_limit_of_pixels_is_the_given_one_and_not_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = photo(1, "PNG", (60, 40))
    assert verify_image(data, 60 * 40)["status"] == "ok"
    assert verify_image(data, 60 * 40 - 1)["status"] == "too many pixels"
    assert Image.MAX_IMAGE_PIXELS == 100


def test_pillows_limit_is_what_it_was_after_many_threads(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    images = [photo(seed, form) for seed in range(30) for form in ("JPEG", "PNG")] + [b"none", bomb()]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: verify_image(data, MANY), images * 3))
    assert Image.MAX_IMAGE_PIXELS == 12345
    assert together == [verify_image(data, MANY) for data in images] * 3


def test_only_one_thread_at_a_time_has_pillows_limit_out_of_force(monkeypatch):
    inside, most, opener = 0, 0, Image.open

    def slow(*arguments, **options):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return opener(*arguments, **options)

    monkeypatch.setattr(Image, "open", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda data: verify_image(data, MANY), [photo(1)] * 8))
    assert most == 1


def test_heic_photographs_are_read_where_the_plugin_is_installed(monkeypatch):
    assert formats.register_plugins()[-1] == "HEIF"
    image = scene(9, (256, 192))
    found = verify_image(photo(9, "HEIF", (64, 48)), MANY)
    assert (found["status"], found["width"], found["height"]) == ("ok", 64, 48)
    assert distance(encode(image, "HEIF", quality=90), encode(image, "PNG")) <= 4
    for module in (formats, verify):
        monkeypatch.setattr(module, "register_plugins", lambda: formats.FORMATS)
    assert verify_image(photo(9, "HEIF", (64, 48)), MANY)["status"] == "not an image"

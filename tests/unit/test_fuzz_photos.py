"""Files of photographs: whatever their bytes, they are told apart, and what passes can be decoded later."""

import io
import struct
import zlib

import numpy as np
import pytest
from exif_data import (
    ARTIST,
    ASCII,
    DATE_TIME,
    DATE_TIME_ORIGINAL,
    LATITUDE,
    LATITUDE_REF,
    LONGITUDE,
    LONGITUDE_REF,
    RATIONAL,
    exif_bytes,
)
from fuzzing import VALUES, damaged, guarded
from hypothesis import given
from hypothesis import strategies as st
from image_server import photo
from PIL import ExifTags, Image, TiffImagePlugin

from geoprobe.images.checks import coordinate_reasons
from geoprobe.images.folder import gps_position, read_photo
from geoprobe.images.formats import FORMATS, register_plugins
from geoprobe.images.store import decode_image
from geoprobe.images.verify import verify_image

STATUSES = ("ok", "not an image", "truncated", "too many pixels")
MAX_PIXELS = 2_000_000
GPS = {
    LATITUDE_REF: (ASCII, "N"),
    LATITUDE: (RATIONAL, [(48, 1), (51, 1), (2999, 100)]),
    LONGITUDE_REF: (ASCII, "W"),
    LONGITUDE: (RATIONAL, [(2, 1), (17, 1), (40, 1)]),
}
EXIF = exif_bytes(
    GPS,
    {ARTIST: (ASCII, "Zoe"), DATE_TIME: (ASCII, "2020:01:02 03:04:05")},
    {DATE_TIME_ORIGINAL: (ASCII, "2019:12:31 23:59:59")},
)


def encoded(form, mode="RGB", **options):
    """An image of 48 x 36 pixels in one of the formats."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(photo(1))) as image:
        image.convert(mode).save(buffer, format=form, **options)
    return buffer.getvalue()


def seeds(form):
    if form == "GIF":
        return [encoded(form, "P"), encoded(form, save_all=True, append_images=[Image.new("RGB", (48, 36))] * 3)]
    if form == "PNG":
        palette = encoded(form, "P", transparency=b"\0\1\2", exif=EXIF[6:])
        return [encoded(form, exif=EXIF[6:]), palette, encoded(form, "I;16"), encoded(form, "LA")]
    if form == "TIFF":
        return [
            encoded(form),
            encoded(form, compression="tiff_lzw"),
            encoded(form, "1", compression="group4"),
            encoded(form, compression="jpeg"),
        ]
    if form == "JPEG":
        return [encoded(form, exif=EXIF), encoded(form, "CMYK", exif=EXIF), encoded(form, "L", progressive=True)]
    if form == "WEBP":
        return [encoded(form, exif=EXIF), encoded(form, "RGBA", lossless=True)]
    if form == "PPM":
        return [
            encoded(form),
            encoded(form, "1"),
            b"P3\n2 2\n255\n1 2 3 4 5 6 7 8 9 10 11 12\n",
            b"Pf\n2 2\n-1\n" + bytes(16),
        ]
    if form == "BMP":
        return [encoded(form), encoded(form, "P"), encoded(form, "1")]
    return [encoded(form)]


def with_sums(data):
    """A PNG file whose chunks have the right checksums, so that what is in them is read."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    place, parts = 8, [data[:8]]
    while place + 12 <= len(data):
        size = struct.unpack(">I", data[place : place + 4])[0]
        body = data[place + 4 : place + 8 + size]
        parts += [data[place : place + 4], body, struct.pack(">I", zlib.crc32(body))]
        place += 12 + size
    return b"".join(parts) + data[place:]


@pytest.mark.parametrize("form", register_plugins())
def test_an_image_of_any_bytes(form):
    assert form in (*FORMATS, "HEIF")

    @given(data=damaged(seeds(form), [b"Exif\0\0", b"II*\0", b"\xff\xe1", b"IDAT", b"tRNS"]))
    def run(data):
        data = with_sums(data)
        with guarded():
            found = verify_image(data, MAX_PIXELS)
        assert found["status"] in STATUSES
        if found["status"] == "ok":
            assert found["width"] * found["height"] <= MAX_PIXELS
            assert len(bytes.fromhex(found["phash"])) == 8
            # what was let through can be read by every later stage, in the size that was noted
            with guarded():
                assert decode_image(data).size == (found["width"], found["height"])

    run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("photos")


def check_photo(photo):
    degrees = photo["latitude"], photo["longitude"]
    assert photo["reason"] or np.isfinite(degrees).all()
    assert np.isnan(degrees).all() or not photo["reason"]
    if coordinate_reasons([degrees[0]], [degrees[1]])[0] == "":
        assert abs(degrees[0]) <= 90
        assert abs(degrees[1]) <= 180
    assert photo["day"] == "" or len(photo["day"]) == 10
    assert "\0" not in photo["author"].strip("\0")
    photo["author"].encode("utf-8")


EXIFS = [EXIF, exif_bytes(GPS), exif_bytes({}), exif_bytes(GPS, {0x0112: (ASCII, "8")})]


@given(
    exif=damaged(EXIFS, [b"\x02\0", b"\x05\0", struct.pack("<I", 8), b"MM\0*", b"\xff" * 8]),
    form=st.sampled_from(["JPEG", "PNG", "WEBP"]),
)
def test_exif_of_any_bytes(folder, exif, form):
    # damaged before it is put into a whole image
    path = folder / "photo.img"
    path.write_bytes(encoded(form, exif=exif if form != "PNG" else exif[6:]))
    with guarded(folder=folder):
        check_photo(read_photo(path))


@given(data=damaged([*seeds("JPEG"), *seeds("TIFF"), *seeds("PNG")], [EXIF]))
def test_a_photo_of_any_bytes(folder, data):
    path = folder / "photo.jpg"
    path.write_bytes(data)
    with guarded(folder=folder):
        check_photo(read_photo(path))


RATIONALS = st.builds(TiffImagePlugin.IFDRational, st.integers(-(2**31), 2**32), st.integers(-2, 100))
ODD = st.one_of(VALUES, RATIONALS, st.binary(max_size=4))
PARTS = st.one_of(ODD, st.lists(st.one_of(RATIONALS, st.integers(-1, 200), ODD), max_size=4).map(tuple))
REFERENCES = st.one_of(st.sampled_from(["N", "S", "E", "W", b"n\0", " w", ""]), ODD)


@given(
    gps=st.fixed_dictionaries(
        {},
        optional={
            ExifTags.GPS.GPSLatitude: PARTS,
            ExifTags.GPS.GPSLatitudeRef: REFERENCES,
            ExifTags.GPS.GPSLongitude: PARTS,
            ExifTags.GPS.GPSLongitudeRef: REFERENCES,
        },
    )
)
def test_a_gps_directory_of_any_values(gps):
    with guarded():
        latitude, longitude, reason = gps_position(gps)
    assert np.isfinite([latitude, longitude]).all() == (reason == "")

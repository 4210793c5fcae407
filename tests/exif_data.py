"""EXIF data laid out byte by byte after TIFF 6.0 (section 2) and EXIF 2.32 (section 4.6.6), for tests."""

import struct

ASCII, RATIONAL, SIGNED_RATIONAL, LONG = 2, 5, 10, 4
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE = 1, 2, 3, 4
ARTIST, DATE_TIME, EXIF_IFD, GPS_IFD, DATE_TIME_ORIGINAL = 315, 306, 34665, 34853, 36867


def directory(entries, start, following):
    """Bytes of a directory at `start` of the file (little-endian), with its long values behind it."""
    head, tail = struct.pack("<H", len(entries)), b""
    values = start + 2 + 12 * len(entries) + 4
    for tag, (kind, value) in sorted(entries.items()):
        if kind == ASCII:
            data = value.encode() + b"\0"
            count = len(data)
        elif kind == LONG:
            data, count = struct.pack("<I", value), 1
        else:
            data = b"".join(struct.pack("<II" if kind == RATIONAL else "<ii", *pair) for pair in value)
            count = len(value)
        if len(data) > 4:
            place = struct.pack("<I", values + len(tail))
            tail += data + b"\0" * (len(data) % 2)
        else:
            place = data.ljust(4, b"\0")
        head += struct.pack("<HHI", tag, kind, count) + place
    return head + struct.pack("<I", following) + tail


def exif_bytes(gps=None, tags=None, detail=None):
    """EXIF data with a GPS directory, tags of the first directory, and tags of the EXIF directory."""
    tags = dict(tags or {})
    blocks, start = [], 8
    pointers = {GPS_IFD: gps, EXIF_IFD: detail}
    tags |= {tag: (LONG, 0) for tag, entries in pointers.items() if entries is not None}
    size = len(directory(tags, start, 0))
    for tag, entries in pointers.items():
        if entries is not None:
            tags[tag] = (LONG, start + size)
            blocks.append(directory(entries, start + size, 0))
            size += len(blocks[-1])
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", start) + directory(tags, start, 0) + b"".join(blocks)

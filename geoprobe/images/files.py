"""Image files as they lie on disk or in an archive: which endings they have, and their bytes."""

import functools
import gzip
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from PIL import Image

from geoprobe.images.formats import FORMATS

# Photographs of phones, which can be read where the package pillow_heif is installed.
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".heics", ".heifs", ".hif"})
ZIP_SUFFIX, TAR_SUFFIXES = ".zip", (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# what tar puts before a member that has a long name or attributes, and the most bytes that this may have
ATTRIBUTES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
LONGEST = 1 << 20
BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


@functools.cache
def image_suffixes():
    """Endings of the formats that photographs come in, in lower case and with the dot."""
    known = Image.registered_extensions()  # loads Pillow's plugins
    return frozenset(suffix for suffix, name in known.items() if name in FORMATS) | HEIF_SUFFIXES


def is_image_name(name):
    """Whether a file of this name is to be looked at as an image: its ending is one, and it is no AppleDouble file."""
    path = PurePosixPath(name)
    # "._IMG_1.jpg" holds what a Mac notes about IMG_1.jpg
    return path.suffix.lower() in image_suffixes() and not path.name.startswith("._")


def read_file(path):
    """The bytes of a file, as a source's load_images gives them.

    Returns:
        (bytes, "") or (None, the reason why the file cannot be read). Whether they are an image is seen later, for
        all sources alike.
    """
    try:
        return Path(path).read_bytes(), ""
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"


class Member(tarfile.TarInfo):
    """Takes nothing but an empty block for the end of an archive; the library takes any damaged or missing header."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        """A header; a long name or list of attributes, which is read whole, may not be longer than any is."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in ATTRIBUTES and member.size > LONGEST:
            raise tarfile.InvalidHeaderError(f"a header of {member.size} bytes")
        return member

    @classmethod
    def fromtarfile(cls, archive):
        """The next member of an archive."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"neither a member nor the end: {error}") from error


def archive_members(file, name):
    """Paths of the images in an archive, in the archive's order.

    Args:
        file: the archive, opened for binary reading. Of a zip only the directory is read; a tar, compressed or not,
            is read through once.
        name: its name, which tells by its ending what it is.

    Raises:
        ValueError: the ending is of no known archive, or the file is none.
    """
    try:
        if str(name).lower().endswith(ZIP_SUFFIX):
            with zipfile.ZipFile(file) as archive:
                members = [member.filename for member in archive.infolist() if not member.is_dir()]
        elif str(name).lower().endswith(TAR_SUFFIXES):
            with tarfile.open(fileobj=file, mode="r|*", tarinfo=Member) as archive:
                members = [member.name for member in archive if member.isfile()]
        else:
            raise ValueError(
                f'"{name}" does not end like an archive; allowed: {ZIP_SUFFIX}, {", ".join(TAR_SUFFIXES)}.'
            )
    except BROKEN as error:
        raise ValueError(f'"{name}" is damaged or no archive ({error}). Fetch it again.') from error
    return [member for member in members if is_image_name(member)]


def folder_members(folder, wanted, max_bytes):
    """Read files below a folder as if it were an archive.

    Args:
        folder: on this machine.
        wanted: paths below it, none of which leads out of it.
        max_bytes: of one file.

    Yields:
        (path as wanted, bytes, "", "") or (path, None, status, detail) for each, where status is "too large" or "member
        missing".
    """
    for name in wanted:
        path = Path(folder, name)
        try:
            size = path.stat().st_size
            if size > max_bytes:
                yield name, None, "too large", f"{size} bytes"
            else:
                yield name, path.read_bytes(), "", ""
        except OSError as error:
            yield name, None, "member missing", error.strerror

"""Image files as they lie on disk or in an archive: which endings they have, and their bytes."""

import contextlib
import errno
import functools
import lzma
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
# a tar may unpack to so many bytes and so many times its own size: photographs hardly shrink, and of what shrinks more
# a small file keeps a job busy for days
UNPACKED, RATIO = 1 << 30, 50
BLOCK = 1 << 16
# what the standard library raises on damaged, cut or exotic archives
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    NotImplementedError,
)  # fmt: skip


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


class _Counted:
    """A file, and how much was read of it."""

    def __init__(self, file):
        self.file, self.count = file, 0

    def read(self, size):
        data = self.file.read(size)
        self.count += len(data)
        return data


class _Unpacked(_Counted):
    """The unpacked bytes of a file, which end with an error where they are too many for what was read of the file."""

    def __init__(self, file, packed):
        super().__init__(file)
        self.packed = packed

    def read(self, size):
        data = super().read(size)
        if self.count > UNPACKED + RATIO * self.packed.count:
            raise tarfile.ReadError(f"{self.packed.count} bytes unpack to more than {self.count}")
        return data

    def tell(self):
        return self.count

    def seek(self, place):
        if place < self.count:
            raise tarfile.StreamError("what was passed cannot be read again")
        while self.count < place and self.read(min(BLOCK, place - self.count)):
            pass

    def close(self):
        self.file.close()


class _Tar(tarfile.TarFile):
    """A tar file that is read once from its beginning to its end."""

    tarinfo = Member

    def __init__(self, name, mode, file, packed, **options):
        super().__init__(name, mode, _Unpacked(file, packed), **options)


def tar_members(file):
    """Yield (open archive, member) of a tar, compressed or not, each to be read before the next is asked for.

    Args:
        file: opened for binary reading.

    Raises:
        tarfile.TarError and others of BROKEN: it is damaged, or unpacks to far more than photographs do.
    """
    packed = _Counted(file)
    try:
        opened = _Tar.open(fileobj=packed, mode="r|*", packed=packed)
    except TypeError as error:  # what the library makes of a file that ends within the head of its compression
        raise tarfile.ReadError("it ends within its first bytes") from error
    with opened as archive:
        for member in archive:
            archive.members = []  # the library keeps them all
            yield archive, member


@contextlib.contextmanager
def whole_archive(name):
    """What is found damaged in an archive is a ValueError that names it."""
    try:
        yield
    except BROKEN as error:
        # it may lie on a server, and that this failed is no fault of the archive; a place before its beginning is
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ValueError(f'"{name}" is damaged or no archive ({error}). Fetch it again.') from error


def archive_members(file, name):
    """Paths of the images in an archive, in the archive's order.

    Args:
        file: the archive, opened for binary reading. Of a zip only the directory is read; a tar, compressed or not,
            is read through once.
        name: its name, which tells by its ending what it is.

    Raises:
        ValueError: the ending is of no known archive, or the file is none.
    """
    if not str(name).lower().endswith((ZIP_SUFFIX, *TAR_SUFFIXES)):
        raise ValueError(f'"{name}" does not end like an archive; allowed: {ZIP_SUFFIX}, {", ".join(TAR_SUFFIXES)}.')
    with whole_archive(name):
        if str(name).lower().endswith(ZIP_SUFFIX):
            with zipfile.ZipFile(file) as archive:
                members = [member.filename for member in archive.infolist() if not member.is_dir()]
        else:
            members = [member.name for _, member in tar_members(file) if member.isfile()]
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

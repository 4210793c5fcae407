"""Images that lie in archives: fetch one archive, read the wanted members as they come, unpack nothing to disk."""

import contextlib
import hashlib
import os
import re
import stat
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from geoprobe.hub_files import check_addresses, endpoint_of
from geoprobe.images.embedded import MAGIC, read_embedded
from geoprobe.images.fetch import FetchError, fetch_file, file_digests, wrong_checksum
from geoprobe.images.files import BROKEN, folder_members, tar_members

HUB = re.compile(r"hub://datasets/(?P<repo>[^@]+)@(?P<revision>[^/]+)/(?P<file>.+)")
# of the others a few kilobytes may unpack to gigabytes at once, whatever is asked for
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class AccessError(FetchError):
    """An archive that the hub gives only to accounts which have agreed to its conditions."""


@contextlib.contextmanager
def fetched_archive(address, folder, network, md5="", sha256=""):
    """Fetch an archive for as long as the context lasts.

    Args:
        address: http or https address, "hub://datasets/<repository>@<revision>/<file>" for one of the Hugging Face
            hub (or of what HF_ENDPOINT names), or the path or file:// address of one on this machine, which stays.
        folder: where it is put and, if the context ends well, removed again; one that lies in the hub's own cache is
            used there and left there.
        network: options of the network.
        md5, sha256: checksums in hexadecimal digits, "" where unknown.

    Yields:
        Its path.

    Raises:
        AccessError: the hub wants an account; says what to do.
        FetchError: it cannot be fetched, or is not what the checksum says.
    """
    if (local := local_path(address)) is not None:
        if wrong := (md5 or sha256) and wrong_checksum(file_digests(local), md5, sha256):
            raise FetchError(address, "checksum wrong", wrong, retryable=True)
        yield local
        return
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if match := HUB.fullmatch(address):
        path, ours = _fetch_from_hub(address, folder, network, **match.groupdict())
        if wrong := (md5 or sha256) and wrong_checksum(file_digests(path), md5, sha256):
            if ours:
                path.unlink()
            raise FetchError(address, "checksum wrong", wrong, retryable=True)
    else:
        # the address's own last name may be anything, or that of another archive too
        path, ours = folder / hashlib.sha256(address.encode()).hexdigest()[:16], True
        fetch_file(address, path, network, md5, sha256)
    yield path
    if ours:
        path.unlink()


def local_path(address):
    """The path that an address names on this machine, or None where it names another place."""
    if address.startswith("file://"):
        return Path(unquote(urlsplit(address).path))
    return None if "://" in address else Path(address)


def _fetch_from_hub(address, folder, network, repo, revision, file):
    """Path of a file of the hub, and whether it is ours to remove."""
    import huggingface_hub
    from huggingface_hub import errors

    where = {"repo_type": "dataset", "revision": revision}
    cached = huggingface_hub.try_to_load_from_cache(repo, file, **where)
    if isinstance(cached, str):
        return Path(cached), False
    endpoint = os.environ.get("HF_ENDPOINT") or None
    check_addresses(endpoint_of({}), network)
    try:
        path = huggingface_hub.hf_hub_download(repo, file, **where, local_dir=folder / "hub", endpoint=endpoint)
    except (errors.HTTPError, errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        code = _code(error) or _code(error.__cause__)
        if code in (401, 403):
            advice = (
                f"Agree to the conditions on the page of the data set {repo} with your account, make a token that may "
                "read it, and set it as HF_TOKEN or by `hf auth login`."
            )
            raise AccessError(address, f"http {code}", "the hub gives it only to accounts", advice=advice) from error
        if code is not None:
            raise FetchError(address, f"http {code}", retryable=code == 429 or code >= 500) from error
        advice = "See whether this machine reaches the hub, and whether HF_HUB_OFFLINE or HF_ENDPOINT is set."
        raise FetchError(address, "connection failed", type(error).__name__, True, advice) from error
    return Path(path), True


def _code(error):
    """Status code of the answer behind an error of the hub's library, or None."""
    return getattr(getattr(error, "response", None), "status_code", None)


def is_unsafe(name):
    """Whether a member's name leads out of the folder that it would be unpacked into, on any system."""
    parts = re.split(r"[/\\]", name)
    return not name or parts[0] == "" or ".." in parts or bool(re.match("[A-Za-z]:", name)) or "\0" in name


def _plain(name):
    return name.removeprefix("./")


def read_members(path, wanted, max_bytes):
    """Read members of a tar (compressed or not), zip or Parquet file in its order, or files of a folder, each once.

    Args:
        path: the archive; of a Parquet file a member is "<column>/<row from 0>".
        wanted: names of members, "./" before them or not.
        max_bytes: of one member.

    Yields:
        (name as wanted, bytes, "", "") or (name, None, status, detail) for each wanted name, where status is "unsafe
        member", "too large", "member missing" or "archive broken".
    """
    left = {}
    for name in wanted:
        if is_unsafe(name):
            yield name, None, "unsafe member", "the name leads out of the archive"
        else:
            left.setdefault(_plain(name), []).append(name)
    names = [name for names in left.values() for name in names]
    if Path(path).is_dir():
        yield from folder_members(path, names, max_bytes)
        return
    status, detail = "member missing", ""
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
        if magic == MAGIC:
            yield from read_embedded(path, names, max_bytes)
            return
        zipped = magic in (b"PK\x03\x04", b"PK\x05\x06")
        for found, data, *why in _zip_members(path, left, max_bytes) if zipped else _tar_members(path, left, max_bytes):
            for name in left.pop(found):
                yield name, data, *why
    except BROKEN as error:
        status, detail = "archive broken", f"{type(error).__name__}: {error}"
    for names in left.values():
        for name in names:
            yield name, None, status, detail


def _tar_members(path, left, max_bytes):
    with open(path, "rb") as file:
        for archive, member in tar_members(file):
            name = _plain(member.name)
            if name not in left:
                continue
            if not member.isreg():
                yield name, None, "unsafe member", "a link, a device or a folder"
            elif member.size > max_bytes:
                yield name, None, "too large", f"{member.size} bytes"
            else:
                yield name, archive.extractfile(member).read(), "", ""
            if not left:
                return


def _zip_members(path, left, max_bytes):
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
            name = _plain(member.filename)
            if name not in left:
                continue
            mode = member.external_attr >> 16
            if member.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
                yield name, None, "unsafe member", "a link, a device or a folder"
                continue
            if member.compress_type not in COMPRESSIONS:
                yield name, None, "unsafe member", "compressed in another way than deflate"
                continue
            try:
                with archive.open(member) as file:
                    data = file.read(max_bytes + 1)
            except (*BROKEN, RuntimeError) as error:
                # the directory leads to each member, so that a damaged or encrypted one (RuntimeError) hides no other
                yield name, None, "archive broken", f"{type(error).__name__}: {error}"
                continue
            if len(data) > max_bytes:
                yield name, None, "too large", f"more than {max_bytes} bytes"
            else:
                yield name, data, "", ""

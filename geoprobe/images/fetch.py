"""One large file from a server: resumed where it broke off, checked, and in place only when whole."""

import asyncio
import fcntl
import hashlib
import json
import os
import re
from pathlib import Path

from tqdm import tqdm

from geoprobe.images.http import Client, RequestFailed, network_options, try_again
from geoprobe.runtime import replacing
from geoprobe.secrets import redact

CHUNK = 1 << 20
NUMBER = re.compile("[0-9]{1,18}")  # of bytes
ADVICE = {
    "http 401": "The server asks who you are; see whether the file has moved to a public address.",
    "http 403": "The server does not let you have it; see whether it wants an agreement first.",
    "http 404": "It is not there any more; set another address in the data set's options.",
    "private address": "If the server is your own, name its host in download.allow_private.",
    "redirect to a private address": "If the server is your own, name its host in download.allow_private.",
    "checksum wrong": "Run again, and if it stays so, the file has changed: set its new checksum or another address.",
}
LATER = "Run again later; what has come is kept and not fetched again."


class FetchError(RuntimeError):
    """A file that could not be fetched.

    Attributes:
        url: its address, without secrets.
        status: the reason in a few fixed words, such as "timed out", "http 404" or "checksum wrong".
        detail: what else there is to say.
        retryable: whether it may succeed later.
    """

    def __init__(self, url, status, detail="", retryable=False, advice=""):
        advice = advice or ADVICE.get(status) or (LATER if retryable else "Set another address.")
        self.url, self.detail = redact(url), redact(detail)
        super().__init__(f"{self.url}: {status}{f' ({self.detail})' if detail else ''}. {advice}")
        self.status, self.retryable = status, retryable


class _Part:
    """The unfinished file, its sidecar, and the digests of what is in it.

    The sidecar tells which version of the file the bytes are of: {"url", "validator", "bytes"}, where validator is a
    strong ETag or a Last-Modified date, "" if the server gives neither, and bytes is the whole length or None.
    """

    def __init__(self, file, url):
        self.file, self.path, self.url = file, Path(file.name), url
        self.sidecar = self.path.with_name(f"{self.path.name}.json")
        if not self._lock():
            raise FetchError(url, "already under way", f"another process writes {self.path}", advice="Let it end.")
        try:
            version = json.loads(self.sidecar.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            version = {}
        self._reset()
        if version.get("url") == redact(url) and version.get("validator"):
            self.validator, self.total = version["validator"], version["bytes"]
            self.file.seek(0)
            while chunk := self.file.read(CHUNK):
                self._count(chunk)
        else:
            self.restart("", None)

    def _lock(self):
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # else another process has finished the file just now, and what is open here is its work
        return self.path.exists() and os.path.samestat(os.fstat(self.file.fileno()), self.path.stat())

    def _reset(self):
        self.size, self.digests = 0, {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}

    def _count(self, chunk):
        self.size += len(chunk)
        for digest in self.digests.values():
            digest.update(chunk)

    def restart(self, validator, total):
        """Empty the file; what comes next is of another version."""
        self.file.truncate(0)
        self._reset()
        self.validator, self.total = validator, total
        with replacing(self.sidecar) as temporary:
            # without its secrets: a signature that is new each time still leads to the same file
            version = {"url": redact(self.url), "validator": validator, "bytes": total}
            temporary.write_text(json.dumps(version), encoding="utf-8")

    def append(self, chunk):
        """Add bytes at the end."""
        self.file.write(chunk)
        self._count(chunk)

    def is_whole(self):
        """Whether all bytes are there, as far as the length is known."""
        return self.total is not None and self.size == self.total

    def finish(self, path):
        """Give the file, bytes on disk, its own name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.path.replace(path)
        self.sidecar.unlink()

    def remove(self):
        """Remove the file and its sidecar."""
        self.sidecar.unlink(missing_ok=True)
        self.path.unlink()


def _validator(headers):
    """What tells a version of a file from another: a strong ETag or the date of the last change (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _ranged(response):
    """First byte and whole length by the Content-Range of a partial answer; (-1, None) where it is unreadable."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    first, total = (int(text) if NUMBER.fullmatch(text) else None for text in (span.partition("-")[0], total))
    return (-1, None) if unit != "bytes" or first is None else (first, total)


async def _receive(client, part, progress):
    """One request for what is missing; returns when the body has ended well."""
    resume = part.size > 0 and part.validator
    headers = {"Range": f"bytes={part.size}-", "If-Range": part.validator} if resume else None
    async with client.open(part.url, headers, accepted=(200, 206) if resume else (200,)) as response:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            encoding = response.headers["Content-Encoding"]
            raise RequestFailed("encoded", f"the server insists on sending it as {encoding}")
        if response.status == 206:
            first, total = _ranged(response)
            version = _validator(response.headers)
            other = (version and version != part.validator) or (total and part.total and total != part.total)
            if first != part.size or other:
                part.restart("", None)
                raise RequestFailed("truncated", "the server went on with another version of the file", True)
            part.total = part.total or total
        else:
            part.restart(_validator(response.headers), response.content_length)
            progress.reset(total=part.total)
        progress.n = part.size
        async for chunk in response.content.iter_chunked(CHUNK):
            part.append(chunk)
            progress.update(len(chunk))
    if part.total is None:
        part.total = part.size  # the server said no length, but it did say that this was the end


async def _download(part, network):
    """Ask until the file is whole. When the attempts are used up, they are counted anew if they brought it on."""
    most, bar = part.size, {"unit": "B", "unit_scale": True, "desc": part.path.stem, "mininterval": 5}
    async with Client(network) as client:
        with tqdm(total=part.total, initial=part.size, **bar) as progress:

            async def receive():
                try:
                    await _receive(client, part, progress)
                except RequestFailed as failure:
                    if failure.http_status == 416:  # what is there is no beginning of what the server has now
                        part.restart("", None)
                        failure.retryable = True
                    raise

            while not part.is_whole():
                try:
                    await try_again(receive, network["attempts"])
                except RequestFailed as failure:
                    if not failure.retryable or part.size <= most:
                        raise
                    most = part.size


async def _length(url, network):
    """Length that a server says a file has, or None. The body is not read."""
    async with Client(network) as client:

        async def ask():
            async with client.open(url) as response:
                return response.content_length

        return await try_again(ask, network["attempts"])


def file_digests(path):
    """MD5 and SHA-256 of a file as a dict of hexadecimal text."""
    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def wrong_checksum(digests, md5="", sha256=""):
    """What is wrong with digests where checksums are expected, in words; "" if nothing is."""
    for name, expected in (("md5", md5), ("sha256", sha256)):
        if expected and digests[name] != expected.lower():
            return f"{name} is {digests[name]} instead of {expected}"
    return ""


def fetch_file(url, path, network, md5="", sha256=""):
    """Fetch one file by http or https, unless it is there already.

    It is streamed to `<path>.part` and renamed when whole. A later call goes on where an earlier one ended, if the
    server still has the same version. A file that is there is kept if its checksum is right or, where none is given,
    if its length is what the server says.

    Args:
        url: its address.
        path: where to put it.
        network: options of the network, see :data:`geoprobe.images.http.NETWORK`.
        md5, sha256: checksums in hexadecimal digits, "" where unknown.

    Returns:
        A dict: file (its name), url, bytes, sha256.

    Raises:
        FetchError: it could not be fetched, or it is not what the checksum says. What has come is kept if it may be
            gone on with later.
    """
    path, network = Path(path), network_options(network)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.is_file():
            digests = file_digests(path)
            if not wrong_checksum(digests, md5, sha256) and (
                md5 or sha256 or path.stat().st_size == asyncio.run(_length(url, network))
            ):
                return {"file": path.name, "url": url, "bytes": path.stat().st_size, "sha256": digests["sha256"]}
        with open(path.with_name(f"{path.name}.part"), "a+b") as file:
            part = _Part(file, url)
            try:
                asyncio.run(_download(part, network))
            except RequestFailed as failure:
                if not failure.retryable:
                    part.remove()
                raise
            digests = {name: digest.hexdigest() for name, digest in part.digests.items()}
            if wrong := wrong_checksum(digests, md5, sha256):
                part.remove()
                raise FetchError(url, "checksum wrong", wrong, retryable=True)
            part.finish(path)
    except RequestFailed as failure:
        raise FetchError(url, failure.status, failure.detail, failure.retryable) from failure
    return {"file": path.name, "url": url, "bytes": part.size, "sha256": digests["sha256"]}

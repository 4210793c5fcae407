"""An http server on this machine that serves images and files, and misbehaves by path; and a watch over connections.

What the first part of a path says is how an image is served; the rest only tells one image from another:
    ok          as it is                         busy-once, busy     429 with Retry-After: 0, at first or always
    endless     without any length               error-once, error   500, at first or always
    gone        404                              silent              no answer
    html        a page                           cut, cut-once       the connection ends in the middle of the body
    half        the half of a file as if it were all of it
    bomb        a PNG of 200 megapixels          trickle             a byte now and then, without end
    noai, botnoai, noindex   X-Robots-Tag        huge                300,000 bytes, "chunked" without saying so before
    loop        a redirect to itself             away                a redirect to what `redirects` says of the path
Anything in `files` is served with ETag and ranges, and `answers` says by path what a function makes of a request. Where
the first part of a path is none of these, the answer is 404.
"""

import asyncio
import collections
import contextlib
import functools
import io
import ipaddress
import re
import struct
import sys
import threading
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from aiohttp import web
from PIL import Image

PIECE = 50_000  # bytes
MANNERS = {
    *("ok", "busy", "busy-once", "error", "error-once", "cut", "cut-once", "gone", "html", "bomb", "loop", "silent"),
    *("trickle", "huge", "endless", "half", "noai", "botnoai", "noindex"),
}


class Asked(NamedTuple):
    """A request: the first value of each name of its query, headers, body, and path and query as they were sent."""

    query: dict
    headers: Mapping
    body: bytes
    path_qs: str


@functools.cache
def photo(seed, form="JPEG", size=(48, 36)):
    """An encoded image that looks like no other."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(buffer, format=form)
    return buffer.getvalue()


@functools.cache
def bomb(width=20_000, height=10_000):
    """A PNG file of a few kilobytes that says it has so many pixels and keeps its word."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * ((1 + (width + 7) // 8) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


class ImageServer:
    """The server, in a thread of its own; use it as a context.

    Attributes:
        root: its address.
        requests: path to how often it was asked for.
        headers: path to the headers of the last request.
        files: path to bytes; etags: path to what the ETag is to be, by default one of the bytes ("" for none).
        redirects: path to where it leads; refusals: path to status and headers.
        answers: path to a function from what was Asked, called in a thread, to what is answered: a tuple of status,
            headers and bytes, or else JSON.
        file_headers: more headers of every file.
        ranges: whether ranges are served.
        cuts: path to numbers of bytes after which the connection ends, one a request, until they are used up.
        pause: seconds between two pieces of a file; chunked: whether it is sent without its length.
    """

    def __init__(self):
        self.forget()

    def forget(self):
        """Be as new, at the same address."""
        self.requests, self.headers = collections.Counter(), {}
        self.files, self.etags, self.redirects, self.cuts, self.ranges = {}, {}, {}, {}, True
        self.refusals, self.file_headers, self.answers = {}, {}, {}
        self.retry_after, self.pause, self.chunked = "0", 0.0, False

    def __enter__(self):
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self.thread.start()
        ready.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()

    async def _serve(self, ready):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.root = f"http://127.0.0.1:{self.port}"
        ready.set()
        await self.stop.wait()
        await runner.cleanup()

    async def _handle(self, request):
        path = request.path
        self.requests[path] += 1
        self.headers[path] = request.headers.copy()
        if path in self.files:
            return await self._file(request, path)
        if path in self.answers:
            return await self._answer(request, path)
        if path in self.refusals:
            status, headers = self.refusals[path]
            return web.Response(status=status, headers=headers)
        if path in self.redirects:
            return web.Response(status=302, headers={"Location": self.redirects[path]})
        manner = path.split("/")[1]
        if manner not in MANNERS:
            return web.Response(status=404)
        first = self.requests[path] == 1
        body = photo(int(re.search(r"\d+", path).group())) if re.search(r"\d", path) else photo(0)
        if manner in ("busy", "busy-once") and (first or manner == "busy"):
            return web.Response(status=429, headers={"Retry-After": self.retry_after})
        if manner in ("error", "error-once") and (first or manner == "error"):
            return web.Response(status=500)
        if manner in ("cut", "cut-once") and (first or manner == "cut"):
            return await self._cut(request, body, len(body) // 2)
        if manner == "gone":
            return web.Response(status=404)
        if manner == "html":
            return web.Response(text="<p>Please log in</p>", content_type="text/html")
        if manner == "bomb":
            return web.Response(body=bomb(), content_type="image/png")
        if manner == "loop":
            return web.Response(status=301, headers={"Location": path})
        if manner == "silent":
            await asyncio.sleep(60)
        if manner == "trickle":
            return await self._trickle(request)
        if manner == "huge":
            return await self._huge(request)
        if manner == "endless":
            return await self._endless(request, body)
        if manner == "half":
            body = body[: len(body) // 2]
        response = web.Response(body=body, content_type="image/jpeg")
        tags = {
            "noai": ["noai, noimageai"],
            "botnoai": ["noindex", "OtherBot: nofollow, noai"],
            "noindex": ["noindex, nofollow", "googlebot: noimageindex"],
        }
        for tag in tags.get(manner, ()):
            response.headers.add("X-Robots-Tag", tag)
        return response

    async def _answer(self, request, path):
        asked = Asked(dict(request.query), request.headers.copy(), await request.read(), request.raw_path)
        said = await asyncio.to_thread(self.answers[path], asked)
        if not isinstance(said, tuple):
            return web.json_response(said)
        status, headers, body = said
        return web.Response(status=status, headers=headers, body=body)

    async def _cut(self, request, body, place, status=200, headers=None):
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[:place])
        request.transport.close()
        return response

    async def _trickle(self, request):
        response = web.StreamResponse()
        response.content_length = 10_000
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(600):
                await response.write(b"x")
                await asyncio.sleep(0.05)
        return response

    async def _huge(self, request):
        response = web.StreamResponse()
        if "chunked" not in request.path:
            response.content_length = 6 * PIECE
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client has seen enough
            for _ in range(6):
                await response.write(bytes(PIECE))
        return response

    async def _endless(self, request, body):
        """A body whose end only the end of the connection tells, as HTTP/1.0 does it."""
        half = body[: len(body) // 2] if "half" in request.path else body
        request.transport.write(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + half)
        request.transport.close()
        await asyncio.sleep(60)

    async def _file(self, request, path):
        body, status = self.files[path], 200
        tag = self.etags.get(path, f'"{zlib.crc32(body)}"')
        headers = self.file_headers | ({"ETag": tag} if tag else {})
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if asked and self.ranges and request.headers.get("If-Range", tag) == tag:
            first = int(asked.group(1))
            if first >= len(body):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            body, status = body[first:], 206
        if self.cuts.get(path):
            return await self._cut(request, body, self.cuts[path].pop(0), status, headers)
        if not self.pause and not self.chunked:
            return web.Response(body=body, status=status, headers=headers)
        response = web.StreamResponse(status=status, headers=headers)
        if not self.chunked:
            response.content_length = len(body)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client may be gone
            for start in range(0, len(body), PIECE):
                await response.write(body[start : start + PIECE])
                await asyncio.sleep(self.pause)
        return response


class _Watch:
    """Whether connections are watched, and where they went."""

    on, seen = False, None


def _audit(event, arguments):
    if event != "socket.connect" or not _Watch.on or not isinstance(arguments[1], tuple):
        return
    _Watch.seen.append(arguments[1][:2])
    if not ipaddress.ip_address(arguments[1][0]).is_loopback:
        raise PermissionError(f"a test tried to connect to {arguments[1]}")


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched_connections():
    """A list that fills with the address of every connection that this process opens; one to elsewhere is refused.

    The interpreter itself tells of them, whatever library opens them.
    """
    _Watch.on, _Watch.seen = True, []
    try:
        yield _Watch.seen
    finally:
        _Watch.on = False

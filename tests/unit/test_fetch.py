"""Fetching one large file: resumed where it broke off, checked, whole or absent."""

import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from image_server import ImageServer

from geoprobe.images.fetch import FetchError, fetch_file

NETWORK = {"attempts": 3, "timeout_s": 30, "requests_per_second": 0, "allow_private": True}
CONTENT = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def server(direct):
    with ImageServer() as server:
        server.files["/data.bin"] = CONTENT
        yield server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "below" / "data.bin"


def digest(content, name="sha256"):
    return hashlib.new(name, content).hexdigest()


def begin(target, url, content, validator, total):
    """Leave an unfinished file behind, as a killed process does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name("data.bin.part").write_bytes(content)
    sidecar = {"url": url, "validator": validator, "bytes": total}
    target.with_name("data.bin.part.json").write_text(json.dumps(sidecar))


def alone(target):
    """Whether nothing but the file itself is in its folder."""
    return [path.name for path in target.parent.iterdir()] == [target.name]


def asked_range(server):
    return server.headers["/data.bin"].get("Range")


def test_a_file_is_fetched_whole_and_described(server, target):
    url = f"{server.root}/data.bin"
    said = fetch_file(url, target, NETWORK)
    assert said == {"file": "data.bin", "url": url, "bytes": len(CONTENT), "sha256": digest(CONTENT)}
    assert target.read_bytes() == CONTENT
    assert alone(target)


@pytest.mark.parametrize("content", [b"", b"x"])
def test_tiny_files_are_files(server, target, content):
    server.files["/data.bin"] = content
    assert fetch_file(f"{server.root}/data.bin", target, NETWORK)["bytes"] == len(content)
    assert target.read_bytes() == content


def test_a_file_that_is_there_is_not_fetched_again(server, target):
    url = f"{server.root}/data.bin"
    said = fetch_file(url, target, NETWORK)
    before = target.stat()
    for options in ({"sha256": digest(CONTENT)}, {"md5": digest(CONTENT, "md5").upper()}):
        server.requests.clear()
        assert fetch_file(url, target, NETWORK, **options) == said
        assert not server.requests
    assert fetch_file(url, target, NETWORK) == said  # without a checksum the server is asked for the length
    assert server.requests["/data.bin"] == 1
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_of_another_length_or_checksum_is_fetched_again(server, target):
    url = f"{server.root}/data.bin"
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    fetch_file(url, target, NETWORK)
    assert target.read_bytes() == CONTENT
    target.write_bytes(CONTENT[::-1])
    fetch_file(url, target, NETWORK, sha256=digest(CONTENT))
    assert target.read_bytes() == CONTENT


def test_an_unfinished_file_is_gone_on_with(server, target):
    url, done = f"{server.root}/data.bin", 1_234_567
    server.etags["/data.bin"] = '"1"'
    begin(target, url, CONTENT[:done], '"1"', len(CONTENT))
    said = fetch_file(url, target, NETWORK, sha256=digest(CONTENT))
    assert asked_range(server) == f"bytes={done}-"
    assert server.headers["/data.bin"]["If-Range"] == '"1"'
    assert said["sha256"] == digest(CONTENT)
    assert target.read_bytes() == CONTENT
    assert alone(target)


def test_what_is_kept_is_really_used(server, target):
    # the first half is another than the server's, and no checksum tells
    half = len(CONTENT) // 2
    begin(target, f"{server.root}/data.bin", b"#" * half, '"1"', len(CONTENT))
    server.etags["/data.bin"] = '"1"'
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert target.read_bytes() == b"#" * half + CONTENT[half:]


@pytest.mark.parametrize("validator", ['"old"', "", 'W/"weak"'])
def test_another_version_is_started_anew(server, target, validator):
    begin(target, f"{server.root}/data.bin", b"#" * 1000, validator, len(CONTENT))
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert target.read_bytes() == CONTENT


def test_an_unfinished_file_of_another_address_is_started_anew(server, target):
    server.etags["/data.bin"] = '"1"'
    begin(target, f"{server.root}/other.bin", b"#" * 1000, '"1"', len(CONTENT))
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert asked_range(server) is None
    assert target.read_bytes() == CONTENT


def test_a_server_that_goes_on_with_another_version_is_not_believed(server, target):
    """It ignores If-Range, and its ETag gives it away."""
    server.etags["/data.bin"] = '"new"'
    begin(target, f"{server.root}/data.bin", b"#" * 1000, '"old"', len(CONTENT))
    handle = server._file

    async def careless(request, path):
        headers = request.headers.copy()
        headers.pop("If-Range", None)
        return await handle(request.clone(headers=headers), path)

    server._file = careless
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert server.requests["/data.bin"] == 2
    assert target.read_bytes() == CONTENT


def test_an_unfinished_file_longer_than_the_servers_is_started_anew(server, target):
    server.etags["/data.bin"] = '"1"'
    begin(target, f"{server.root}/data.bin", b"#" * (len(CONTENT) + 5), '"1"', len(CONTENT) + 9)
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert target.read_bytes() == CONTENT


def test_a_file_killed_just_before_its_renaming_is_not_asked_for_again(server, target):
    begin(target, f"{server.root}/data.bin", CONTENT, '"1"', len(CONTENT))
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert not server.requests
    assert target.read_bytes() == CONTENT


def test_broken_connections_are_resumed_for_as_long_as_they_bring_something(server, target):
    """Eight breaks are more than the three attempts, but each attempt gets on."""
    server.cuts["/data.bin"] = [300_000] * 8
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert server.requests["/data.bin"] == 9
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_from_the_start(server, target):
    server.ranges, server.cuts["/data.bin"] = False, [2_000_000, 10]
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert server.requests["/data.bin"] == 3
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ["", 'W/"1"'])
def test_a_server_without_a_strong_etag_is_asked_from_the_start(server, target, tag):
    server.etags["/data.bin"], server.cuts["/data.bin"] = tag, [2_000_000, 10]
    fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert asked_range(server) is None
    assert target.read_bytes() == CONTENT


def test_a_server_that_breaks_off_each_time_ends_in_an_error_that_keeps_what_has_come(server, target):
    server.ranges, server.cuts["/data.bin"] = False, [1000] * 50
    with pytest.raises(FetchError, match=r"/data\.bin: truncated .*Run again later; what has come is kept") as caught:
        fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert (caught.value.status, caught.value.retryable) == ("truncated", True)
    # attempts are counted anew once, after they had brought the first bytes
    assert server.requests["/data.bin"] == 2 * NETWORK["attempts"]
    assert not target.exists()
    assert target.with_name("data.bin.part").stat().st_size == 1000


def test_a_wrong_checksum_is_an_error_that_keeps_nothing(server, target):
    with pytest.raises(FetchError, match=rf"checksum wrong \(md5 is {digest(CONTENT, 'md5')} instead of 00") as caught:
        fetch_file(f"{server.root}/data.bin", target, NETWORK, md5="00" * 16)
    assert (caught.value.status, caught.value.retryable) == ("checksum wrong", True)
    assert list(target.parent.iterdir()) == []


def test_a_file_without_a_length_is_whole_when_its_server_says_so(server, target):
    server.chunked = True
    assert fetch_file(f"{server.root}/data.bin", target, NETWORK)["bytes"] == len(CONTENT)
    assert target.read_bytes() == CONTENT


def test_a_file_that_is_compressed_on_its_way_is_refused(server, target):
    handle = server._file

    async def compressed(request, path):
        response = await handle(request, path)
        response.headers["Content-Encoding"] = "gzip"
        return response

    server._file = compressed
    with pytest.raises(FetchError, match="the server insists on sending it as gzip"):
        fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert not target.exists()


def test_a_429_is_waited_for_as_the_server_says(server, target):
    server.retry_after = "1"
    start = time.monotonic()
    fetch_file(f"{server.root}/busy-once/1", target, NETWORK)
    assert time.monotonic() - start >= 1
    assert server.requests["/busy-once/1"] == 2


@pytest.mark.parametrize(
    ("path", "status", "retryable", "requests", "advice"),
    [
        ("gone/1", "http 404", False, 1, "set another address"),
        ("error/1", "http 500", True, 3, "Run again later"),
        ("busy/1", "http 429", True, 3, "Run again later"),
        ("silent/1", "timed out", True, 3, "Run again later"),
    ],
)
def test_failures_name_the_address_the_reason_and_what_to_do(server, target, path, status, retryable, requests, advice):
    with pytest.raises(FetchError, match=rf"/{path}: {status}.*{advice}") as caught:
        fetch_file(f"{server.root}/{path}", target, NETWORK | ({"timeout_s": 0.2} if status == "timed out" else {}))
    assert (caught.value.status, caught.value.retryable) == (status, retryable)
    assert caught.value.url == f"{server.root}/{path}"
    assert server.requests[f"/{path}"] == requests
    assert "\n" not in str(caught.value)
    left = [path.name for path in target.parent.iterdir()]
    assert sorted(left) == (["data.bin.part", "data.bin.part.json"] if retryable else [])


def test_a_private_address_is_refused_with_the_option_that_allows_it(server, target):
    with pytest.raises(FetchError, match=r"private address.*download\.allow_private"):
        fetch_file(f"{server.root}/data.bin", target, {**NETWORK, "allow_private": False})
    assert not server.requests


def test_a_second_process_is_told_of_the_first(server, target):
    target.parent.mkdir()
    with open(target.with_name("data.bin.part"), "wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match=r"already under way .*data\.bin\.part"):
            fetch_file(f"{server.root}/data.bin", target, NETWORK)
    assert not server.requests


SCRIPT = """
import sys
from geoprobe.images.fetch import fetch_file
fetch_file(sys.argv[1], sys.argv[2], {"allow_private": True, "timeout_s": 30})
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_killed_process_leaves_no_file_and_its_successor_goes_on(server, target, seed, chunked):
    url, part = f"{server.root}/data.bin", target.with_name("data.bin.part")
    server.pause, server.chunked = 0.01, chunked
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, url, str(target)], stderr=subprocess.DEVNULL)
    wanted = random.Random(seed).randrange(100_000, 2_500_000)
    while process.poll() is None and not (part.exists() and part.stat().st_size >= wanted):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not target.exists()
    kept = part.stat().st_size
    server.pause = 0
    fetch_file(url, target, NETWORK, sha256=digest(CONTENT))
    assert asked_range(server) == f"bytes={kept}-"
    assert target.read_bytes() == CONTENT
    assert alone(target)

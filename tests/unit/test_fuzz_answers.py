"""Answers of servers: whatever they say, a request ends in what was asked for or in the error that says why not."""

import asyncio
import hashlib
import json
import socket
import threading
import time
import types

import huggingface_hub.constants
import pandas as pd
import pytest
from fuzzing import TEXTS, altered, damaged, guarded
from hub_photos import FILES, REPO, put_on
from hub_server import Hub, blob_name
from hypothesis import example, given
from hypothesis import strategies as st
from image_server import ImageServer, watched_connections

from geoprobe.images import commons_photos, hub
from geoprobe.images.archives import is_unsafe
from geoprobe.images.commons import resolve_coordinates
from geoprobe.images.fetch import FetchError, _ranged, fetch_file
from geoprobe.images.http import (
    RETRY_AFTER_CAP_S,
    Client,
    RequestFailed,
    is_public,
    literal_address,
    retry_after_s,
)

NETWORK = {"attempts": 1, "timeout_s": 5, "requests_per_second": 0, "allow_private": True}


@pytest.fixture(scope="module", autouse=True)
def _no_proxy():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "no_proxy", "HF_TOKEN", "HF_ENDPOINT"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


# headers and addresses

DATES = ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 9999 07:28:00 -9959", "Mon, 1 Jan 0001 00:00:00 +2359"]
HEADERS = st.one_of(
    TEXTS, damaged([date.encode() for date in DATES]).map(lambda data: data.decode("latin-1")),
    st.sampled_from(["9" * 5000, "١٢", "-1", "1e9", "²"]),
)  # fmt: skip


@given(value=HEADERS, now=st.floats(0, 4e9))
def test_how_long_to_wait(value, now):
    with guarded():
        assert 0 <= retry_after_s(value, now) <= RETRY_AFTER_CAP_S


RANGES = st.lists(
    st.one_of(st.sampled_from(["bytes", " ", "-", "/", "*", "0", "١", "9" * 5000, "²"]), TEXTS), max_size=6
).map("".join)


@example(value=f"bytes {'9' * 5000}-")
@given(value=RANGES)
def test_the_range_of_a_part(value):
    with guarded():
        first, total = _ranged(types.SimpleNamespace(headers={"Content-Range": value}))
        assert first >= -1
        assert total is None or total >= 0


HOSTS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "10.0.0.1",
    "169.254.169.254",
    "[fe80::1%25eth0]",
    "a.test",
    "xn--",
    "１２７.0.0.1",
    "a..b",
    "-",
    "%31%32%37.0.0.1",
    "a" * 70,
    "é.test",
]
ADDRESSES = st.one_of(
    st.tuples(
        st.sampled_from(["http://", "https://", "HTTP://", "file://", "ftp://", "//", "", "http:/", "http:\\\\"]),
        st.sampled_from(["", "ann:x@", "@", "8.8.8.8@"]),
        st.one_of(st.sampled_from(HOSTS), TEXTS),
        st.sampled_from(["", ":80", ":0", ":99999", ":-1", ":x", ":"]),
        st.one_of(st.sampled_from(["", "/", "/a?b#c", "\\@8.8.8.8/", "/\r\nHost: a"]), TEXTS),
    ).map("".join),
    TEXTS,
)  # fmt: skip


@given(address=ADDRESSES)
def test_no_address_leads_to_this_machine_or_its_network(address):
    """Names lead to this machine; whatever else an address says, nothing is connected to."""

    def resolve(host, port, *_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port or 80))]

    async def ask():
        async with Client(NETWORK | {"allow_private": False}) as client, client.open(address):
            raise AssertionError("an answer came")

    with pytest.MonkeyPatch.context() as patch, watched_connections() as seen:
        patch.setattr(socket, "getaddrinfo", resolve)
        with guarded(RequestFailed) as caught:
            asyncio.run(ask())
    assert caught
    assert seen == []


@given(host=st.one_of(st.sampled_from(HOSTS), TEXTS))
def test_a_host_is_an_address_or_a_name(host):
    with guarded():
        if (address := literal_address(host)) is not None:
            is_public(address)


class RawServer:
    """A server that answers each connection with the same bytes, whatever is asked."""

    def __init__(self):
        self.answer = b""
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.root = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                try:
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    continue


@pytest.fixture(scope="module")
def raw():
    server = RawServer()
    yield server
    server.socket.close()


ANSWERS = [
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\nhello',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nllo",
    b"HTTP/1.1 302 Found\r\nLocation: ftp://a.test/x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
]
WORDS = [
    b"\r\n",
    b"\0",
    b"Location: http://[",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999\r\n",
    b"HTTP/9",
    b"\xff",
    b"1" * 5000,
]


@given(data=damaged(ANSWERS, WORDS), begun=st.booleans())
def test_a_server_that_answers_anything(raw, tmp_path_factory, data, begun):
    folder = tmp_path_factory.mktemp("fetched")
    path, raw.answer = folder / "list.csv", data
    if begun:
        (folder / "list.csv.part").write_bytes(b"he")
        (folder / "list.csv.part.json").write_text(
            json.dumps({"url": f"{raw.root}/list.csv", "validator": '"a"', "bytes": 5})
        )
    with guarded(FetchError, naming=raw.root):
        entry = fetch_file(f"{raw.root}/list.csv", path, NETWORK)
        assert path.stat().st_size == entry["bytes"]
    assert {found.name for found in folder.iterdir()} <= {"list.csv", "list.csv.part", "list.csv.part.json"}


# the hub


class Changed(Hub):
    """A hub that answers what is `said` of a data set: of the type dict about itself, list about its files."""

    def send(self, request, status, headers, body):
        if request.path.startswith("/api/") and status == 200:
            kind = dict if "/revision/" in request.path else list
            headers, body = {}, json.dumps(self.said.get(kind, json.loads(body))).encode()
        super().send(request, status, headers, body)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # no token, and no waiting between attempts
        patch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path_factory.mktemp("hub") / "none"))
        patch.setattr(time, "sleep", lambda seconds: None)
        server = Changed()
        server.options, server.said = put_on(server, FILES), {}
        yield server
        server.close()


INFO = {
    "id": REPO,
    "sha": "0" * 40,
    "gated": False,
    "private": False,
    "cardData": {"license": "cc0"},
    "siblings": [],
    "tags": [],
}
TREE = [
    {
        "type": "file",
        "path": path,
        "oid": blob_name(content),
        "size": len(content),
        "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130},
    }
    for path, content in FILES.items()
] + [{"type": "directory", "path": "images", "oid": "1" * 40, "size": 0}]
PATHS = st.one_of(
    TEXTS, st.sampled_from(["../list.csv", "/etc/list.csv", "a/../../b.zip", "list.csv", "..", "images/00.zip"])
)
PLACES = st.tuples(st.integers(0, len(TREE) - 1), st.sampled_from(["path", "oid", "type"]), PATHS)


@given(
    info=st.one_of(st.just(INFO), altered(INFO)),
    tree=st.one_of(st.just(TREE), altered(TREE)),
    sha=st.one_of(st.none(), PATHS),
    place=st.one_of(st.none(), PLACES),
    pattern=st.booleans(),
)
@example(info=INFO, tree=TREE, sha=None, place=(1, "oid", "../../x"), pattern=False)
@example(info=INFO, tree=TREE, sha=None, place=(1, "path", "../../list.csv"), pattern=True)
@example(info=INFO, tree=TREE, sha="../x", place=None, pattern=False)
@example(info=INFO, tree=[None], sha=None, place=None, pattern=False)
@example(info=[], tree=TREE, sha=None, place=None, pattern=False)
def test_a_hub_that_answers_anything(repository, tmp_path_factory, info, tree, sha, place, pattern):
    folder = tmp_path_factory.mktemp("repository")
    if isinstance(info, dict):
        right = repository.commit(REPO, -1) if info.get("sha") == INFO["sha"] else info.get("sha")
        info = info | {"sha": right if sha is None else sha}
    if place and isinstance(tree, list) and place[0] < len(tree) and isinstance(tree[place[0]], dict):
        tree = [entry | {place[1]: place[2]} if number == place[0] else entry for number, entry in enumerate(tree)]
    repository.said = {dict: info, list: tree}
    options = repository.options | ({"metadata": ["*.csv"]} if pattern else {})
    with guarded(FetchError, ValueError, naming=[REPO, repository.endpoint, str(folder)]):
        hub.fetch_metadata(options, folder / "metadata", NETWORK)
        for rows in hub.list_images(options, folder / "metadata"):
            assert not any(is_unsafe(member) for member in rows["member"] if member)
    assert {path.name for path in folder.iterdir()} <= {"metadata"}


# the Wikimedia APIs

PAGES = {
    "query": {
        "normalized": [{"fromencoded": False, "from": "Category:a", "to": "Category:A"}],
        "redirects": [{"from": "Category:A", "to": "Category:B"}],
        "pages": [
            {
                "pageid": 1,
                "title": "Category:B",
                "coordinates": [{"lat": 1.5, "lon": 2.5, "primary": True, "globe": "earth"}],
            },
            {"pageid": 2, "title": "Category:C", "pageprops": {"wikibase_item": "Q1"}},
        ],
    }
}
CLAIM = {
    "rank": "normal",
    "mainsnak": {
        "snaktype": "value",
        "datavalue": {"value": {"latitude": 1.0, "longitude": 2.0, "globe": "http://www.wikidata.org/entity/Q2"}},
    },
}
TOPIC = {"rank": "normal", "mainsnak": {"snaktype": "value", "datavalue": {"value": {"id": "Q5"}}}}
ENTITIES = {
    "entities": {"Q1": {"claims": {"P301": [TOPIC]}}, "Q5": {"claims": {"P625": [CLAIM]}, "redirects": {"from": "Q6"}}}
}
PHOTOS = {
    "batchcomplete": True,
    "query": {
        "pages": [
            {
                "pageid": 7,
                "title": "File:A.jpg",
                "imageinfo": [
                    {
                        "mime": "image/jpeg",
                        "url": "https://a.test/a.jpg",
                        "thumburl": "https://a.test/t.jpg",
                        "extmetadata": {"Artist": {"value": "<b>Ann</b>"}, "LicenseShortName": {"value": "CC0"}},
                    }
                ],
            }
        ]
    },
}
CATEGORIES = pd.DataFrame({"landmark_id": [1, 2], "category": ["Category:a", "Category:C"]})


@pytest.fixture(scope="module")
def wiki():
    with ImageServer() as server:
        yield server


def at(latitude):
    return {"query": {"pages": [{"title": "Category:C", "coordinates": [{"lat": latitude, "lon": 1}]}]}}


@example(pages=[], entities=ENTITIES)
@example(pages={"error": None}, entities=ENTITIES)
@example(pages={"query": {"pages": [{}]}}, entities=ENTITIES)
@example(pages={"continue": {}}, entities=ENTITIES)  # and so on without end
@example(pages=at("x"), entities=ENTITIES)
@example(pages=at(10**400), entities=ENTITIES)
@example(pages={"query": {"pages": [{"title": "\ud800"}]}}, entities={"entities": []})
@given(pages=st.one_of(altered(PAGES), st.just(PAGES)), entities=altered(ENTITIES))
def test_coordinates_from_any_answer(wiki, tmp_path_factory, pages, entities):
    path = tmp_path_factory.mktemp("coordinates") / "coordinates.parquet"
    wiki.answers = {"/commons": lambda query: pages, "/wikidata": lambda query: entities}
    with guarded(FetchError, naming=wiki.root):
        found = resolve_coordinates(CATEGORIES, path, NETWORK, f"{wiki.root}/commons", f"{wiki.root}/wikidata")
        known = found.dropna(subset=["latitude"])
        assert (known["latitude"].abs() <= 90).all()
        assert (known["longitude"].abs() <= 180).all()
        assert set(found["landmark_id"]) == {1, 2}


LANDMARKS = "name,latitude,longitude,category,country\nA,1,2,A,FR\n"


@example(answer={"query": {"pages": [{"imageinfo": [{"mime": "image/png"}]}]}})
@example(answer={"query": []})
@given(answer=altered(PHOTOS))
def test_photos_from_any_answer(wiki, tmp_path_factory, answer):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "landmarks.csv").write_text(LANDMARKS)
    wiki.answers = {"/commons": lambda query: answer}
    options = {"path": str(folder / "landmarks.csv"), "commons_api": f"{wiki.root}/commons"}
    with guarded(FetchError, naming=wiki.root):
        commons_photos.fetch_metadata(options, folder, NETWORK)
        for rows in commons_photos.list_images(options, folder):
            assert all(isinstance(url, str) for urls in rows["urls"] for url in urls)
            for name in ("id", "licence", "author"):
                rows[name].str.encode("utf-8")
        commons_photos.describe(options, folder)

"""Requests: who asks, which addresses are refused and when, how fast many jobs ask together, and when to try again."""

import asyncio
import base64
import contextlib
import datetime
import email.utils
import fcntl
import itertools
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_server import ImageServer, photo, watched_connections

import geoprobe
from geoprobe.images import http
from geoprobe.images.http import AddressRules, Client, Pace, RequestFailed

QUICK = {"attempts": 3, "timeout_s": 30, "requests_per_second": 0}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    with ImageServer() as server:
        yield server


@pytest.fixture
def connections():
    with watched_connections() as seen:
        yield seen


def ask(url, network=None, **options):
    """Status, body and final address of one request, or the RequestFailed."""

    async def once():
        async with (
            Client({**QUICK, "allow_private": True, **(network or {})}) as client,
            client.open(url, **options) as response,
        ):
            return response.status, await response.read(), str(response.url)

    try:
        return asyncio.run(once())
    except RequestFailed as failure:
        return failure


def names(monkeypatch, **hosts):
    """Let names lead to addresses (a list each), without asking anyone; returns the names that were looked up."""
    looked_up = []

    def resolve(host, port, *_, **__):
        if isinstance(host, bytes):
            host = host.decode()
        looked_up.append(host)
        known = hosts.get(host.split(".")[0])
        if known is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        pick = known if isinstance(known[0], str) else known.pop(0)
        family = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in pick]
        return [
            (kind, socket.SOCK_STREAM, 6, "", (address, port) if kind == socket.AF_INET else (address, port, 0, 0))
            for kind, address in zip(family, pick, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return looked_up


# who asks


def test_the_user_agent_names_the_program_its_version_and_whom_to_write_to(server):
    ask(f"{server.root}/ok/1", {"contact": "ann@example.org"})
    assert server.headers["/ok/1"]["User-Agent"] == f"geoprobe/{geoprobe.__version__} (+ann@example.org)"
    ask(f"{server.root}/ok/2")
    assert server.headers["/ok/2"]["User-Agent"] == f"geoprobe/{geoprobe.__version__}"


def test_a_misspelt_option_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"download\.timeout is no option of the network; there are .*timeout_s"):
        http.network_options({"timeout": 3})


# addresses


@pytest.mark.parametrize(
    "address",
    # IANA's registries of special-purpose addresses, both ends of what is not the public internet
    [
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
        "127.255.255.255", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.2.1", "192.168.0.1",
        "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1",
        "239.255.255.255", "240.0.0.0", "255.255.255.255",
        "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1",
        "2001::1", "2001:db8::1", "2002:a00:1::1", "fc00::1", "fdff::1", "fe80::1", "fe80::1%eth0", "fec0::1",
        "ff02::1",
    ],
)  # fmt: skip
def test_special_addresses_are_not_public(address):
    assert not http.is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
     "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "223.255.255.255", "2001:4860:4860::8888",
     "2606:4700::1111", "64:ff9b::808:808"],
)  # fmt: skip
def test_addresses_just_outside_the_special_ranges_are_public(address):
    assert http.is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "localhost", "LOCALHOST", "localhost.",
     "a.localhost", "10.0.0.1", "169.254.169.254", "0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1]",
     "①②⑦.0.0.1", "127。0。0。1"],
)  # fmt: skip
def test_no_spelling_of_a_private_host_gets_a_connection(host, connections):
    failure = ask(f"http://{host}:9/x", {"allow_private": False})
    assert (failure.status, failure.retryable) == ("private address", False)
    assert connections == []


@pytest.mark.parametrize(
    "target",
    ["http://10.0.0.1/x", "http://169.254.169.254/latest/meta-data", "http://[::ffff:10.0.0.1]/", "//0x0a000001/"],
)
def test_a_redirect_to_a_private_address_is_refused_before_any_connection(server, connections, target):
    server.redirects["/away/1"] = target
    failure = ask(f"{server.root}/away/1", {"allow_private": ["127.0.0.1"]})
    assert (failure.status, failure.retryable) == ("redirect to a private address", False)
    assert set(connections) == {("127.0.0.1", server.port)}


def test_a_listed_host_may_be_private_and_no_other_name_of_it(server, connections):
    server.redirects["/away/1"] = f"http://localhost:{server.port}/ok/1"
    assert ask(f"{server.root}/ok/1", {"allow_private": ["127.0.0.1"]})[0] == 200
    assert ask(f"{server.root}/away/1", {"allow_private": ["127.0.0.1"]}).status == "redirect to a private address"
    assert server.requests == {"/ok/1": 1, "/away/1": 1}
    assert ask(f"{server.root}/away/1", {"allow_private": ["127.0.0.1", "localhost"]})[0] == 200


def test_a_name_that_leads_to_a_private_address_is_refused_without_a_connection(server, connections, monkeypatch):
    looked_up = names(monkeypatch, innocent=["127.0.0.1"])
    url = f"http://innocent.example:{server.port}/ok/1"
    failure = ask(url, {"allow_private": False})
    assert (failure.status, failure.retryable) == ("private address", False)
    assert looked_up == ["innocent.example"]
    server.redirects["/away/1"] = url
    assert ask(f"{server.root}/away/1", {"allow_private": ["127.0.0.1"]}).status == "redirect to a private address"
    assert server.requests == {"/away/1": 1}
    assert ask(url, {"allow_private": ["innocent.example"]})[0] == 200


def test_a_name_that_changes_its_address_is_judged_at_each_connection(server, connections, monkeypatch):
    names(monkeypatch, rebind=[["93.184.216.34"], ["10.0.0.1"]])

    async def twice():
        rules = AddressRules(False)
        resolver = http.PublicResolver(rules)
        first = await resolver.resolve("rebind.example", 80)
        with pytest.raises(Exception, match="rebind"):
            await resolver.resolve("rebind.example", 80)
        return [entry["host"] for entry in first]

    assert asyncio.run(twice()) == ["93.184.216.34"]


def test_of_mixed_addresses_only_the_public_ones_are_used(monkeypatch):
    names(monkeypatch, mixed=["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111"])

    async def resolve():
        return await http.PublicResolver(AddressRules(False)).resolve("mixed.example", 80, socket.AF_UNSPEC)

    assert [entry["host"] for entry in asyncio.run(resolve())] == ["1.1.1.1", "2606:4700::1111"]


@pytest.mark.parametrize("url", ["ftp://example.org/a", "file:///etc/passwd", "gopher://x/", "data:,x", "x.jpg", "", "http://",
                                 "http://[::1", "http://a:b/"])  # fmt: skip
def test_only_http_and_https_are_asked(url, connections):
    failure = ask(url)
    assert (failure.status, failure.retryable) == ("not http or https", False)
    assert connections == []


# redirects


def test_five_redirects_are_followed_and_a_sixth_is_not(server):
    for step in range(7):
        server.redirects[f"/away/{step}"] = f"../away/{step + 1}" if step % 2 else f"/away/{step + 1}"
    server.redirects["/away/6"] = f"{server.root}/ok/9"
    status, body, final = ask(f"{server.root}/away/2")
    assert (status, body, final) == (200, photo(9), f"{server.root}/ok/9")
    assert ask(f"{server.root}/away/1").status == "too many redirects"


def test_a_redirect_in_a_circle_ends(server):
    failure = ask(f"{server.root}/loop/1")
    assert (failure.status, failure.retryable) == ("too many redirects", False)
    assert server.requests["/loop/1"] == http.REDIRECTS + 1


@pytest.mark.parametrize(
    "target", ["ftp://example.org/a.jpg", "file:///etc/passwd", "javascript:alert(1)", "http://[::1"]
)
def test_a_redirect_to_another_scheme_is_refused(server, target):
    server.redirects["/away/1"] = target
    failure = ask(f"{server.root}/away/1")
    assert (failure.status, failure.retryable) == ("not http or https", False)
    assert target in failure.detail


# failures and what is tried again


@pytest.mark.parametrize(
    ("path", "status", "retryable"),
    [("gone/1", "http 404", False), ("busy/1", "http 429", True), ("error/1", "http 500", True),
     ("silent/1", "timed out", True), ("cut/1", "truncated", True), ("trickle/1", "timed out", True)],
)  # fmt: skip
def test_each_way_to_fail_has_its_name_and_is_worth_another_try_or_not(server, path, status, retryable):
    short = {"network": {"timeout_s": 0.5}, "total_s": 1.0} if status == "timed out" else {}
    failure = ask(f"{server.root}/{path}", **short)
    assert (failure.status, failure.retryable) == (status, retryable)


def test_a_port_where_nobody_listens_and_a_name_that_is_none_are_failed_connections(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        failure = ask(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert (failure.status, failure.retryable) == ("connection failed", True)
    names(monkeypatch)
    failure = ask("http://no-such-name.example/")
    assert (failure.status, failure.retryable) == ("connection failed", True)


def test_an_error_of_ones_own_disk_is_not_taken_for_one_of_the_network(server):
    async def fail():
        async with Client({**QUICK, "allow_private": True}) as client, client.open(f"{server.root}/ok/1"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(fail())


def failing(times, failure):
    """Work that fails so many times before it returns the number of its calls."""
    calls = []

    async def work():
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise failure
        return len(calls)

    return work, calls


def test_what_may_pass_is_tried_again_and_what_is_final_is_not(monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_S", 0.001)
    work, _ = failing(2, RequestFailed("http 500", retryable=True))
    assert asyncio.run(http.try_again(work, 3)) == 3
    work, calls = failing(3, RequestFailed("http 500", retryable=True))
    with pytest.raises(RequestFailed, match="http 500"):
        asyncio.run(http.try_again(work, 3))
    assert len(calls) == 3
    work, calls = failing(3, RequestFailed("http 404"))
    with pytest.raises(RequestFailed, match="http 404"):
        asyncio.run(http.try_again(work, 3))
    assert len(calls) == 1


def test_the_wait_that_a_server_asks_for_is_kept(monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_S", 0.001)
    work, calls = failing(1, RequestFailed("http 429", retryable=True, wait_s=0.3))
    asyncio.run(http.try_again(work, 2))
    assert calls[1] - calls[0] >= 0.3


def test_back_off_doubles_with_a_spread_of_a_half_up_to_its_cap():
    for attempt in range(12):
        middle = min(60, 2**attempt)
        waits = {http.backoff_s(attempt) for _ in range(50)}
        assert len(waits) > 40
        assert all(0.5 * middle <= wait <= 1.5 * middle for wait in waits)


# Retry-After


@given(st.integers(0, 10**30))
def test_retry_after_in_seconds_is_kept_up_to_a_cap(seconds):
    assert http.retry_after_s(f" {seconds} ", 0) == min(seconds, http.RETRY_AFTER_CAP_S)


@given(st.integers(-1000, 1000))
def test_retry_after_as_a_date_is_the_time_until_then(seconds):
    now = datetime.datetime(2026, 2, 28, 23, 59, 30, tzinfo=datetime.UTC)
    header = email.utils.format_datetime(now + datetime.timedelta(seconds=seconds), usegmt=True)
    assert http.retry_after_s(header, now.timestamp()) == min(max(0, seconds), http.RETRY_AFTER_CAP_S)


@given(st.text())
def test_any_other_retry_after_is_no_wait_beyond_the_cap(text):
    assert 0 <= http.retry_after_s(text, time.time()) <= http.RETRY_AFTER_CAP_S


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "٣", "Wed, 99 Foo 2026 99:99:99 GMT"])
def test_an_unreadable_retry_after_is_no_wait(text):
    assert http.retry_after_s(text, 0) == 0


# pace

RESERVE = """
import sys, time, types
from geoprobe.images import http
readings = []
http.time = types.SimpleNamespace(time=lambda: readings.append(time.time()) or readings[-1])
pace = http.Pace(sys.argv[1], float(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    wait = pace.reserve("images.example")
    print(readings[-1] + wait)
"""


def test_processes_side_by_side_share_one_pace(tmp_path):
    rate, each = 50.0, 30
    command = [sys.executable, "-c", RESERVE, str(tmp_path), str(rate), str(each)]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    slots = []
    for job in jobs:
        output, _ = job.communicate(timeout=60)
        assert job.returncode == 0
        slots += map(float, output.split())
    assert len(slots) == 3 * each
    for early, late in itertools.pairwise(sorted(slots)):
        assert late - early >= 1 / rate - 1e-5


def test_a_slot_is_taken_by_one_job_at_a_time(tmp_path, monkeypatch):
    pace = Pace(tmp_path, 10)
    pace.reserve("a.example")
    (path,) = tmp_path.iterdir()
    with ThreadPoolExecutor(1) as pool:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # as another job does while it takes its own
            flock, asked = fcntl.flock, threading.Event()
            monkeypatch.setattr(fcntl, "flock", lambda *arguments: (asked.set(), flock(*arguments)))
            waiting = pool.submit(pace.reserve, "a.example")
            assert asked.wait(60)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.1)
        waiting.result(timeout=10)


def test_another_host_has_a_pace_of_its_own_and_no_limit_is_no_wait(tmp_path):
    pace = Pace(tmp_path, 0.1)
    assert pace.reserve("a.example") == 0
    assert pace.reserve("b.example") == 0
    assert 9 < pace.reserve("a.example") <= 10
    free = Pace(tmp_path / "free", 0)
    assert [free.reserve("a.example") for _ in range(100)] == [0] * 100


def test_a_wish_for_silence_is_heard_by_all_jobs_even_those_that_have_a_slot(tmp_path):
    mine, other = Pace(tmp_path, 0), Pace(tmp_path, 20)

    async def run():
        other.reserve("a.example")
        start = time.monotonic()
        waiting = asyncio.create_task(other.wait("a.example"))  # has its slot in 0.05 s
        await asyncio.sleep(0.01)
        mine.hold("a.example", 0.4)
        await waiting
        return time.monotonic() - start

    assert asyncio.run(run()) >= 0.4


def test_a_429_holds_the_host_for_every_request_of_every_job(server, tmp_path):
    server.retry_after = "1"

    async def run():
        async with Client({**QUICK, "allow_private": True}, Pace(tmp_path, 0)) as client:
            with contextlib.suppress(RequestFailed):
                async with client.open(f"{server.root}/busy/1"):
                    pass
        start = time.monotonic()
        another = Client({**QUICK, "allow_private": True}, Pace(tmp_path, 0))
        async with another, another.open(f"{server.root}/ok/1") as response:
            await response.read()
        return time.monotonic() - start

    assert asyncio.run(run()) >= 0.9


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 16, b"\xff" * 40])
def test_a_damaged_pace_file_does_not_stop_a_job(tmp_path, content):
    pace = Pace(tmp_path, 100)
    pace.reserve("a.example")
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert 0 <= pace.reserve("a.example") <= 0.1


def test_after_the_clock_was_set_back_nobody_waits_for_long(tmp_path, monkeypatch):
    pace = Pace(tmp_path, 10)
    now = time.time()
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now + 10**6)
        pace.reserve("a.example")
        pace.hold("a.example", 60)
    assert pace.reserve("a.example") <= http.RETRY_AFTER_CAP_S + 10 + 1


@pytest.mark.parametrize("host", ["..", "a/b", "x" * 3000, "::1", "bücher.example", "a\0b"])
def test_any_host_has_a_pace_file_inside_the_folder(tmp_path, host):
    Pace(tmp_path, 1).reserve(host)
    (file,) = tmp_path.iterdir()
    assert file.is_file()


def test_connections_to_one_host_stay_within_their_limit(server):
    most, now = 0, 0

    async def one(client):
        nonlocal most, now
        async with client.open(f"{server.root}/ok/1") as response:
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            await response.read()
            now -= 1

    async def run():
        async with Client({**QUICK, "allow_private": True, "connections_per_host": 3}) as client:
            await asyncio.gather(*(one(client) for _ in range(20)))

    asyncio.run(run())
    assert most == 3


# proxies


class Proxy:
    """An http proxy that answers every request itself with an image; `heads` are those of the requests."""

    def __init__(self):
        self.heads = []

    async def answer(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        body = photo(3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()


def test_a_proxy_of_the_environment_may_be_private_and_is_no_way_to_private_hosts(monkeypatch, connections):
    proxy = Proxy()

    async def run():
        listener = await asyncio.start_server(proxy.answer, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://proxy.example:{port}")
        monkeypatch.setenv("no_proxy", "direct.example")
        refused = []
        async with listener, Client({**QUICK, "allow_private": False}) as client:
            async with client.open("http://images.example/a.jpg") as response:
                body = await response.read()
            for url in (
                f"http://proxy.example:{port}/",
                f"http://127.0.0.1:{port}/",
                "http://10.0.0.1/",
                "http://direct.example/",
            ):
                with pytest.raises(RequestFailed) as caught:
                    async with client.open(url):
                        pass
                refused.append(caught.value.status)
        return body, refused, port

    names(monkeypatch, proxy=["127.0.0.1"], direct=["10.0.0.1"])
    body, refused, port = asyncio.run(run())
    assert body == photo(3)
    assert [head.split()[1] for head in proxy.heads] == ["http://images.example/a.jpg"]
    assert refused == ["private address"] * 4
    assert set(connections) == {("127.0.0.1", port)}


def test_the_login_in_a_proxys_address_is_sent_to_the_proxy(monkeypatch):
    proxy = Proxy()

    async def run():
        async with await asyncio.start_server(proxy.answer, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            monkeypatch.setenv("http_proxy", f"ann:secret@127.0.0.1:{port}")  # without a scheme, as many have it
            async with Client({**QUICK}) as client, client.open("http://images.example/a.jpg") as response:
                await response.read()

    asyncio.run(run())
    (head,) = proxy.heads
    login = base64.b64encode(b"ann:secret").decode()
    assert f"Proxy-Authorization: Basic {login}" in head
    assert "secret" not in head

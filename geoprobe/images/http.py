"""Requests to servers that are not ours: who asks, which addresses are allowed, how fast, and when to try again."""

import asyncio
import collections
import contextlib
import datetime
import email.utils
import fcntl
import hashlib
import ipaddress
import os
import random
import socket
import ssl
import struct
import time
import urllib.parse
import urllib.request
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

import geoprobe
from geoprobe.secrets import redact

NETWORK = {
    "contact": "",
    "connections": 32,
    "connections_per_host": 4,
    "requests_per_second": 8.0,
    "timeout_s": 60,
    "attempts": 5,
    "max_bytes": 50_000_000,
    "max_pixels": 100_000_000,
    "respect_opt_out": True,
    "allow_private": False,
}
REDIRECTS = 5
RETRY_AFTER_CAP_S = 300
BACKOFF_S, BACKOFF_CAP_S = 1.0, 60.0
NAT64 = ipaddress.ip_network("64:ff9b::/96")
SAID = 300  # characters of what a server may make us keep
JITTER = random.SystemRandom()  # jobs with the same seed must not wait in step


def as_text(words):
    """What a server said, short, without secrets and what is no text: headers and names may hold any bytes."""
    return redact(words.encode("utf-8", "replace").decode())[:SAID]


class RequestFailed(Exception):
    """A request that did not give what was asked for.

    Attributes:
        status: the reason in a few fixed words, such as "timed out" or "http 404".
        detail: what else there is to say.
        retryable: whether the same request may succeed later.
        http_status: status code of the last answer, or None.
        wait_s: seconds that the server asked to wait, 0 if it did not.
    """

    def __init__(self, status, detail="", retryable=False, http_status=None, wait_s=0.0):
        detail = as_text(detail)
        super().__init__(f"{status} ({detail})" if detail else status)
        self.status, self.detail, self.retryable = status, detail, retryable
        self.http_status, self.wait_s = http_status, wait_s


class _PrivateAddress(Exception):
    """Raised while connecting: a name leads only to addresses that are not on the public internet."""


def network_options(network):
    """The options of the network with their defaults.

    Raises:
        ValueError: an option has no such name; names it and those there are.
    """
    unknown = sorted(set(network) - set(NETWORK))
    if unknown:
        raise ValueError(f"download.{unknown[0]} is no option of the network; there are {', '.join(NETWORK)}.")
    return {**NETWORK, **network}


def user_agent(contact):
    """What the requests call themselves: name and version, and whom to write to if that is known."""
    name = f"geoprobe/{geoprobe.__version__}"
    return f"{name} (+{contact})" if contact else name


def is_public(address):
    """Whether an IP address, as text, is one of the public internet.

    Private, shared, loopback, link-local, reserved and multicast addresses are not, nor are IPv6 addresses that
    hold an IPv4 address (mapped, 6to4, Teredo); one of a NAT64 gateway (RFC 6052) is what it leads to.
    """
    address = ipaddress.ip_address(address.split("%")[0])
    if address.version == 6:
        if address in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address.ipv4_mapped or address.sixtofour or address.teredo or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def literal_address(host):
    """The IP address that a host is, in any form that a system's resolver takes for one, or None for a name."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host.split("%")[0]))
    with contextlib.suppress(OSError, ValueError):
        return socket.inet_ntoa(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
    return None


class AddressRules:
    """Which addresses may be asked.

    Args:
        allow_private: True for all, False for those of the public internet, or a list of hosts, as they stand in the
            addresses, that may be private.

    Attributes:
        proxies: scheme to the address of the proxy that the environment sets. What lies behind a proxy is resolved
            by it, so that there only names and literal addresses can be judged.
    """

    def __init__(self, allow_private):
        self.allow_private = allow_private if isinstance(allow_private, bool) else frozenset(allow_private)
        self.proxies = {}
        for scheme, text in urllib.request.getproxies().items():
            if scheme in ("http", "https"):
                self.proxies[scheme] = URL(text if "://" in text else f"http://{text}")

    def allows(self, host):
        """Whether a host may be at a private address."""
        return self.allow_private if isinstance(self.allow_private, bool) else host in self.allow_private

    def is_proxy(self, host, port):
        """Whether a host and port are those of a proxy."""
        return any((host, port) == (proxy.raw_host, proxy.port) for proxy in self.proxies.values())

    def proxy_of(self, url):
        """The proxy for an address, or None."""
        if not self.proxies or urllib.request.proxy_bypass(url.raw_host):
            return None
        return self.proxies.get(url.scheme)

    def check(self, url, hop):
        """Refuse an address by what it says; what its name leads to is checked while connecting.

        Args:
            url: a yarl.URL.
            hop: how many redirects led to it.

        Raises:
            RequestFailed: neither http nor https, or a host that is private by its own words.
        """
        what = f"redirect to {url}" if hop else ""
        if url.scheme not in ("http", "https") or not url.raw_host:
            raise RequestFailed("not http or https", what)
        host = url.raw_host.lower().rstrip(".")
        if self.allows(host):
            return
        address = literal_address(host)
        local = host == "localhost" or host.endswith(".localhost") or self.is_proxy(host, url.port)
        if local or (address is not None and not is_public(address)):
            raise RequestFailed("redirect to a private address" if hop else "private address", what)


class PublicResolver(AbstractResolver):
    """Resolves names to the public addresses among theirs, so that a connection is to what was checked.

    A name that changes its address between check and connection (DNS rebinding) gains nothing: this is the only
    look-up there is.
    """

    def __init__(self, rules):
        self.rules, self.resolver = rules, ThreadedResolver()

    async def resolve(self, host, port=0, family=socket.AF_INET):
        """Addresses of a host, as aiohttp wants them."""
        found = await self.resolver.resolve(host, port, family)
        if self.rules.allows(host.lower().rstrip(".")) or self.rules.is_proxy(host, port):
            return found
        public = [entry for entry in found if is_public(entry["host"])]
        if not public:
            raise _PrivateAddress(host)
        return public

    async def close(self):
        """Close the resolver behind."""
        await self.resolver.close()


def retry_after_s(value, now):
    """Seconds to wait by a Retry-After header, at most RETRY_AFTER_CAP_S; 0 where it says nothing readable.

    Args:
        value: the header: seconds or an HTTP date (RFC 9110, section 10.2.3).
        now: the time, in seconds since 1970.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_CAP_S)
    try:
        date = email.utils.parsedate_to_datetime(value)
        until = date.replace(tzinfo=date.tzinfo or datetime.UTC).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return min(max(0.0, until - now), RETRY_AFTER_CAP_S)


def backoff_s(attempt):
    """Seconds to wait after a failed attempt, counted from 0: doubled each time, and spread by a half."""
    return min(BACKOFF_CAP_S, BACKOFF_S * 2**attempt) * JITTER.uniform(0.5, 1.5)


class Pace:
    """The pace of requests to each host, shared by all jobs of this machine that name the same folder.

    A file a host holds, under a lock, when the next request may start and until when the host asked for silence: a
    token bucket that holds one token. Times are seconds since 1970.

    Args:
        folder: on a local disk, made if absent.
        requests_per_second: of one host, all jobs together; 0 for no limit.
    """

    def __init__(self, folder, requests_per_second):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.interval = 1 / requests_per_second if requests_per_second else 0.0

    @contextlib.contextmanager
    def _times(self, host):
        """The two times of a host, to be changed in place; nobody else sees or changes them meanwhile."""
        digest = hashlib.sha256(host.encode()).hexdigest()[:8]
        name = f"{urllib.parse.quote(host, safe='')[:100]}-{digest}.pace"
        file = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            stored = os.pread(file, 16, 0)
            before = list(struct.unpack("<dd", stored)) if len(stored) == 16 else [0.0, 0.0]
            # after a clock was set back, nobody waits for a time that is out of reach
            latest = time.time() + RETRY_AFTER_CAP_S
            times = [min(before[0], latest + 100 * self.interval), min(before[1], latest)]
            yield times
            if times != before:
                os.pwrite(file, struct.pack("<dd", *times), 0)
        finally:
            os.close(file)

    def reserve(self, host):
        """Take the next slot of a host; returns the seconds until it."""
        with self._times(host) as times:
            now = time.time()
            slot = max(now, *times)
            if self.interval:
                times[0] = slot + self.interval
        return slot - now

    def hold(self, host, seconds):
        """Let no job ask a host for so many seconds."""
        with self._times(host) as times:
            times[1] = max(times[1], time.time() + seconds)

    def is_held(self, host):
        """Whether a host asked for silence until later than now."""
        with self._times(host) as times:
            return times[1] > time.time()

    async def wait(self, host):
        """Wait for a slot of a host. One that the host's wish for silence has overtaken is given up for a later one."""
        while (delay := self.reserve(host)) > 0:
            await asyncio.sleep(delay)
            if not self.is_held(host):
                return


class Client:
    """A session and what its requests share. Use it as an asynchronous context.

    Args:
        network: options of the network, see NETWORK.
        pace: a Pace, or None where requests are too few to need one.
    """

    def __init__(self, network, pace=None):
        self.network, self.pace = network_options(network), pace
        self.rules = AddressRules(self.network["allow_private"])
        self.connections = asyncio.Semaphore(self.network["connections"])
        self.hosts = collections.defaultdict(lambda: asyncio.Semaphore(self.network["connections_per_host"]))

    async def __aenter__(self):
        seconds = self.network["timeout_s"]
        self.session = aiohttp.ClientSession(
            # the semaphores limit connections, so that waiting for a turn does not count as the server's silence;
            # unused connections go soon, or thousands of hosts would use up the process's file descriptors
            connector=aiohttp.TCPConnector(resolver=PublicResolver(self.rules), limit=0, keepalive_timeout=3),
            timeout=aiohttp.ClientTimeout(total=None, connect=seconds, sock_read=seconds),
            headers={"User-Agent": user_agent(self.network["contact"]), "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    @contextlib.asynccontextmanager
    async def _turn(self, host):
        async with self.hosts[host]:
            if self.pace:
                await self.pace.wait(host)
            async with self.connections:
                yield

    @contextlib.asynccontextmanager
    async def open(self, url, headers=None, total_s=None, accepted=(200,)):
        """Ask for an address, following redirects by hand; the body is read inside the context.

        Args:
            url: address as text.
            headers: more headers, or None.
            total_s: seconds that one answer may take with its body, or None.
            accepted: status codes that are no failure.

        Yields:
            aiohttp.ClientResponse; its `url` is where the redirects ended.

        Raises:
            RequestFailed: for every way in which servers, networks and addresses fail, also while reading the body.
        """
        try:
            target = URL(url)
        except ValueError as error:
            raise RequestFailed("not http or https", str(error)) from error
        code, hop = None, 0  # the status code of an answer whose body has begun
        try:
            while True:
                self.rules.check(target, hop)
                options = {"headers": headers, "proxy": self.rules.proxy_of(target), "allow_redirects": False}
                async with (
                    self._turn(target.raw_host),
                    asyncio.timeout(total_s),
                    self.session.get(target, **options) as response,
                ):
                    if response.status in accepted:
                        code = response.status
                        yield response
                        return
                    target = self._next_hop(response)
                hop += 1
                if hop > REDIRECTS:
                    raise RequestFailed("too many redirects", f"more than {REDIRECTS}")
        except TimeoutError as error:
            raise RequestFailed("timed out", "while reading the body" if code else "", True, code) from error
        except _PrivateAddress as error:
            status = "redirect to a private address" if hop else "private address"
            raise RequestFailed(status, f"{error} leads to no public address") from error
        except (aiohttp.ClientError, ConnectionError, ssl.SSLError, UnicodeEncodeError) as error:
            # an address, or a name or password in it that no header can hold
            if isinstance(error, (aiohttp.InvalidURL, UnicodeEncodeError)):
                raise RequestFailed("not http or https", str(error)) from error
            if code:
                raise RequestFailed("truncated", "the connection ended before the body", True, code) from error
            raise RequestFailed("connection failed", str(error) or type(error).__name__, True) from error

    def _next_hop(self, response):
        """Where a redirect leads; any other answer that was not accepted is a failure."""
        code, location = response.status, response.headers.get("Location", "")
        if code in (301, 302, 303, 307, 308) and location:
            try:
                return response.url.join(URL(location))
            except ValueError as error:
                raise RequestFailed("not http or https", f"redirect to {location}", http_status=code) from error
        retryable = code == 429 or code >= 500
        wait_s = retry_after_s(response.headers.get("Retry-After", ""), time.time()) if retryable else 0.0
        if wait_s and self.pace:
            self.pace.hold(response.url.raw_host, wait_s)
        raise RequestFailed(f"http {code}", response.reason or "", retryable, code, wait_s)


async def try_again(work, attempts):
    """Await `work()` until it succeeds, fails for good, or has failed `attempts` times.

    Between attempts it waits as long as the server asked for, and no less than the back-off.
    """
    for attempt in range(attempts - 1):
        try:
            return await work()
        except RequestFailed as failure:
            if not failure.retryable:
                raise
            await asyncio.sleep(max(failure.wait_s, backoff_s(attempt)))
    return await work()

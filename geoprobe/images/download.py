"""One shard of a plan: ask for each image, verify it, keep what became of it; a later run asks for nothing twice."""

import asyncio
import collections
import contextlib
import functools
import hashlib
import itertools
import json
import os
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm
from yarl import URL

from geoprobe.images.archives import AccessError, fetched_archive, read_members
from geoprobe.images.fetch import FetchError
from geoprobe.images.http import Client, Pace, RequestFailed, as_text, network_options, try_again
from geoprobe.images.pack import OK, open_pack, write_status
from geoprobe.images.verify import verify_image
from geoprobe.secrets import redact

OPT_OUT = {"noai", "noimageai"}
PLACEHOLDERS = ("photo_unavailable",)  # in the address of the picture that Flickr shows in place of one that is gone
SLOW = 10  # times timeout_s: how long one image may take that keeps trickling
GIVE_UP = 25  # images in a row that a host has not answered for
# workers of a host for each connection to it: most of them wait to try again, and that must not stop the others
WAITING = 16
LIMITS = ("max_bytes", "max_pixels", "respect_opt_out", "allow_private")
# what may befall an archive and leaves its images for a later run or for good; anything else ends the job
ARCHIVE_FAILURES = {
    "timed out", "connection failed", "truncated", "checksum wrong", "too many redirects", "not http or https",
    "private address", "redirect to a private address",
}  # fmt: skip
BACKLOG = 8  # members of an archive that wait to be verified


class Task(NamedTuple):
    """One image to get: by addresses, tried in order, or as a member of an archive."""

    id: str
    urls: tuple
    archive: str
    member: str
    md5: str
    sha256: str

    @property
    def key(self):
        """Digest of where the image is, by which an outcome is known to be of the same plan."""
        return _digest([self.urls, self.archive, self.member])


def _digest(content):
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _text(value):
    return value if isinstance(value, str) else ""


def make_tasks(rows):
    """Tasks of the rows of a plan.

    Raises:
        ValueError: a row has neither an address nor an archive; names it.
    """
    columns = [name for name in ("id", "urls", "archive", "member", "archive_md5", "archive_sha256") if name in rows]
    tasks = []
    for row in rows[columns].to_dict("records"):
        urls = row.get("urls")
        urls = () if urls is None or isinstance(urls, float) else tuple(urls)
        texts = [_text(row.get(name)) for name in ("archive", "member", "archive_md5", "archive_sha256")]
        if not urls and not texts[0]:
            raise ValueError(f"image {row['id']} of the plan has neither an address nor an archive. Plan it again.")
        tasks.append(Task(row["id"], urls, *texts))
    return tasks


def opts_out(headers):
    """Whether X-Robots-Tag headers ask that an image is not used for machine learning, whomever they address."""
    rules = itertools.chain.from_iterable(value.split(",") for value in headers.getall("X-Robots-Tag", []))
    return any(rule.rpartition(":")[2].strip().lower() in OPT_OUT for rule in rules)


def make_entry(task, status, detail="", retryable=False, url="", http_status=None, image=None):
    """What the pack keeps of an outcome; `image` is what :func:`verify_image` said of an image that is kept."""
    image = image or {"sha256": "", "width": None, "height": None, "phash": ""}
    return {
        "id": task.id,
        "status": status,
        "detail": as_text(detail),
        "retryable": retryable,
        "url": redact(url),
        "http_status": http_status,
        **{name: image[name] for name in ("sha256", "width", "height", "phash")},
    }


class Job:
    """A download in progress: its pack, its threads, what it counts, and the rows that met an error of ours."""

    def __init__(self, pack, network, pool):
        self.pack, self.network, self.pool = pack, network, pool
        self.progress = self.asking = None  # the bar, and the asynchronous task while it runs
        self.limits = _digest([network[name] for name in LIMITS])
        self.silent = collections.Counter()  # host to images in a row that it has not answered for
        self.last_status = {}  # host to the status of its last image
        self.failed, self.errors = 0, []

    def stands(self, task):
        """Whether an earlier outcome is final. One that failed by limits that are now others is not."""
        entry = self.pack.outcomes.get(task.id)
        if entry is None or entry["key"] != task.key:
            return False
        return entry["status"] == OK or (not entry["retryable"] and entry["limits"] == self.limits)

    def keep(self, task, entry, data=None):
        """Put an outcome into the pack."""
        self.pack.put({**entry, "key": task.key, "limits": self.limits}, data)

    def verify(self, task, data, url, http_status=None):
        """Verify an image, keep it if it is one, and return what there is to say of it."""
        image = verify_image(data, self.network["max_pixels"])
        if image["status"] == OK:
            self.keep(task, make_entry(task, OK, url=url, http_status=http_status, image=image), data)
        return image

    def count(self, good):
        """Count a row as done."""
        self.failed += not good
        self.progress.set_postfix_str(f"{self.failed} failed", refresh=False)
        self.progress.update()

    def report(self, task, error):
        """Note an error that is not a failure of the network, and go on with the other rows."""
        self.errors.append((task.id, error))
        self.progress.write(f"image {task.id}: unexpected error\n{''.join(traceback.format_exception(error))}")
        self.count(False)


async def _read_body(response, most):
    """The body of a response.

    Raises:
        RequestFailed: it is larger than `most` bytes.
    """
    if (response.content_length or 0) > most:
        raise RequestFailed("too large", f"{response.content_length} bytes", http_status=response.status)
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise RequestFailed("too large", f"more than {most} bytes", http_status=response.status)
    return bytes(body)


async def _get_image(job, client, task, url):
    """Ask for an image, verify it and keep it.

    Verification is part of the turn, so that no more files are in memory than connections are allowed.

    Raises:
        RequestFailed: there is no image at the address.
    """
    async with client.open(url, total_s=SLOW * job.network["timeout_s"]) as response:
        code = response.status
        if any(mark in str(response.url) for mark in PLACEHOLDERS):
            raise RequestFailed("placeholder", str(response.url), http_status=code)
        if job.network["respect_opt_out"] and opts_out(response.headers):
            raise RequestFailed("opted out", ", ".join(response.headers.getall("X-Robots-Tag")), http_status=code)
        if response.content_type in ("text/html", "application/xhtml+xml"):
            raise RequestFailed("not an image", response.content_type, http_status=code)
        # a cut file is worth asking for again only if the server did not say where it ends
        endless = response.content_length is None and "Transfer-Encoding" not in response.headers
        body = await _read_body(response, job.network["max_bytes"])
        image = await asyncio.get_running_loop().run_in_executor(job.pool, job.verify, task, body, url, code)
    if image["status"] != OK:
        later = endless and image["status"] == "truncated"
        raise RequestFailed(image["status"], image["detail"], later, code)


async def _try_urls(job, client, task):
    """Get an image from the first of its addresses that has it.

    Returns:
        None, or the entry that says why none has it: the first failure that may pass, else the last. A wish not to
        be used is final at once: it is about the image, wherever else it may lie.
    """
    failures = []
    for url in task.urls:
        try:
            await try_again(functools.partial(_get_image, job, client, task, url), job.network["attempts"])
            return None
        except RequestFailed as failure:
            entry = make_entry(task, failure.status, failure.detail, failure.retryable, url, failure.http_status)
        if entry["status"] == "opted out":
            return entry
        failures.append(entry)
    return next((entry for entry in failures if entry["retryable"]), failures[-1])


async def _work(job, client, host, tasks):
    """Get images of one host until none is left.

    Raises:
        OSError: the disk or the system fails, which no other row would survive.
    """
    while tasks:
        task = tasks.popleft()
        if job.silent[host] >= GIVE_UP:
            entry = _left_alone(job, host, task)
        else:
            try:
                entry = await _try_urls(job, client, task)
            except OSError:
                raise
            except Exception as error:
                job.report(task, error)
                continue
            unanswered = entry is not None and entry["retryable"] and entry["status"] != "truncated"
            job.silent[host] = job.silent[host] + 1 if unanswered else 0
            job.last_status[host] = entry and entry["status"]
        if entry is not None:
            await asyncio.get_running_loop().run_in_executor(job.pool, job.keep, task, entry)
        job.count(entry is None)


def _left_alone(job, host, task):
    """Entry of an image that is left for a later run: what an earlier run found, if that may pass, else why."""
    earlier = job.pack.outcomes.get(task.id)
    if earlier is not None and earlier["key"] == task.key and earlier["retryable"]:
        return earlier
    detail = f"{host} did not answer for {GIVE_UP} images in a row and was left alone"
    return make_entry(task, job.last_status[host], detail, True, task.urls[0])


def _host(url):
    try:
        return URL(url).raw_host or ""
    except ValueError:
        return ""  # the request will say what is wrong with it


async def _download_urls(job, tasks, pace):
    """Get the images that have addresses, host by host side by side."""
    queues = collections.defaultdict(collections.deque)
    for task in tasks:
        queues[_host(task.urls[0])].append(task)
    most = WAITING * job.network["connections_per_host"]
    job.asking = asyncio.current_task()
    try:
        async with Client(job.network, pace) as client, asyncio.TaskGroup() as group:
            for host, queue in queues.items():
                for _ in range(min(most, len(queue))):
                    group.create_task(_work(job, client, host, queue))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        job.asking = None


def _download_archives(job, tasks, folder):
    """Get the images that lie in archives, one archive after another.

    Raises:
        FetchError: an archive cannot be had for a reason that its user must see to, such as a missing token.
    """
    archives = collections.defaultdict(list)
    for task in tasks:
        archives[task.archive, task.md5, task.sha256].append(task)
    for (address, md5, sha256), group in archives.items():
        try:
            with fetched_archive(address, folder, job.network, md5, sha256) as path:
                _read_archive(job, path, group)
        except AccessError:
            raise
        except FetchError as failure:
            if failure.status not in ARCHIVE_FAILURES and not failure.status.startswith("http "):
                raise
            for task in group:
                job.keep(task, make_entry(task, failure.status, failure.detail, failure.retryable, address))
                job.count(False)


def _read_archive(job, path, group):
    """Verify and keep the wanted members of an archive, a few at a time."""
    members, pending = collections.defaultdict(list), collections.deque()
    for task in group:
        members[task.member].append(task)
    for name, data, status, detail in read_members(path, members, job.network["max_bytes"]):
        for task in members[name]:
            pending.append((task, job.pool.submit(_settle_member, job, task, data, status, detail)))
            if len(pending) > BACKLOG:
                _finish(job, *pending.popleft())
    while pending:
        _finish(job, *pending.popleft())


def _settle_member(job, task, data, status, detail):
    """Keep a member, or why it is none; returns whether it is an image."""
    if data is not None:
        image = job.verify(task, data, task.archive)
        if image["status"] == OK:
            return True
        status, detail = image["status"], image["detail"]
    job.keep(task, make_entry(task, status, detail, status == "archive broken", task.archive))
    return False


def _finish(job, task, future):
    try:
        good = future.result()
    except OSError:
        raise
    except Exception as error:
        job.report(task, error)
    else:
        job.count(good)


@contextlib.contextmanager
def _ending_on_sigterm(job):
    """Turn SIGTERM into SystemExit, so that what is under way is closed in order. Only the main thread may do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number, frame):
        if job.asking is None:
            raise SystemExit(128 + number)
        # thrown into the event loop, an exception would hit whichever task is at work; this reaches the one that waits
        job.asking.get_loop().call_soon_threadsafe(job.asking.cancel)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def download_shard(rows, folder, status_path, network, pace_folder):
    """Get the images of one shard of a plan, and write what became of each.

    Rows that an earlier run got, or found impossible to get, are not asked for again. The outcome of each row is kept
    at once, so that a run which is stopped or killed loses no more than what was under way.

    Args:
        rows: frame in the plan's order, n rows: id, and urls (addresses, tried in order) or archive and member
            (and archive_md5 or archive_sha256, "" if unknown).
        folder: of the shard's pack, made if absent.
        status_path: Parquet table to write, n rows: see :data:`geoprobe.images.pack.COLUMNS`.
        network: options of the network, see :data:`geoprobe.images.http.NETWORK`.
        pace_folder: shared by all jobs that ask the same hosts.

    Raises:
        RuntimeError: rows met an error that is no failure of the network (their ids are named, and all others are
            kept); or another process has the pack open.
        FetchError: an archive cannot be had before its user does something.
        ValueError: a row says neither address nor archive.
    """
    network, tasks, folder = network_options(network), make_tasks(rows), Path(folder)
    threads = min(4, len(os.sched_getaffinity(0)))
    with open_pack(folder) as pack, ThreadPoolExecutor(threads) as pool:
        job = Job(pack, network, pool)
        unsettled = [task for task in tasks if not job.stands(task)]
        # what failed before comes last, so that a host that fails again is left alone only when all else is done
        unsettled.sort(key=lambda task: task.id in pack.outcomes)
        bar = {"unit": "image", "desc": folder.name, "mininterval": 5}
        done = len(tasks) - len(unsettled)
        with _ending_on_sigterm(job), tqdm(total=len(tasks), initial=done, **bar) as job.progress:
            if with_urls := [task for task in unsettled if task.urls]:
                asyncio.run(_download_urls(job, with_urls, Pace(pace_folder, network["requests_per_second"])))
            _download_archives(job, [task for task in unsettled if not task.urls], folder / "archives")
    if job.errors:
        name, error = job.errors[0]
        raise RuntimeError(
            f"{len(job.errors)} images met an unexpected error, the first of them {name}: {type(error).__name__}: "
            f"{error}. The outcomes of the others are kept in {folder}; run this again when it is mended."
        ) from error
    statuses = write_status(folder, [task.id for task in tasks], status_path)
    counts = ", ".join(f"{count} x {name}" for name, count in statuses["status"].value_counts().items())
    print(f"{folder.name}: {len(tasks)} images: {counts}; {statuses['retryable'].sum()} may come in a later run")

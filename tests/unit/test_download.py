"""Downloading a shard from servers that misbehave in every way, and being killed meanwhile."""

import hashlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from image_server import ImageServer, bomb, photo, watched_connections
from multidict import CIMultiDict, CIMultiDictProxy

from geoprobe.images import download
from geoprobe.images.archives import AccessError
from geoprobe.images.download import download_shard, make_tasks, opts_out
from geoprobe.images.pack import iter_images, read_outcomes

NETWORK = {
    "connections": 24, "connections_per_host": 12, "requests_per_second": 0, "timeout_s": 30, "attempts": 2,
    "max_bytes": 200_000, "allow_private": ["127.0.0.1"],
}  # fmt: skip
EVENTUALLY_OK = {"ok", "noindex", "busy-once", "error-once", "cut-once", "endless"}


@pytest.fixture(autouse=True)
def quick(monkeypatch, direct):
    monkeypatch.setattr(download, "SLOW", 1)


@pytest.fixture(scope="module")
def _server():
    with ImageServer() as server:
        yield server


@pytest.fixture
def server(_server):
    _server.forget()
    with watched_connections():
        yield _server


class Plan:
    """Rows of a plan, what should become of each, and the image of each that is to come."""

    def __init__(self, server):
        self.server, self.rows, self.expected, self.images = server, [], {}, {}
        self.seeds = iter(range(10**6))

    def urls(self, name, urls, status, image=None):
        self.rows.append({"id": name, "urls": urls})
        self.expected[name] = status
        if status == "ok":
            self.images[name] = image

    def manner(self, manner, count, status):
        """So many images that are served in one manner."""
        for _ in range(count):
            seed = next(self.seeds)
            self.urls(f"{manner}-{seed}", [f"{self.server.root}/{manner}/{seed}.jpg"], status, photo(seed))

    def redirect(self, target, status, count=1):
        for _ in range(count):
            name = f"away-{next(self.seeds)}"
            self.server.redirects[f"/away/{name}"] = target
            self.urls(name, [f"{self.server.root}/away/{name}"], status)

    def archive(self, file, content, members, sha256=""):
        """An archive and the status of each wanted member; `members`: name to (status, image)."""
        self.server.files[file] = content
        for member, (status, image) in members.items():
            name = f"{file}-{member}"
            row = {
                "archive": f"{self.server.root}{file}",
                "member": member,
                "archive_md5": "",
                "archive_sha256": sha256,
            }
            self.rows.append({"id": name, **row})
            self.expected[name] = status
            if status == "ok":
                self.images[name] = image

    def frame(self, seed=0):
        """The rows in a random order, as they come back from a Parquet file."""
        rows = list(self.rows)
        random.Random(seed).shuffle(rows)
        buffer = io.BytesIO()
        pd.DataFrame(rows).to_parquet(buffer, index=False)
        return pd.read_parquet(buffer)


def tar_of(members, links=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    return buffer.getvalue()


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def add_archives(plan, count):
    """A good tar and zip of so many images each, and every way in which archives are bad."""
    photos = {f"x/{seed}.jpg": photo(seed) for seed in range(100_000, 100_000 + count)}
    good = {name: ("ok", data) for name, data in photos.items()}
    content = tar_of(
        {**photos, "text.jpg": b"text", "bomb.png": bomb(), "cut.jpg": photo(1)[:-300], "big": bytes(300_000)}, ["link"]
    )
    checksum = hashlib.sha256(content).hexdigest()
    plan.archive("/good.tar", content, {
        **good, "text.jpg": ("not an image", None), "bomb.png": ("too many pixels", None), "big": ("too large", None),
        "cut.jpg": ("truncated", None), "link": ("unsafe member", None), "../../up.jpg": ("unsafe member", None),
        "gone.jpg": ("member missing", None),
    }, checksum)  # fmt: skip
    plan.archive("/good.zip", zip_of(photos), {**good, "/abs.jpg": ("unsafe member", None)})
    plan.archive("/wrong.tar", tar_of(photos), dict.fromkeys(list(photos)[:3], ("checksum wrong", None)), "00" * 32)
    half = tar_of(photos)
    half = half[: half.index(list(photos)[count // 2].encode()) + 600]
    plan.archive("/broken.tar", half, {
        name: good[name] if number < count // 2 else ("archive broken", None) for number, name in enumerate(photos)
    })  # fmt: skip
    plan.archive("/gone/0.tar", b"", {"a.jpg": ("http 404", None)})
    del plan.server.files["/gone/0.tar"]


def check(plan, rows, folder, status):
    """Each row has the expected status, and each image that should have come is there, byte for byte."""
    table = pd.read_parquet(status)
    assert table["id"].tolist() == rows["id"].tolist()
    assert dict(zip(table["id"], table["status"], strict=True)) == plan.expected
    good = table[table["status"] == "ok"]
    assert list(iter_images(folder, good["id"])) == [plan.images[name] for name in good["id"]]
    assert good["sha256"].tolist() == [hashlib.sha256(plan.images[name]).hexdigest() for name in good["id"]]
    assert (good[["width", "height"]].to_numpy() == [48, 36]).all()
    assert not good["retryable"].any()
    return table


RETRYABLE = {"http 429", "http 500", "timed out", "connection failed", "truncated", "checksum wrong", "archive broken"}


def test_thousands_of_images_from_a_server_that_misbehaves_in_every_way(server, tmp_path, capsys):
    plan = Plan(server)
    plan.manner("ok", 1700, "ok")
    for manner in sorted(EVENTUALLY_OK - {"ok"}):
        plan.manner(manner, 30, "ok")
    for manner, count, status in [
        ("busy", 4, "http 429"), ("error", 6, "http 500"), ("cut", 8, "truncated"), ("silent", 3, "timed out"),
        ("trickle", 2, "timed out"), ("gone", 40, "http 404"), ("html", 20, "not an image"), ("noai", 20, "opted out"),
        ("botnoai", 10, "opted out"), ("bomb", 3, "too many pixels"), ("loop", 10, "too many redirects"),
        ("huge", 3, "too large"), ("huge/chunked", 3, "too large"), ("endless/half", 3, "truncated"),
        ("half", 3, "truncated"),
    ]:  # fmt: skip
        plan.manner(manner, count, status)
    for target in (
        "http://10.0.0.1/a.jpg",
        "http://169.254.169.254/latest",
        f"http://localhost:{server.port}/ok/1.jpg",
        "http://[::1]/",
    ):
        plan.redirect(target, "redirect to a private address", 2)
    plan.redirect("ftp://127.0.0.1/a.jpg", "not http or https", 3)
    plan.redirect("/ok/photo_unavailable_1.png", "placeholder", 5)
    plan.urls("private", ["http://192.168.1.1/a.jpg"], "private address")
    plan.urls("ftp", ["ftp://example.org/a.jpg"], "not http or https")
    ok, gone, busy, noai = (f"{server.root}/{manner}/7.jpg" for manner in ("ok/b", "gone/b", "busy/b", "noai/b"))
    plan.urls("second", [gone, ok], "ok", photo(7))
    plan.urls("may-come", [busy, gone], "http 429")
    plan.urls("last-reason", ["ftp://a/b", gone], "http 404")
    plan.urls("no-means-no", [noai, ok], "opted out")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        plan.urls("nobody", [f"http://127.0.0.1:{unused.getsockname()[1]}/"], "connection failed")
    add_archives(plan, 60)
    rows, folder, status = plan.frame(), tmp_path / "shard.pack", tmp_path / "0.parquet"

    # all of them under one limit: short for those that never answer, long enough for the rest on a busy machine
    network = NETWORK | {"timeout_s": 4}
    download_shard(rows, folder, status, network, tmp_path / "pace")
    table = check(plan, rows, folder, status)
    # a file that is cut where it lies does not grow whole by asking again
    cut_at_rest = table["id"].str.startswith("half-") | table["id"].str.endswith("cut.jpg")
    assert table["retryable"].tolist() == (table["status"].isin(RETRYABLE) & ~cut_at_rest).tolist()
    # every address was asked for as often as it should, once more where the first answer may pass
    for path, count in server.requests.items():
        manner = path.split("/")[1]
        twice = {"busy-once", "error-once", "cut-once", "busy", "error", "cut", "silent", "trickle"}
        shared = {"/gone/b/7.jpg": 3, "/ok/photo_unavailable_1.png": 5}
        expected = 2 if manner in twice or path.startswith("/endless/half") else 6 if manner == "loop" else 1
        assert count == shared.get(path, expected), path
    assert server.requests["/ok/b/7.jpg"] == 1  # for the second address of one row; never after an opt-out
    # 40, the last of two reasons, and an archive
    assert "42 x http 404" in capsys.readouterr().out
    assert list((folder / "archives").iterdir()) == []

    # a second run asks for what may come and for nothing else, and finds the same
    before, asked = status.read_bytes(), server.requests.copy()
    download_shard(rows, folder, status, network, tmp_path / "pace")
    again = {path for path, count in (server.requests - asked).items() if count}
    assert {path.split("/")[1] for path in again} == {
        "busy", "error", "cut", "silent", "trickle", "endless", "gone", "wrong.tar", "broken.tar",
    }  # fmt: skip
    assert {path for path in again if path.startswith("/gone")} == {"/gone/b/7.jpg"}
    assert {path for path in again if path.startswith("/endless")} == {
        p for p in again if p.startswith("/endless/half")
    }
    assert status.read_bytes() == before


# killed


SCRIPT = """
import json, signal, sys
import pandas as pd
from geoprobe.images import download, http
# a shell in whose background the tests run has this signal ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
http.BACKOFF_S = 0.01
rows, folder, status, network, pace = sys.argv[1:]
download.download_shard(pd.read_parquet(rows), folder, status, json.loads(network), pace)
"""


@pytest.fixture
def kill_plan(server):
    """A plan of a few hundred images without what takes long."""
    plan = Plan(server)
    plan.manner("ok", 250, "ok")
    for manner in ("busy-once", "error-once", "cut-once"):
        plan.manner(manner, 10, "ok")
    for manner, status in [
        ("busy", "http 429"),
        ("error", "http 500"),
        ("gone", "http 404"),
        ("noai", "opted out"),
        ("cut", "truncated"),
    ]:
        plan.manner(manner, 4, status)
    add_archives(plan, 40)
    return plan


def start(rows, folder, tmp_path):
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    places = [tmp_path / "rows.parquet", folder, folder.with_suffix(".parquet")]
    command = [sys.executable, "-c", SCRIPT, *map(str, places), json.dumps(NETWORK), str(tmp_path / "pace")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def journalled(folder):
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def stop_after(process, folder, lines, number):
    """Send a signal once so many outcomes are journalled; returns the exit status and what was printed to stderr."""
    while process.poll() is None and journalled(folder) < lines:
        time.sleep(0.001)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_a_download_killed_at_random_moments_ends_in_the_same_store_and_table(kill_plan, server, tmp_path):
    rows = kill_plan.frame()
    undisturbed = tmp_path / "undisturbed.pack"
    download_shard(rows, undisturbed, undisturbed.with_suffix(".parquet"), NETWORK, tmp_path / "pace")
    table = check(kill_plan, rows, undisturbed, undisturbed.with_suffix(".parquet"))
    images = list(iter_images(undisturbed, table.loc[table["status"] == "ok", "id"]))
    for seed in range(3):
        generator, folder = random.Random(seed), tmp_path / f"killed{seed}.pack"
        server.requests.clear()
        for _ in range(2 if seed == 0 else 1):
            lines = journalled(folder) + generator.randrange(1, len(rows) // 3)
            code, _ = stop_after(start(rows, folder, tmp_path), folder, lines, signal.SIGKILL)
            assert code == -signal.SIGKILL
            assert not folder.with_suffix(".parquet").exists()
        settled = {
            name for name, entry in read_outcomes(folder).items() if entry["status"] == "ok" or not entry["retryable"]
        }
        before = server.requests.copy()
        download_shard(rows, folder, folder.with_suffix(".parquet"), NETWORK, tmp_path / "pace")
        assert folder.with_suffix(".parquet").read_bytes() == undisturbed.with_suffix(".parquet").read_bytes()
        assert list(iter_images(folder, table.loc[table["status"] == "ok", "id"])) == images
        # what was settled when the process died was not asked for again; only the last line may have been dropped
        again = {path for path, count in (server.requests - before).items() if count}
        known = rows[rows["id"].isin(settled) & rows["urls"].notna()]
        repeated = [urls[0] for urls in known["urls"] if urls[0].removeprefix(server.root) in again]
        assert repeated == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_download_that_is_asked_to_stop_stops_with_its_pack_in_order(kill_plan, tmp_path, number, code):
    rows, folder = kill_plan.frame(), tmp_path / "stopped.pack"
    returned, errors = stop_after(start(rows, folder, tmp_path), folder, 100, number)
    assert returned == code
    assert "never retrieved" not in errors
    assert (folder / "journal.jsonl").read_bytes().endswith(b"\n")
    download_shard(rows, folder, folder.with_suffix(".parquet"), NETWORK, tmp_path / "pace")
    check(kill_plan, rows, folder, folder.with_suffix(".parquet"))


# errors of ours


def test_an_unexpected_error_in_one_row_loses_no_other_and_fails_the_job_with_the_rows_id(
    server, tmp_path, monkeypatch, capsys
):
    plan = Plan(server)
    plan.manner("ok", 40, "ok")
    plan.archive(
        "/few.tar", tar_of({"a": photo(901), "b": photo(902)}), {"a": ("ok", photo(901)), "b": ("ok", photo(902))}
    )
    rows, folder, status = plan.frame(), tmp_path / "shard.pack", tmp_path / "0.parquet"
    bad, verify_image = {photo(7), photo(901)}, download.verify_image

    def broken(data, max_pixels):
        return 1 / 0 if data in bad else verify_image(data, max_pixels)

    monkeypatch.setattr(download, "verify_image", broken)
    with pytest.raises(
        RuntimeError, match=r"2 images met an unexpected error, the first of them ok-7: ZeroDivisionError"
    ):
        download_shard(rows, folder, status, NETWORK, tmp_path / "pace")
    printed = capsys.readouterr()
    assert "image ok-7: unexpected error" in printed.out + printed.err
    assert "ZeroDivisionError" in printed.out + printed.err
    assert set(plan.expected) - set(read_outcomes(folder)) == {"ok-7", "/few.tar-a"}
    assert not status.exists()
    monkeypatch.undo()
    server.requests.clear()
    download_shard(rows, folder, status, NETWORK, tmp_path / "pace")
    check(plan, rows, folder, status)
    assert server.requests == {"/ok/7.jpg": 1, "/few.tar": 1}


def test_a_full_disk_ends_the_job_at_once(server, tmp_path, monkeypatch):
    plan = Plan(server)
    plan.manner("ok", 300, "ok")
    write = os.write

    def full(number, data):
        if len(server.requests) > 30:
            raise OSError(28, "No space left on device")
        return write(number, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left on device"):
            download_shard(plan.frame(), tmp_path / "shard.pack", tmp_path / "0.parquet", NETWORK, tmp_path / "pace")
    assert len(server.requests) < 300
    rows = plan.frame()
    download_shard(rows, tmp_path / "shard.pack", tmp_path / "0.parquet", NETWORK, tmp_path / "pace")
    check(plan, rows, tmp_path / "shard.pack", tmp_path / "0.parquet")


def test_an_archive_that_needs_an_account_fails_the_job_after_all_else_is_kept(server, tmp_path, monkeypatch):
    plan = Plan(server)
    plan.manner("ok", 5, "ok")
    rows = pd.concat(
        [
            plan.frame(),
            pd.DataFrame([{"id": "gated", "archive": "hub://datasets/osm/tiny@main/0.zip", "member": "a.jpg"}]),
        ]
    )
    server.refusals["/datasets/osm/tiny/resolve/main/0.zip"] = (403, {"X-Error-Code": "GatedRepo"})
    monkeypatch.setenv("HF_ENDPOINT", server.root)
    with pytest.raises(AccessError, match="HF_TOKEN"):
        download_shard(rows, tmp_path / "shard.pack", tmp_path / "0.parquet", NETWORK, tmp_path / "pace")
    assert set(read_outcomes(tmp_path / "shard.pack")) == set(plan.expected)


def test_a_row_without_any_place_is_an_error_of_the_plan(tmp_path):
    rows = pd.DataFrame({"id": ["a", "b"], "urls": [["http://a/"], []]})
    with pytest.raises(ValueError, match="image b of the plan has neither an address nor an archive"):
        download_shard(rows, tmp_path / "shard.pack", tmp_path / "0.parquet", NETWORK, tmp_path / "pace")


# what stands from an earlier run


def run(rows, tmp_path, **network):
    download_shard(rows, tmp_path / "shard.pack", tmp_path / "0.parquet", {**NETWORK, **network}, tmp_path / "pace")
    return pd.read_parquet(tmp_path / "0.parquet").set_index("id")["status"].to_dict()


def test_an_image_at_another_address_is_another_image(server, tmp_path):
    rows = pd.DataFrame({"id": ["a", "b"], "urls": [[f"{server.root}/ok/1.jpg"], [f"{server.root}/ok/2.jpg"]]})
    assert run(rows, tmp_path) == {"a": "ok", "b": "ok"}
    rows = pd.DataFrame({"id": ["a", "b"], "urls": [[f"{server.root}/ok/1.jpg"], [f"{server.root}/ok/3.jpg"]]})
    assert run(rows, tmp_path) == {"a": "ok", "b": "ok"}
    assert server.requests == {"/ok/1.jpg": 1, "/ok/2.jpg": 1, "/ok/3.jpg": 1}
    assert list(iter_images(tmp_path / "shard.pack", ["a", "b"])) == [photo(1), photo(3)]


def test_new_limits_are_applied_to_what_failed_and_leave_what_came(server, tmp_path):
    names = {"a": "ok/1.jpg", "b": "noai/2.jpg", "c": "bomb/3.jpg"}
    rows = pd.DataFrame({"id": list(names), "urls": [[f"{server.root}/{path}"] for path in names.values()]})
    assert run(rows, tmp_path) == {"a": "ok", "b": "opted out", "c": "too many pixels"}
    assert run(rows, tmp_path, respect_opt_out=False) == {"a": "ok", "b": "ok", "c": "too many pixels"}
    assert run(rows, tmp_path, respect_opt_out=False, timeout_s=20) == {"a": "ok", "b": "ok", "c": "too many pixels"}
    assert server.requests == {"/ok/1.jpg": 1, "/noai/2.jpg": 2, "/bomb/3.jpg": 2}


def test_a_host_that_never_answers_is_left_alone_after_a_while_and_found_again_later(server, tmp_path):
    plan = Plan(server)
    plan.manner("ok", 300, "http 500")
    for row in plan.rows:
        server.refusals[row["urls"][0].removeprefix(server.root)] = (500, {})
    rows = plan.frame()
    network = {"attempts": 1, "connections_per_host": 2}
    assert set(run(rows, tmp_path, **network).values()) == {"http 500"}
    table = pd.read_parquet(tmp_path / "0.parquet")
    assert table["retryable"].all()
    # those that were under way when it was given up are the workers of two connections
    assert download.GIVE_UP <= sum(server.requests.values()) < download.GIVE_UP + 2 * download.WAITING
    assert (
        table["detail"].str.contains("127.0.0.1 did not answer for 25 images in a row and was left alone").sum() > 200
    )
    server.requests.clear()
    assert set(run(rows, tmp_path, **network).values()) == {"http 500"}
    assert sum(server.requests.values()) < download.GIVE_UP + 2 * download.WAITING
    server.refusals.clear()
    assert set(run(rows, tmp_path, **network).values()) == {"ok"}


def test_a_row_of_a_host_left_alone_is_asked_for_later_even_if_it_once_failed_for_good(server, tmp_path):
    plan = Plan(server)
    plan.manner("ok", 60, "ok")
    plan.manner("huge", 1, "too large")
    rows, quick = pd.DataFrame(plan.rows), {"attempts": 1, "connections_per_host": 1}
    assert run(rows, tmp_path, **quick)["huge-60"] == "too large"
    rows["urls"] = [[f"{server.root}/error/{name}"] if name != "huge-60" else urls for name, urls in rows.to_numpy()]
    assert set(run(rows, tmp_path, **quick, max_bytes=10**6).values()) == {"http 500"}
    assert run(rows[rows["id"] == "huge-60"], tmp_path, max_bytes=10**6) == {"huge-60": "not an image"}


def test_a_shard_can_be_downloaded_outside_of_the_main_thread(server, tmp_path):
    rows = pd.DataFrame({"id": ["a"], "urls": [[f"{server.root}/ok/1.jpg"]]})
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, rows, tmp_path).result() == {"a": "ok"}


# small parts


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False), (["noai"], True), (["noimageai"], True), (["NoAI, NoImageAI"], True), (["noindex, noai"], True),
        (["otherbot: noai"], True), (["otherbot: nofollow, noimageai"], True), (["noindex", "googlebot: noai"], True),
        (["noindex"], False), (["noindex, nofollow, noarchive"], False), (["noimageindex"], False), (["all"], False),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], False), (["noaircraft"], False), (["noai: all"], False),
        (["none"], False), ([""], False), (["noai,"], True),
    ],
)  # fmt: skip
def test_only_a_wish_against_machine_learning_is_an_opt_out(values, expected):
    headers = CIMultiDictProxy(CIMultiDict([("x-robots-tag", value) for value in values]))
    assert opts_out(headers) is expected


def test_places_are_read_from_whatever_a_table_holds():
    rows = pd.DataFrame(
        [
            {
                "id": "a",
                "urls": np.array(["http://a/1", "http://a/2"], dtype=object),
                "archive": None,
                "member": np.nan,
            },
            {"id": "b", "urls": None, "archive": "http://a/x.tar", "member": "1.jpg"},
            {"id": "c", "urls": np.nan, "archive": "http://a/x.tar", "member": "2.jpg"},
            {"id": "d", "urls": [], "archive": "http://a/x.tar", "member": "3.jpg"},
        ]
    )
    tasks = make_tasks(rows)
    assert [task.urls for task in tasks] == [("http://a/1", "http://a/2"), (), (), ()]
    assert [(task.archive, task.member) for task in tasks[1:]] == [("http://a/x.tar", f"{n}.jpg") for n in (1, 2, 3)]
    assert len({task.key for task in tasks}) == 4

"""The pack of a shard: what is put comes back, and what a kill at any moment leaves is a beginning of it."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from geoprobe.images import pack as module
from geoprobe.images.pack import (
    COLUMNS,
    iter_images,
    open_pack,
    read_outcomes,
    status_table,
    write_status,
)


def content(name):
    """Bytes that belong to a name; some are long, some nearly nothing."""
    generator = random.Random(name)
    return generator.randbytes(generator.choice([1, 7, 300, 5000]))


def ok(name):
    data = content(name)
    return {
        "id": name, "status": "ok", "detail": "", "retryable": False, "url": f"http://a/{name}", "http_status": 200,
        "sha256": hashlib.sha256(data).hexdigest(), "width": 4, "height": 3, "phash": "00ff00ff00ff00ff",
    }  # fmt: skip


def failed(name, status="http 404", retryable=False):
    return {
        "id": name, "status": status, "detail": "Not Found", "retryable": retryable, "url": f"http://a/{name}",
        "http_status": 404, "sha256": "", "width": None, "height": None, "phash": "",
    }  # fmt: skip


def put(pack, name):
    """Every fourth image fails."""
    if int(name[1:]) % 4 == 3:
        pack.put(failed(name))
    else:
        pack.put(ok(name), content(name))


def names(count):
    return [f"i{number}" for number in range(count)]


def fill(folder, count):
    with open_pack(folder) as pack:
        for name in names(count):
            put(pack, name)


def is_ok(name):
    return int(name[1:]) % 4 != 3


def check(folder, expected):
    """The folder holds exactly the outcomes of the expected names, and the right bytes of those that are images."""
    outcomes = read_outcomes(folder)
    assert list(outcomes) == expected
    images = [name for name in expected if is_ok(name)]
    assert list(iter_images(folder, images)) == [content(name) for name in images]
    assert (folder / "images.pack").stat().st_size == sum(len(content(name)) for name in images)


def test_what_was_put_comes_back_in_any_order(tmp_path):
    fill(tmp_path, 20)
    check(tmp_path, names(20))
    some = ["i9", "i0", "i9", "i18"]
    assert list(iter_images(tmp_path, some)) == [content(name) for name in some]
    assert list(iter_images(tmp_path, ["i5"])) == [content("i5")]


def test_a_pack_is_gone_on_with_when_opened_again(tmp_path):
    fill(tmp_path / "a", 30)
    for count in (10, 20, 30):
        with open_pack(tmp_path / "b") as pack:
            assert list(pack.outcomes) == names(count - 10)
            for name in names(count)[count - 10 :]:
                put(pack, name)
    for file in ("images.pack", "journal.jsonl"):
        assert (tmp_path / "b" / file).read_bytes() == (tmp_path / "a" / file).read_bytes()


def test_the_pack_is_nothing_but_the_bytes_one_after_another(tmp_path):
    fill(tmp_path, 9)
    assert (tmp_path / "images.pack").read_bytes() == b"".join(content(name) for name in names(9) if is_ok(name))


def test_a_later_outcome_of_an_id_replaces_the_earlier(tmp_path):
    with open_pack(tmp_path) as pack:
        pack.put(failed("i1", "timed out", True))
        pack.put(ok("i2"), content("i2"))
        pack.put(ok("i1"), content("i1"))
        assert pack.outcomes["i1"]["status"] == "ok"
    assert list(iter_images(tmp_path, ["i1"])) == [content("i1")]
    assert status_table(read_outcomes(tmp_path), ["i1"])["status"].tolist() == ["ok"]


def test_any_text_is_an_id(tmp_path):
    odd = ["", "a\nb", '"', "\u2028", "日本", "\0", "{}", "a/../b"]
    with open_pack(tmp_path) as pack:
        for name in odd:
            pack.put({**ok("i1"), "id": name}, content("i1"))
    assert list(read_outcomes(tmp_path)) == odd
    with open_pack(tmp_path) as pack:
        assert list(pack.outcomes) == odd


# kills and crashes


def steps(folder):
    """What the disk holds after each single write of a fill, in the order in which they are made: (pack, journal)."""
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    data, journal, stored = (folder / "images.pack").read_bytes(), b"", 0
    for line in lines:
        length = json.loads(line)["length"] or 0
        for cut in sorted({0, 1, length // 2, length}):
            yield data[: stored + cut], journal
        stored += length
        for cut in sorted({1, len(line) // 2, len(line) - 1, len(line)}):
            yield data[:stored], journal + line[:cut]
        journal += line


def test_after_a_kill_at_any_moment_only_the_unfinished_outcome_is_lost(tmp_path):
    fill(tmp_path / "whole", 12)
    for number, (data, journal) in enumerate(steps(tmp_path / "whole")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "images.pack").write_bytes(data)
        (folder / "journal.jsonl").write_bytes(journal)
        done = names(journal.count(b"\n"))
        with open_pack(folder) as pack:
            assert list(pack.outcomes) == done
        check(folder, done)
        with open_pack(folder) as pack:
            for name in names(12)[len(done) :]:
                put(pack, name)
        for file in ("images.pack", "journal.jsonl"):
            assert (folder / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
        shutil.rmtree(folder)


@pytest.mark.parametrize("lost", ["cut", "zeros"])
def test_after_a_crash_of_the_machine_lines_without_their_bytes_are_dropped(tmp_path, lost):
    fill(tmp_path / "whole", 12)
    data = (tmp_path / "whole" / "images.pack").read_bytes()
    ends = [0]
    for name in names(12):
        ends.append(ends[-1] + (len(content(name)) if is_ok(name) else 0))
    for kept in range(0, len(data), 97):
        folder = tmp_path / str(kept)
        shutil.copytree(tmp_path / "whole", folder)
        rest = b"" if lost == "cut" else b"\0" * (len(data) - kept)
        (folder / "images.pack").write_bytes(data[:kept] + rest)
        with open_pack(folder) as pack:
            done = list(pack.outcomes)
        check(folder, done)
        # the longest beginning whose bytes are there; a rest of zeros may begin with a zero that was one before
        assert done == names(max(count for count in range(13) if ends[count] <= kept + (data[kept] == 0)))
        shutil.rmtree(folder)


def test_a_journal_with_a_hole_in_its_unforced_end_is_cut_at_the_hole(tmp_path):
    fill(tmp_path, 10)
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_bytes(b"".join([*lines[:6], b"\0" * (len(lines[6]) - 1) + b"\n", *lines[7:]]))
    with open_pack(tmp_path):
        pass
    check(tmp_path, names(6))


def test_damage_that_no_crash_explains_is_an_error_with_the_line_and_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SYNC_EVERY", 3)
    fill(tmp_path, 10)
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_bytes(b"".join([*lines[:4], b"{}\n", *lines[5:]]))
    with pytest.raises(ValueError, match=r"journal\.jsonl, line 5 is damaged\. Remove the folder"), open_pack(tmp_path):
        pass


def test_files_are_forced_to_disk_bytes_first_every_so_often_and_at_the_end(tmp_path, monkeypatch):
    forced = []
    monkeypatch.setattr(module, "SYNC_EVERY", 4)
    monkeypatch.setattr(
        os, "fsync", lambda number: forced.append(os.path.basename(os.readlink(f"/proc/self/fd/{number}")))
    )
    with open_pack(tmp_path) as pack:
        for name in names(10):
            put(pack, name)
        assert forced == ["images.pack", "journal.jsonl"] * 2
    assert forced == ["images.pack", "journal.jsonl"] * 3


def test_a_full_disk_is_an_error_and_leaves_what_was_whole(tmp_path, monkeypatch):
    room, write = 9000, os.write

    def limited(number, data):
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(number, data[: min(room, 1000)])
        room -= written
        return written

    monkeypatch.setattr(os, "write", limited)
    with pytest.raises(OSError, match="No space left"):
        fill(tmp_path, 60)
    done = names((tmp_path / "journal.jsonl").read_bytes().count(b"\n"))
    assert 3 < len(done) < 60
    check(tmp_path, done)
    room = 10**6
    with open_pack(tmp_path) as pack:
        for name in names(60)[len(done) :]:
            put(pack, name)
    check(tmp_path, names(60))


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[2])
import test_pack
from geoprobe.images.pack import open_pack
with open_pack(sys.argv[1]) as pack:
    print(len(pack.outcomes), flush=True)
    for name in test_pack.names(100_000)[len(pack.outcomes):]:
        test_pack.put(pack, name)
"""


def test_a_process_killed_again_and_again_gets_on_and_loses_nothing(tmp_path):
    generator, before = random.Random(4), 0
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), os.path.dirname(__file__)]
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        opened_with = int(process.stdout.readline())
        assert opened_with >= before
        wanted = opened_with + generator.randrange(1, 300)
        while (tmp_path / "journal.jsonl").read_bytes().count(b"\n") < wanted:
            time.sleep(generator.uniform(0, 0.003))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        # what was whole when the process died is there, and is what it should be
        lines = (tmp_path / "journal.jsonl").read_bytes().count(b"\n")
        assert lines >= wanted
        with open_pack(tmp_path) as pack:
            assert len(pack.outcomes) == lines
        check(tmp_path, names(lines))
        before = lines


# many hands


def test_a_second_process_gets_an_error_that_names_the_folder(tmp_path):
    with open_pack(tmp_path) as pack:
        put(pack, "i0")
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), os.path.dirname(__file__)]
        second = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        assert second.returncode == 1
        assert f"RuntimeError: {tmp_path} is being written by another process" in second.stderr
        put(pack, "i1")
    check(tmp_path, names(2))


def test_many_threads_put_at_once(tmp_path):
    with open_pack(tmp_path) as pack, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: put(pack, name), names(400)))
    outcomes = read_outcomes(tmp_path)
    assert set(outcomes) == set(names(400))
    images = [name for name in names(400) if is_ok(name)]
    assert list(iter_images(tmp_path, images)) == [content(name) for name in images]
    with open_pack(tmp_path) as pack:
        assert pack.outcomes == outcomes


# reading


def test_an_image_that_is_not_there_is_named_with_the_reason(tmp_path):
    fill(tmp_path, 8)
    with pytest.raises(
        ValueError, match=r"has no image i3 \(http 404\)\. Remove the folder .* --forcerun download_images"
    ):
        list(iter_images(tmp_path, ["i0", "i3"]))
    with pytest.raises(ValueError, match=r"has no image elsewhere \(never downloaded\)"):
        list(iter_images(tmp_path, ["elsewhere"]))


def test_bytes_that_changed_on_disk_are_not_handed_out(tmp_path):
    fill(tmp_path, 8)
    data = bytearray((tmp_path / "images.pack").read_bytes())
    data[0] ^= 1
    (tmp_path / "images.pack").write_bytes(data)
    assert list(iter_images(tmp_path, ["i1"])) == [content("i1")]
    with pytest.raises(ValueError, match="the bytes of image i0 have changed on disk"):
        list(iter_images(tmp_path, ["i0"]))


# status table


def test_the_status_table_has_each_id_in_the_given_order_with_its_outcome(tmp_path):
    fill(tmp_path, 8)
    order = ["i3", "i7", "i0", "i5"]
    write_status(tmp_path, pd.Series(order), tmp_path / "status.parquet")
    table = pd.read_parquet(tmp_path / "status.parquet")
    assert tuple(table) == COLUMNS
    assert table["id"].tolist() == order
    assert table["status"].tolist() == ["http 404", "http 404", "ok", "ok"]
    assert table["length"].isna().tolist() == [True, True, False, False]
    assert table["length"].tolist()[2:] == [len(content("i0")), len(content("i5"))]
    assert table["sha256"].tolist()[2:] == [hashlib.sha256(content(name)).hexdigest() for name in ("i0", "i5")]
    assert table["retryable"].dtype == bool
    assert {str(table[name].dtype) for name in ("http_status", "length", "width", "height")} == {"Int64"}


def test_equal_outcomes_give_equal_bytes_in_whatever_order_they_came(tmp_path):
    for folder, order in (("a", names(40)), ("b", names(40)[::-1])):
        with open_pack(tmp_path / folder) as pack:
            for name in order:
                if folder == "b":
                    pack.put(failed(name, "timed out", True))
                put(pack, name)
        write_status(tmp_path / folder, names(40), tmp_path / f"{folder}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_table_without_any_image_has_the_same_types(tmp_path):
    with open_pack(tmp_path) as pack:
        put(pack, "i3")
        put(pack, "i0")
    for ids in (["i3"], ["i0"], []):
        write_status(tmp_path, ids, tmp_path / "status.parquet")
        table = pd.read_parquet(tmp_path / "status.parquet")
        assert table.dtypes.equals(status_table(read_outcomes(tmp_path), ["i0", "i3"]).dtypes)


def test_an_id_without_outcome_is_an_error_that_names_one(tmp_path):
    fill(tmp_path, 3)
    with pytest.raises(ValueError, match="2 of 3 images have no outcome yet, such as i8"):
        write_status(tmp_path, ["i0", "i8", "i9"], tmp_path / "status.parquet")
    assert not (tmp_path / "status.parquet").exists()

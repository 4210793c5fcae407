"""What every job does alike: its log, its provenance, and outputs that are whole or absent."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from conftest import ROOT

import geoprobe
from geoprobe.runtime import (
    note_killed,
    peak_mb,
    provenance,
    replacing,
    rule_log,
    scratch_beside,
    timestamp,
    use_checkout,
    write_table,
)


class Job:
    """A Python process whose body ran within rule_log."""

    def __init__(self, folder, body, before="", after=""):
        self.log_path = folder / "logs" / "deep" / "job.log"
        lines = [
            "import logging, sys, warnings",
            "from geoprobe.runtime import rule_log",
            before,
            f"with rule_log({str(self.log_path)!r}):",
            textwrap.indent(textwrap.dedent(body).strip(), "    "),
            after,
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", "PYTHONUTF8": "1"}
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)], env=environment, cwd=folder, capture_output=True
        )
        # bytes, as text would turn carriage returns into line breaks
        self.status, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()
        self.log = self.log_path.read_text(encoding="utf-8")
        self.lines = self.log.splitlines()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    body = """
        print("printed ü")
        sys.stderr.write("to stderr\\n")
        logging.getLogger("some.library").warning("logged")
        warnings.warn("warned", UserWarning)
        print("10 %\\r20 %\\r30 %", file=sys.stderr)
        import geoprobe.words
    """
    return Job(tmp_path_factory.mktemp("good"), body, after="print('afterwards')")


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    body = """
        def inner():
            raise ValueError("photos.csv, row 3: no good. Mend it.")
        print("so far")
        inner()
    """
    return Job(tmp_path_factory.mktemp("failed"), body, after="print('never')")


# the log of a job that ends well


@pytest.mark.parametrize("text", ["printed ü", "to stderr", "logged", "UserWarning: warned"])
def test_what_a_job_prints_logs_and_warns_is_in_its_log(good, text):
    assert text in good.log


def test_what_a_job_prints_still_reaches_the_terminal(good):
    assert good.status == 0
    assert "printed ü\n" in good.out
    assert "to stderr\n" in good.err


def test_a_progress_bars_steps_are_lines_of_the_log_and_not_of_the_terminal(good):
    assert {"10 %", "20 %", "30 %"} <= set(good.lines)
    assert "10 %\r20 %\r30 %" in good.err


def test_the_log_opens_with_time_and_machine_and_ends_with_the_duration(good):
    assert good.lines[0].startswith("started ")
    assert f"Python {sys.version.split()[0]}" in good.lines[0]
    assert good.lines[-1].startswith("finished after ")


def test_the_log_of_a_cluster_job_names_it_with_its_node_and_gpu(good, tmp_path, monkeypatch):
    assert "SLURM" not in good.lines[0]
    for name, value in {"SLURM_JOB_ID": "12", "SLURMD_NODENAME": "fast", "CUDA_VISIBLE_DEVICES": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Job(tmp_path, "pass").lines[0].endswith(", SLURM job 12, node fast, GPU 1")


def test_the_log_lists_the_modules_of_the_package_that_were_used(good):
    (line,) = [line for line in good.lines if line.startswith("modules: ")]
    assert set(line.removeprefix("modules: ").split()) == {
        "geoprobe",
        *(f"geoprobe.{name}" for name in ("runtime", "secrets", "whole", "words")),
    }


def test_what_is_printed_after_the_job_is_not_in_its_log(good):
    assert "afterwards" in good.out
    assert "afterwards" not in good.log


def test_a_quiet_job_has_a_log_that_is_not_empty(tmp_path):
    assert Job(tmp_path, "pass").lines[-1].startswith("finished after ")


def test_an_earlier_log_is_replaced(tmp_path):
    first = Job(tmp_path, "print('the first')")
    second = Job(tmp_path, "print('the second')")
    assert "the first" in first.log
    assert "the first" not in second.log


def test_lines_are_in_the_log_as_soon_as_they_are_printed(tmp_path):
    body = """
        print("early")
        with open("logs/deep/job.log", encoding="utf-8") as log:
            assert "early" in log.read()
    """
    assert Job(tmp_path, body).status == 0


def test_streams_handlers_and_warnings_are_as_before(tmp_path):
    look = "print(type(sys.stdout).__name__, len(logging.getLogger().handlers), warnings.showwarning.__module__)"
    job = Job(tmp_path, "pass", before=look, after=look)
    first, second = job.out.splitlines()
    assert first == second


# the log of a job that fails


def test_a_failed_job_leaves_with_status_1(failed):
    assert failed.status == 1
    assert failed.out == "so far\n"


def test_the_last_line_of_the_log_is_the_error(failed):
    assert failed.lines[-1] == "ValueError: photos.csv, row 3: no good. Mend it."


def test_the_traceback_is_in_the_log_and_not_on_the_terminal(failed):
    assert "Traceback (most recent call last):" in failed.log
    assert "in inner" in failed.log
    assert "so far" in failed.log
    assert "Traceback" not in failed.err


def test_the_terminal_gets_the_sentence_and_the_logs_path(failed):
    assert failed.err.splitlines() == [failed.lines[-1], f"(traceback in {failed.log_path})"]


def test_an_error_of_several_lines_ends_the_log_in_one(tmp_path):
    job = Job(tmp_path, "raise ValueError('first line\\nsecond line')")
    assert job.status == 1
    assert "first line" in job.lines[-1]
    assert "second line" in job.lines[-1]


def test_a_missing_key_is_an_error_too(tmp_path):
    job = Job(tmp_path, "{}['colour']")
    assert (job.status, job.lines[-1]) == (1, "KeyError: 'colour'")


def test_an_exit_that_the_job_chose_keeps_its_status(tmp_path):
    assert Job(tmp_path, "sys.exit(7)").status == 7


# outputs


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_output_appears_whole_at_the_end_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "new" / "folder" / "out.txt"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert files_in(tmp_path) == ["new/folder/out.txt"]
    assert path.read_text() == "half"


def fail_halfway(path, error):
    """Write half an output, look at what is at its path meanwhile, and fail."""
    before = path.read_text() if path.exists() else None
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert (path.read_text() if path.exists() else None) == before
        raise error("stop")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_output_that_fails_is_absent(tmp_path, error):
    with pytest.raises(error, match="stop"):
        fail_halfway(tmp_path / "out.txt", error)
    assert files_in(tmp_path) == []


def test_two_machines_that_write_one_output_do_not_meet(tmp_path, monkeypatch):
    with replacing(tmp_path / "out.csv") as here:
        monkeypatch.setattr("platform.node", lambda: "another")
        with replacing(tmp_path / "out.csv") as there:  # in a process of the same number
            assert here != there
            there.write_text("there")
        here.write_text("here")
    assert (tmp_path / "out.csv").read_text() == "here"


def test_an_output_that_fails_leaves_the_earlier_one_as_it_was(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("earlier")

    with pytest.raises(ValueError, match="stop"):
        fail_halfway(path, ValueError)
    assert path.read_text() == "earlier"
    assert files_in(tmp_path) == ["out.txt"]


def test_an_earlier_output_is_replaced(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("earlier")
    with replacing(str(path)) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


# provenance


def test_provenance_has_the_versions_of_the_libraries_that_are_loaded():
    made = provenance()
    assert made["geoprobe"] == geoprobe.__version__
    assert made["python"] == ".".join(map(str, sys.version_info[:3]))
    versions = json.loads(made["versions"])
    assert {"numpy", "pandas"} <= set(versions)
    assert versions == {name: version(name) for name in versions}


def test_libraries_that_are_not_loaded_are_not_listed_nor_loaded():
    code = (
        "import sys; from geoprobe.runtime import provenance; print(provenance()['versions'], 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "{} False\n"


def test_a_timestamp_is_now_in_utc_to_the_second():
    before = time.time()
    then = datetime.strptime(timestamp(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    assert before - 1 <= then <= time.time()


FRAME = pd.DataFrame({"id": ["a", "ü"], "value": [0.1, np.nan], "count": [1, 2]}, index=[7, 3])


def test_a_parquet_table_comes_back_with_its_provenance(tmp_path):
    path = tmp_path / "tables" / "table.parquet"
    write_table(FRAME, path)
    read = pd.read_parquet(path)
    pd.testing.assert_frame_equal(read, FRAME.reset_index(drop=True), check_flags=False)
    metadata = json.loads(pyarrow.parquet.read_schema(path).metadata[b"PANDAS_ATTRS"])
    assert metadata == read.attrs
    assert metadata["geoprobe"] == geoprobe.__version__
    assert json.loads(metadata["versions"])["pandas"] == pd.__version__
    assert datetime.strptime(metadata["created"], "%Y-%m-%dT%H:%M:%SZ").year >= 2024
    assert files_in(tmp_path) == ["tables/table.parquet"]


def test_a_frames_own_attributes_are_kept_and_the_frame_is_not_changed(tmp_path):
    frame = FRAME.copy()
    frame.attrs = {"images_digest": "abc"}
    write_table(frame, tmp_path / "table.parquet")
    assert frame.attrs == {"images_digest": "abc"}
    assert frame.index.tolist() == [7, 3]
    assert pd.read_parquet(tmp_path / "table.parquet").attrs["images_digest"] == "abc"


def test_a_csv_table_is_the_rows_and_nothing_else(tmp_path):
    write_table(FRAME, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines() == ["id,value,count", "a,0.1,1", "ü,,2"]


def test_a_table_that_cannot_be_written_leaves_no_file(tmp_path):
    unfit = pd.DataFrame({"mixed": [1, "a", object()]})
    with pytest.raises(Exception, match="object"):
        write_table(unfit, tmp_path / "table.parquet")
    assert files_in(tmp_path) == []


# which checkout


def test_jobs_import_the_package_from_the_checkout(tmp_path, monkeypatch):
    (tmp_path / "checkout" / "geoprobe").mkdir(parents=True)
    (tmp_path / "checkout" / "geoprobe" / "__init__.py").write_text("__version__ = 'of the checkout'\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    use_checkout(tmp_path / "checkout")
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "checkout"), str(ROOT)]
    code = "import geoprobe; print(geoprobe.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "of the checkout\n"


def test_a_checkout_is_the_only_entry_where_there_was_none(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    # set and removed again at the end, whatever is done in between
    monkeypatch.setenv("PYTHONPATH", "")
    use_checkout(tmp_path)
    assert os.environ["PYTHONPATH"] == str(tmp_path)


def test_the_peak_of_memory_is_this_processs_own_and_only_rises():
    """Not that of the process which started it, as ru_maxrss is."""
    ballast = np.ones(50_000_000)
    own = peak_mb()
    assert own > ballast.nbytes / 2**20
    code = "from geoprobe.runtime import peak_mb; before = peak_mb(); held = bytearray(2**27); print(before, peak_mb())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert before < 300 < own
    assert 120 < after - before < 140


def test_a_second_process_at_the_same_job_waits_for_the_first(tmp_path):
    log, order = tmp_path / "job.log", tmp_path / "order"
    program = (
        "import os, sys, time\n"
        "from geoprobe.runtime import rule_log\n"
        "with rule_log(sys.argv[1]):\n"
        "    with open(sys.argv[2], 'a') as file: file.write('in ')\n"
        "    while not os.path.exists(sys.argv[3]): time.sleep(0.01)\n"
        "    with open(sys.argv[2], 'a') as file: file.write('out ')\n"
    )
    command = [sys.executable, "-c", program, str(log), str(order), str(tmp_path / "go on")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = [tmp_path / "first", tmp_path / "second"]

    def start(path):
        with open(path, "w") as file:
            return subprocess.Popen(command, env=environment, stderr=file)

    def wait_until(path, text):
        deadline = time.monotonic() + 60
        while not (path.exists() and text in path.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)

    first = start(said[0])
    wait_until(order, "in")
    second = start(said[1])
    # the first one goes on when the second has found it there
    wait_until(said[1], "waiting for it")
    (tmp_path / "go on").touch()
    assert [process.wait(timeout=60) for process in (first, second)] == [0, 0]
    assert order.read_text() == "in out in out "
    assert ["is locked); waiting for it" in path.read_text() for path in said] == [False, True]


def test_a_killed_process_leaves_no_lock(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from geoprobe.runtime import rule_log\n"
        "with rule_log(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "job.log")], env=environment)
    assert done.returncode == -signal.SIGKILL
    with rule_log(tmp_path / "job.log"):
        pass
    assert "finished" in (tmp_path / "job.log").read_text()


def start_job(log, body="time.sleep(60)"):
    """A process within rule_log, as soon as it is at its body."""
    program = f"import sys, time\nfrom geoprobe.runtime import rule_log\nwith rule_log({str(log)!r}):\n"
    program += f"    print('there', flush=True)\n    {body}\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    return process


def test_the_log_of_a_job_that_is_cancelled_says_so(tmp_path):
    with start_job(tmp_path / "job.log") as process:
        process.terminate()
    assert process.returncode == -signal.SIGTERM
    assert (tmp_path / "job.log").read_text().splitlines()[-1].startswith("ended by SIGTERM")


def test_a_process_that_a_job_forks_and_ends_is_not_taken_for_the_job(tmp_path):
    body = """
        import os, signal, time
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, b"there")  # a signal before this may be lost in the fork
            time.sleep(60)
            os._exit(0)
        os.read(reading, 5)
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    """
    job = Job(tmp_path, body)
    assert "SIGTERM" not in job.log
    assert job.lines[-1].startswith("finished after ")


def test_the_log_of_a_killed_job_is_ended_for_it_once(tmp_path):
    for name in ("done", "sub/failed", "killed", "left"):
        with start_job(
            tmp_path / "logs" / f"{name}.log", {"sub/failed": "1 / 0", "done": "pass"}.get(name, "time.sleep(60)")
        ) as process:
            if name in ("killed", "left"):
                process.kill()
    with start_job(tmp_path / "logs" / "running.log") as running:
        assert note_killed(tmp_path / "logs") == [str(tmp_path / f"logs/{name}.log") for name in ("killed", "left")]
        assert note_killed(tmp_path / "logs") == []
        (tmp_path / "logs" / "killed.log").write_text("")  # it came to no word at all
        assert note_killed(tmp_path / "logs") == [str(tmp_path / "logs/killed.log")]
        running.kill()
    assert (
        (tmp_path / "logs/killed.log")
        .read_text()
        .splitlines()[-1]
        .startswith("ended without a word of its own: killed")
    )
    assert (tmp_path / "logs/done.log").read_text().splitlines()[-1].startswith("finished")
    assert note_killed(tmp_path / "logs") == [str(tmp_path / "logs/running.log")]


@pytest.mark.parametrize(
    ("hidden", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), " (after OSError: [Errno 28] No space left on device)"),
        (MemoryError("Unable to allocate 3 MiB"), " (after MemoryError: Unable to allocate 3 MiB)"),
        (ImportError("x.so: failed to map segment"), " (after ImportError: x.so: failed to map segment)"),
        (ModuleNotFoundError("No module named 'x'"), ""),
        (OSError(errno.ENOENT, "No such file"), ""),
    ],
)
def test_a_full_disk_or_memory_that_a_library_hides_behind_an_error_of_its_own_is_told(tmp_path, hidden, told):
    def write():
        try:
            raise hidden
        finally:
            raise AttributeError("'Stream' object has no attribute 'pos'")

    with pytest.raises(SystemExit), rule_log(tmp_path / "job.log"):
        write()
    last = (tmp_path / "job.log").read_text().splitlines()[-1]
    assert last == f"AttributeError: 'Stream' object has no attribute 'pos'{told}"


BAR = "print('\\rwrite:  10 %', end='', file=sys.stderr, flush=True); "


@pytest.mark.parametrize(
    ("end", "last"),
    [
        ("pass", ["modules: ", "finished after"]),
        ("1 / 0", ["failed after", "ZeroDivisionError: division by zero"]),
        ("raise KeyboardInterrupt", ["ended by KeyboardInterrupt"]),
        ("os.kill(os.getpid(), 15)", ["ended by SIGTERM"]),
        ("os.kill(os.getpid(), 9)", ["ended without a word"]),
    ],
)
def test_the_last_words_of_a_log_stand_on_lines_of_their_own_after_a_bar_that_did_not_end(tmp_path, end, last):
    with start_job(tmp_path / "logs" / "job.log", f"import os, sys; {BAR}{end}") as process:
        process.wait(60)
    note_killed(tmp_path / "logs")
    lines = (tmp_path / "logs/job.log").read_text().split("\n")
    assert lines[-1] == ""
    found = lines[-1 - len(last) : -1]
    assert [line[: len(start)] for line, start in zip(found, last, strict=True)] == last


def test_what_killed_processes_left_beside_an_output_is_removed_before_its_next_job(tmp_path):
    kept = [tmp_path / "out.csv", tmp_path / "other.csv.host.1.tmp"]
    for path in [*kept, tmp_path / "out.csv.host.1.tmp", tmp_path / "out.csv.host.2.scratch.tmp" / "part"]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with rule_log(tmp_path / "logs" / "job.log", outputs=[tmp_path / "out.csv"]):
        assert sorted(path for path in tmp_path.iterdir() if path.name != "logs") == sorted(kept)


def test_a_folder_for_scratch_lies_beside_the_output_and_is_gone_afterwards(tmp_path):
    with scratch_beside(tmp_path / "new" / "out.csv") as folder:
        assert folder.parent == tmp_path / "new"
        (folder / "part").touch()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_system_without_locks_is_said_in_the_log(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with rule_log(tmp_path / "job.log"):
        pass
    assert "No locks available" in (tmp_path / "job.log").read_text()

"""What every job does alike: its log, its provenance, and outputs that are whole or absent."""

import contextlib
import errno
import fcntl
import glob
import json
import logging
import os
import platform
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from importlib.metadata import version
from pathlib import Path

import geoprobe
from geoprobe.secrets import redact, redact_values
from geoprobe.whole import check_whole

LIBRARIES = (
    "numpy", "pandas", "h5py", "sklearn", "torch", "torchvision", "timm", "open_clip", "transformers", "accelerate",
    "safetensors", "matplotlib", "PIL", "duckdb", "geopandas", "shapely", "aiohttp", "imagehash", "huggingface_hub",
    "h3",
)  # fmt: skip
# how the last lines of a log begin: of a job that ended by itself, and of one that was ended
FINISHED, FAILED, ENDED = "finished after", "failed after", "ended"
WORDLESS = (
    "without a word of its own: killed, cancelled, out of memory, or its machine was lost. What it may have printed is "
    "in the output of Snakemake."
)
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "open_clip": "open_clip_torch"}


class _Log:
    """A log file that takes no secrets in."""

    def __init__(self, file):
        self.file, self.begun = file, False

    def write(self, text):
        self.file.write(redact(text))
        self.begun = not text.endswith("\n") if text else self.begun
        return len(text)

    def write_line(self, text):
        """Write on a line of its own: a progress bar's last one has no end."""
        self.write(f"\n{text}\n" if self.begun else f"{text}\n")

    def flush(self):
        self.file.flush()


class _Tee:
    """A stream that also writes to the log; a progress bar's carriage returns become lines there."""

    def __init__(self, stream, log):
        self.stream, self.log = stream, log

    def write(self, text):
        self.log.write(text.replace("\r", "\n"))
        self.stream.write(redact(text))
        return len(text)

    def flush(self):
        self.log.flush()
        self.stream.flush()

    def __getattr__(self, name):
        return getattr(self.stream, name)


def _place():
    """Which job of SLURM this is, on which node, with which GPUs; nothing where it is none."""
    names = {"SLURM_JOB_ID": "SLURM job", "SLURMD_NODENAME": "node", "CUDA_VISIBLE_DEVICES": "GPU"}
    given = [f"{name} {os.environ[key]}" for key, name in names.items() if key in os.environ]
    return ", ".join(["", *given]) if "SLURM_JOB_ID" in os.environ else ""


@contextlib.contextmanager
def alone(path):
    """Lock a file until the end; wait where another process has it, and say so.

    Jobs outlive a driver that is killed, and what a job resumes from must not be written by two at once.

    Yields:
        A line for the log: empty, or that the file system knows no locks.
    """
    with open(path, "a") as file:
        warning = ""
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another process is at this very job ({path} is locked); waiting for it", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            warning = f"{path} cannot be locked ({error}): two processes at this job would not see each other\n"
        yield warning


def _lock_of(log):
    """Where the process that does the job of a log holds a lock: not the log, which Snakemake removes before a job."""
    return log.with_name(f".{log.name}.lock")


def _append_line(path, text):
    """Add a line to a log that another process may have left in the middle of one."""
    with open(path, "a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        begun = file.read() not in (b"", b"\n")
        file.write(b"\n" * begun + f"{text}\n".encode())


@contextlib.contextmanager
def _last_words(path):
    """Let SIGTERM, by which a cluster cancels jobs, end this process not before its log says so."""

    def end(number, frame):
        if os.getpid() == owner:
            # opened anew, as the signal may come amid a write
            _append_line(path, f"{ENDED} by SIGTERM: it was cancelled, or its time or memory was used up")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    owner = os.getpid()
    if threading.current_thread() is not threading.main_thread():  # only that one may say what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def note_killed(folder):
    """End the log of each job that was killed with a line that says so.

    Nothing that is killed by SIGKILL, or whose machine is lost, can do so itself.

    Args:
        folder: of logs.

    Returns:
        Paths of the logs, sorted. Of a job that another process still does, the log is left as it is.
    """
    found = []
    for path in sorted(Path(folder).rglob("*.log")):
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - 10_000))
            lines = file.read().decode(errors="replace").splitlines()
        if any(line.startswith((FINISHED, FAILED, ENDED)) for line in lines[-2:]):
            continue
        with contextlib.suppress(OSError), open(_lock_of(path), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _append_line(path, f"{ENDED} {WORDLESS}")
            found.append(str(path))
    return found


def _remove_remains(outputs):
    """Remove what earlier processes at this job were killed over: see :func:`replacing` and :func:`scratch_beside`."""
    for output in map(Path, outputs):
        for left in output.parent.glob(f"{glob.escape(output.name)}.*.tmp"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


@contextlib.contextmanager
def rule_log(path, inputs=(), outputs=()):
    """Copy all that a job prints, logs and warns into its log, and end it with the error in one line.

    Snakemake leaves `log:` to the script. The traceback goes to the log only: the terminal gets the sentence
    and the log's path. A job that fails leaves with exit status 1. Secrets are taken out of all of it. One process at
    a time does the job of a log.

    Args:
        path: of the log.
        inputs: files that the job is to read, refused where they are not whole (:mod:`geoprobe.whole`); those below
            the folder in which the log lies are this project's own.
        outputs: files that it is to write; what processes that were killed left beside them is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(_lock_of(path)) as warning, _last_words(path), open(path, "w", encoding="utf-8", buffering=1) as file:
        start = time.monotonic()
        log, out, err = _Log(file), sys.stdout, sys.stderr
        handler = logging.StreamHandler(log)
        logging.captureWarnings(True)
        logging.getLogger().addHandler(handler)
        place = f"{platform.platform()}, Python {platform.python_version()}{_place()}"
        log.write(f"started {timestamp()} on {place}\n{warning}")
        try:
            with contextlib.redirect_stdout(_Tee(out, log)), contextlib.redirect_stderr(_Tee(err, log)):
                _remove_remains(outputs)
                for each in inputs:
                    check_whole(each, own=Path(each).parts[0] == path.parts[0])
                yield
        except Exception as error:
            log.write_line(traceback.format_exc().rstrip())
            sentence = redact(_sentence(error))
            log.write_line(f"{FAILED} {time.monotonic() - start:.1f} s\n{sentence}")
            err.write(f"{sentence}\n(traceback in {path})\n")
            raise SystemExit(1) from error
        except BaseException as leaving:
            log.write_line(f"{ENDED} by {type(leaving).__name__} {leaving}")
            raise
        finally:
            logging.getLogger().removeHandler(handler)
            logging.captureWarnings(False)
        used = sorted(name for name in sys.modules if name == "geoprobe" or name.startswith("geoprobe."))
        log.write_line(f"modules: {' '.join(used)}\n{FINISHED} {time.monotonic() - start:.1f} s")


def _sentence(error):
    """An error in one line, and what led to it where a library hides a full disk or memory behind its own error."""
    told, before = f"{type(error).__name__}: {error}", error
    while (before := before.__cause__ or before.__context__) is not None:
        full = isinstance(before, OSError) and before.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
        # a library that is there and cannot be loaded; one that is missing is a matter of course to many others
        unloaded = isinstance(before, ImportError) and not isinstance(before, ModuleNotFoundError)
        if full or unloaded or isinstance(before, MemoryError):
            told += f" (after {type(before).__name__}: {before})"
            break
    return " ".join(told.split())


def use_checkout(root):
    """Let the jobs that this process starts import the package from the checkout in `root`, before any other."""
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def timestamp():
    """The time now, UTC, ISO 8601 to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def provenance():
    """What made a file: time, geoprobe's version, and the versions of the libraries that the job has loaded."""
    libraries = {DISTRIBUTIONS.get(name, name) for name in LIBRARIES if name in sys.modules}
    versions = {name: version(name) for name in sorted(libraries)}
    return {
        "created": timestamp(),
        "geoprobe": geoprobe.__version__,
        "python": platform.python_version(),
        "versions": json.dumps(versions),
    }


@contextlib.contextmanager
def replacing(path):
    """A path beside `path` to write to; renamed to it at the end, removed on an error.

    No other process has it, on no other machine that sees the folder: a cluster may run a job twice.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_beside(path):
    """A folder beside `path`, where there is room for what goes there; no other process has it. Removed at the end."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.scratch.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write_table(frame, path):
    """Write a frame as Parquet or CSV (by the suffix) in one step, with provenance in the Parquet's metadata."""
    with replacing(path) as temporary:
        if Path(path).suffix == ".parquet":
            frame = frame.copy(deep=False)
            frame.attrs = {**frame.attrs, **provenance()}
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def write_json(content, path):
    """Write a mapping as JSON in one step, with provenance and without secrets."""
    with replacing(path) as temporary:
        text = json.dumps({**redact_values(content), "provenance": provenance()}, indent=2, sort_keys=True)
        temporary.write_text(f"{text}\n", encoding="utf-8")


def peak_mb():
    """Largest resident memory of this process so far in MB."""
    status = Path("/proc/self/status")
    if not status.is_file():  # macOS, which counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # Linux's own ru_maxrss starts from that of the process which started this one
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

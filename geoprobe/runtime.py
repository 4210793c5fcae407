"""What every job does alike: its log, its provenance, and outputs that are whole or absent."""

import contextlib
import fcntl
import json
import logging
import os
import platform
import resource
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path

import geoprobe
from geoprobe.secrets import redact, redact_values

LIBRARIES = (
    "numpy", "pandas", "h5py", "sklearn", "torch", "torchvision", "timm", "open_clip", "transformers", "accelerate",
    "safetensors", "matplotlib", "PIL", "duckdb", "geopandas", "shapely", "aiohttp", "imagehash", "huggingface_hub",
    "h3",
)  # fmt: skip
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "open_clip": "open_clip_torch"}


class _Log:
    """A log file that takes no secrets in."""

    def __init__(self, file):
        self.file = file

    def write(self, text):
        self.file.write(redact(text))
        return len(text)

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


@contextlib.contextmanager
def rule_log(path):
    """Copy all that a job prints, logs and warns into its log, and end it with the error in one line.

    Snakemake leaves `log:` to the script. The traceback goes to the log only: the terminal gets the sentence
    and the log's path. A job that fails leaves with exit status 1. Secrets are taken out of all of it. One process at
    a time does the job of a log.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the log itself, which Snakemake removes before a job
    locked = alone(path.with_name(f".{path.name}.lock"))
    with locked as warning, open(path, "w", encoding="utf-8", buffering=1) as file:
        start = time.monotonic()
        log, out, err = _Log(file), sys.stdout, sys.stderr
        handler = logging.StreamHandler(log)
        logging.captureWarnings(True)
        logging.getLogger().addHandler(handler)
        place = f"{platform.platform()}, Python {platform.python_version()}{_place()}"
        log.write(f"started {timestamp()} on {place}\n{warning}")
        try:
            with contextlib.redirect_stdout(_Tee(out, log)), contextlib.redirect_stderr(_Tee(err, log)):
                yield
        except Exception as error:
            log.write(traceback.format_exc())
            sentence = redact(f"{type(error).__name__}: {' '.join(str(error).split())}")
            log.write(f"failed after {time.monotonic() - start:.1f} s\n{sentence}\n")
            err.write(f"{sentence}\n(traceback in {path})\n")
            raise SystemExit(1) from error
        finally:
            logging.getLogger().removeHandler(handler)
            logging.captureWarnings(False)
        used = sorted(name for name in sys.modules if name == "geoprobe" or name.startswith("geoprobe."))
        log.write(f"modules: {' '.join(used)}\nfinished after {time.monotonic() - start:.1f} s\n")


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

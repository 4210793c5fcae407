"""Faults that are injected into runs of the tiny configuration.

Each function lets a stage be made, lets something go wrong in it, and sees that what is said of it names the place. It
returns what was seen of the fault, or None where it came too late to matter. What a user does then is to start again.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.comparison import differs

STEP = 0.02  # seconds between two looks at the processes
PATIENCE = 600  # seconds
# `--unlock` and a second driver begin with reading the workflow, as every start does
REFUSED = "LockException"
IMPORTS = 2  # seconds that a job takes before its log begins


class Undone(AssertionError):
    """A run did not end, or did not speak, as it should."""


class Pipeline:
    """What is known of the stages from an undisturbed run of a folder's targets.

    Attributes:
        results: folder of its results.
        targets: what it made.
        times: rule to the longest time that a job of it took, in seconds.
        products: rule to what it makes, relative to the folder; in the order of the pipeline.
        readers: what is made to the rules that read it.
    """

    def __init__(self, folder, targets):
        self.results, self.targets = Path(folder, "results"), targets
        self.times = job_times(self.results / "logs")
        lines = Run(folder, self).call("--detailed-summary").splitlines()
        rows = [line.split("\t") for line in lines if line.count("\t") >= 6][1:]
        makers, self.readers = {path: rule for path, _, rule, *_ in rows}, {path: set() for path, *_ in rows}
        needs = {rule: set() for rule in makers.values()}
        for _, _, rule, _, inputs, *_ in rows:
            for path in filter(makers.get, inputs.split(",")):
                self.readers[path].add(rule)
                needs[rule].add(makers[path])
        self.products = {}
        while left := [rule for rule in needs if rule not in self.products]:
            ready = sorted(rule for rule in left if needs[rule] <= self.products.keys())
            self.products |= {rule: [path for path in makers if makers[path] == rule] for rule in ready}


class Run:
    """A copy of the project, and drivers in it on the tiny configuration, one at a time."""

    def __init__(self, folder, pipeline):
        self.folder, self.pipeline = Path(folder), pipeline

    def command(self, *arguments):
        options = ("--configfile", "tests/workflow/tiny.yaml", "--cores", "2")
        return [sys.executable, "-m", "snakemake", *options, *map(str, arguments), "--", *self.pipeline.targets]

    def call(self, *arguments):
        """What a short command of Snakemake prints; raises CalledProcessError where it fails."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=environment(), check=True, text=True, capture_output=True
        )
        return done.stdout

    def start(self, *arguments):
        """A driver in a process group of its own, its words in driver.log; a lock that a killed one left is removed."""
        # as `--unlock` does, which first reads the workflow
        shutil.rmtree(self.folder / ".snakemake/locks", ignore_errors=True)
        (self.folder / "began").touch()
        with open(self.folder / "driver.log", "w") as log:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def words(self):
        return (self.folder / "driver.log").read_text()

    def make(self, *arguments):
        """Status of a driver that is waited for."""
        return self.start(*arguments).wait(PATIENCE)

    def go_on(self):
        """Start again as a user would; raises :class:`Undone` where that does not end well."""
        if self.make():
            raise Undone(f"the run that was to go on failed:\n{self.words()[-3000:]}")

    def begin(self, rule, delay):
        """Make a stage anew; its driver and the process of its first job, some seconds after that began."""
        driver = self.start("--forcerun", rule, "--until", rule)
        deadline = time.monotonic() + PATIENCE
        while not (found := [number for name, number in self.jobs() if name == rule]):
            if driver.poll() is not None or time.monotonic() > deadline:
                raise Undone(f"no job of {rule} was started:\n{self.words()[-3000:]}")
            time.sleep(STEP)
        time.sleep(delay)
        return driver, found[0]

    def jobs(self):
        """Rules and process numbers of the scripts that run in the folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if Path(os.readlink(entry / "cwd")) != self.folder:
                    continue
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:  # ended meanwhile
                continue
            for argument in arguments:
                if script := re.search(r"/\.snakemake/scripts/[^/]*\.([a-z_]+)\.py$", argument):
                    found.append((script[1], int(entry.name)))
        return found

    def moment(self, rule, random):
        """Seconds after a job's start, evenly over the time that its kind takes, importing included."""
        return random.uniform(0, self.pipeline.times.get(rule, 1) + IMPORTS)

    def products(self, *rules):
        """What stages have left, relative to the folder."""
        made = [path for rule in rules for path in self.pipeline.products[rule]]
        return sorted(path for path in made if (self.folder / path).is_file())

    def failed_logs(self, rule="*"):
        """Last lines of the logs of the last driver's jobs that did not finish, by path as Snakemake names it."""
        began, found = (self.folder / "began").stat().st_mtime, {}
        for log in [*self.folder.glob(f"results/logs/{rule}.log"), *self.folder.glob(f"results/logs/{rule}/**/*.log")]:
            lines = log.read_text().splitlines()
            if log.stat().st_mtime >= began and not (lines and lines[-1].startswith("finished")):
                found[str(log.relative_to(self.folder))] = "\n".join(lines[-2:])
        return found

    def check_told(self, rule, pattern):
        """See that the driver names the log of each failed job of a rule, and that the log's last lines say why.

        Returns:
            Whether there is any.

        Raises:
            Undone: it does not.
        """
        logs = self.failed_logs(rule)
        if any(log not in self.words() for log in logs):
            raise Undone(f"the driver does not name the failed job's log {logs}:\n{self.words()[-3000:]}")
        for log, last in logs.items():
            if not re.search(pattern, last):
                raise Undone(f"{log} does not say what went wrong; its last lines:\n{last}")
        return bool(logs)


def environment():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def job_times(logs):
    """Rule to the longest time that a job took, by the logs of a run, in seconds."""
    times = {}
    for log in Path(logs).rglob("*.log"):
        rule = log.relative_to(logs).parts[0].removesuffix(".log")
        if found := re.search(r"finished after ([\d.]+) s", log.read_text()):
            times[rule] = max(times.get(rule, 0), float(found.group(1)))
    return times


def starve(number):
    """Leave a process no more memory than it has, by a limit of its address space."""
    pages = int(Path(f"/proc/{number}/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (1 << 16)
    resource.prlimit(number, resource.RLIMIT_AS, (most, most))


# What is done to a job's process, and what the last lines of its log must say of it. A library that is refused memory
# may end its process itself.
JOB_KINDS = {
    "job killed": (lambda number: os.kill(number, signal.SIGKILL), "(^|\n)ended "),
    "job cancelled": (lambda number: os.kill(number, signal.SIGTERM), "(^|\n)ended "),
    "no memory left": (
        starve,
        r"[Mm]emory|[Aa]lloc|start new thread|launch worker thread|(^|\n)ended |failed to map|shared object",
    ),
}


def hit_jobs(run, kinds, random, end, *arguments):
    """Make all, and hit the first job of each stage at a random moment, whatever else goes on.

    Args:
        run: a :class:`Run`.
        kinds: stage to kind, of JOB_KINDS.
        random: generator of the moments.
        end: when to stop, by the monotonic clock.
        arguments: more of Snakemake's.

    Returns:
        Stage to what was seen: None where the fault came too late, and an :class:`Undone` where it is not told of.
        Only stages of which a job was there.
    """
    driver, due, hit = run.start("--keep-going", *arguments), {}, {}
    while driver.poll() is None:
        time.sleep(STEP)
        now = time.monotonic()
        for stage, number in run.jobs():
            if stage in kinds and stage not in due:
                due[stage] = (number, now, now + run.moment(stage, random))
        for stage, (number, began, moment) in due.items():
            if stage not in hit and now >= moment:
                try:
                    JOB_KINDS[kinds[stage]][0](number)
                    hit[stage] = f"{kinds[stage]} after {now - began:.1f} s"
                except (ProcessLookupError, FileNotFoundError, PermissionError):  # it has ended
                    hit[stage] = None
        if now > end:
            driver.terminate()  # it waits for its jobs
            end = float("inf")
    for stage in due:
        if hit.setdefault(stage) is not None:
            try:
                hit[stage] = hit[stage] if run.check_told(stage, JOB_KINDS[kinds[stage]][1]) else None
            except Undone as error:
                hit[stage] = error
    return hit


def kill_driver(run, rule, random):
    """SIGKILL of the driver alone; the next one starts while the job still runs. Too late where none runs any more."""
    delay = run.moment(rule, random) / 2
    driver, _ = run.begin(rule, delay)
    late = not run.jobs()
    driver.kill()
    driver.wait()
    return None if late else f"driver killed {delay:.1f} s into the job, {len(run.jobs())} of its jobs still running"


def kill_all(run, rule, random):
    """SIGKILL of the driver and all its jobs, as of a machine that loses power. Too late where none runs any more."""
    delay = run.moment(rule, random)
    driver, _ = run.begin(rule, delay)
    late = not run.jobs()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    for _, number in run.jobs():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(number, signal.SIGKILL)
    driver.wait()
    return None if late else f"all killed {delay:.1f} s into the job"


def start_two(run, rule, random):
    """A second driver in the same folder while the first one works: it is refused."""
    driver, number = run.begin(rule, random.uniform(0, 1))
    # the first one must not be through before the second has read the workflow
    try:
        os.kill(number, signal.SIGSTOP)
    except ProcessLookupError:  # it is
        driver.wait(PATIENCE)
        return None
    try:
        second = subprocess.run(
            run.command("--until", rule), cwd=run.folder, env=environment(), capture_output=True, text=True
        )
    finally:
        os.kill(number, signal.SIGCONT)
    if second.returncode == 0 or REFUSED not in second.stdout + second.stderr:
        raise Undone(f"a second driver was let in:\n{second.stdout[-2000:]}{second.stderr[-2000:]}")
    if driver.wait(PATIENCE):
        raise Undone(f"the first driver failed:\n{run.words()[-3000:]}")
    return "the second driver was refused, the first one ended well"


def fill_disk(run, rule, random):
    """A disk with a little room left, and then more of it. It needs root, for a file system in memory."""
    results, moved = run.folder / "results", run.folder / "moved"
    results.mkdir(exist_ok=True)
    results.rename(moved)
    results.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(results)], check=True)
        shutil.copytree(moved, results, dirs_exist_ok=True, symlinks=True)
        taken = os.statvfs(results)
        used = (taken.f_blocks - taken.f_bfree) * taken.f_frsize // 1024
        made = [run.pipeline.results.parent / path for path in run.pipeline.products[rule]]
        room = random.randrange(sum(path.stat().st_size for path in made) // 1024 + 4)
        subprocess.run(["mount", "-o", f"remount,size={used + room}k", str(results)], check=True)
        status = run.make("--forcerun", rule, "--until", rule)
        subprocess.run(["mount", "-o", "remount,size=1g", str(results)], check=True)
        told = r"No space left|not enough space|[Ee]rrno = 28|needs .* of disk|disk is full"
        if status and not re.search(told, "".join([run.words(), *run.failed_logs().values()])):
            raise Undone(f"nothing says that the disk is full: {run.failed_logs()}\n{run.words()[-3000:]}")
    finally:
        # whatever was seen: Snakemake's records are of these files
        shutil.rmtree(moved)
        shutil.copytree(results, moved, symlinks=True)
        subprocess.run(["umount", "--lazy", str(results)], check=True)
        results.rmdir()
        moved.rename(results)
    return f"{room} kB were left" if status else None


def cut_output(run, rule, random):
    """An output of a stage is cut off at a random length: the first stage that reads it refuses it by its name."""
    if run.make("--until", rule):
        raise Undone(f"{rule} could not be made:\n{run.words()[-3000:]}")
    name = random.choice(run.products(rule))
    readers = [other for other in run.pipeline.products if other in run.pipeline.readers[name]][:1]
    size = (run.folder / name).stat().st_size
    kept = random.randrange(0, max(1, size - 1))
    os.truncate(run.folder / name, kept)
    seen = f"{name} cut off at {kept} of {size} bytes"
    status = run.make("--keep-going", "--until", *readers) if readers else 0
    last = run.failed_logs()
    if status and not any(name in lines for lines in last.values()):
        raise Undone(f"{seen}, and no log names it: {last}\n{run.words()[-3000:]}")
    taken = [path for path in run.products(*readers) if differs(run.pipeline.results.parent / path, run.folder / path)]
    if taken:
        raise Undone(f"{seen} was taken for a whole file: {', '.join(taken)} differ")
    (run.folder / name).unlink()
    return f"{seen}, {'refused' if status else 'read by nobody'} ({', '.join(readers)})"


RUN_KINDS = {
    "driver killed, its job goes on": kill_driver,
    "all killed at once": kill_all,
    "two drivers": start_two,
    "disk full": fill_disk,
    "output cut off": cut_output,
}

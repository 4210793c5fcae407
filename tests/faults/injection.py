"""Faults that are injected into runs of the tiny configuration, and how a run goes on after each.

Each function takes a copy of a whole run, forces a stage to be made anew, lets something go wrong in it, and then does
what a user would do: start again. It returns what was seen of the fault, or None where it came too late to matter.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

TARGETS = ("all", "analyses")
STEP = 0.005  # seconds between two looks at the processes
PATIENCE = 300  # seconds


class Undone(AssertionError):
    """A run did not end as it should."""


def command(*arguments):
    """Snakemake on the tiny configuration, one job at a time."""
    return [
        *(sys.executable, "-m", "snakemake", "--configfile", "tests/workflow/tiny.yaml", "--cores", "2"),
        *map(str, arguments or TARGETS),
    ]


def environment():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def start(folder, *arguments):
    """A driver in a process group of its own, its words in driver.log."""
    with open(folder / "driver.log", "w") as log:
        return subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(folder, *arguments):
    """Status of a whole run and its words."""
    status = start(folder, *arguments).wait(PATIENCE)
    return status, (folder / "driver.log").read_text()


def go_on(folder):
    """Start again as a user would; raises :class:`Undone` where that does not end well."""
    status, words = run(folder)
    if status and "LockException" in words:
        subprocess.run(command("--unlock"), cwd=folder, env=environment(), check=True, capture_output=True)
        status, words = run(folder)
    if status:
        raise Undone(f"the second run failed:\n{words[-3000:]}")
    return words


def jobs_of(folder, rule=None):
    """Process numbers of scripts that run in a folder, of one rule or of all."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if Path(os.readlink(entry / "cwd")) != folder:
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # ended meanwhile
            continue
        if any(re.search(rf"/\.snakemake/scripts/.*\.{rule or '[a-z_]+'}\.py$", word) for word in words):
            found.append(int(entry.name))
    return found


def first_job(folder, rule, driver):
    """The first process of a rule, as soon as it is there."""
    deadline = time.monotonic() + PATIENCE
    while not (found := jobs_of(folder, rule)):
        if driver.poll() is not None or time.monotonic() > deadline:
            raise Undone(f"no job of {rule} was started:\n{(folder / 'driver.log').read_text()[-3000:]}")
        time.sleep(STEP)
    return found[0]


def moment(folder, rule, random):
    """Seconds after a job's start, evenly over the time that its kind takes, importing included."""
    logs = [*folder.glob(f"results/logs/{rule}.log"), *folder.glob(f"results/logs/{rule}/**/*.log")]
    took = [
        float(found.group(1)) for log in logs if (found := re.search(r"finished after ([\d.]+) s", log.read_text()))
    ]
    return random.uniform(0, max(took, default=1) + 2)


def check_failed(folder, driver, rule):
    """Whether the driver ends with an error; raises :class:`Undone` where it does not name the job's log."""
    if driver.wait(PATIENCE) == 0:
        return False
    words = (folder / "driver.log").read_text()
    if f"rule {rule}" not in words or f"results/logs/{rule}" not in words:
        raise Undone(f"the driver does not name the failed job's log:\n{words[-3000:]}")
    return True


def begin(folder, rule, delay):
    """Force a stage to be made anew; its driver and the process of its first job, some seconds after that began."""
    driver = start(folder, "--forcerun", rule, "--", *TARGETS)
    number = first_job(folder, rule, driver)
    time.sleep(delay)
    return driver, number


def hit_job(folder, rule, random, hit, words):
    """Do something to a job's process at a random moment, and see that the run ends with an error that tells where."""
    delay = moment(folder, rule, random)
    driver, number = begin(folder, rule, delay)
    try:
        hit(number)
    except (ProcessLookupError, FileNotFoundError, PermissionError):  # it has ended
        driver.wait(PATIENCE)
        return None
    return f"{words} after {delay:.1f} s" if check_failed(folder, driver, rule) else None


def kill_job(folder, rule, random):
    """SIGKILL of a job, as of a machine that is lost or out of memory."""
    return hit_job(folder, rule, random, lambda number: os.kill(number, signal.SIGKILL), "killed")


def kill_driver(folder, rule, random):
    """SIGKILL of the driver alone; the next one starts while the job still runs."""
    delay = moment(folder, rule, random) / 2
    driver, _ = begin(folder, rule, delay)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    return f"driver killed {delay:.1f} s into the job, {len(jobs_of(folder))} of its jobs still running"


def kill_all(folder, rule, random):
    """SIGKILL of the driver and all its jobs, as of a machine that loses power."""
    delay = moment(folder, rule, random)
    driver, _ = begin(folder, rule, delay)
    os.killpg(driver.pid, signal.SIGKILL)
    for number in jobs_of(folder):
        os.kill(number, signal.SIGKILL)
    driver.wait()
    return f"all killed {delay:.1f} s into the job"


def start_two(folder, rule, random):
    """A second driver in the same folder while the first one works: it is refused."""
    driver, _ = begin(folder, rule, random.uniform(0, 1))
    second = subprocess.run(command(), cwd=folder, env=environment(), capture_output=True, text=True)
    if second.returncode == 0 or "LockException" not in second.stdout + second.stderr:
        raise Undone(f"a second driver was let in:\n{second.stdout[-2000:]}{second.stderr[-2000:]}")
    if driver.wait(PATIENCE):
        raise Undone(f"the first driver failed:\n{(folder / 'driver.log').read_text()[-3000:]}")
    return "the second driver was refused, the first one ended well"


def starve(folder, rule, random):
    """No more memory for a job from some moment on, by a limit of its address space."""

    def limit(number):
        pages = int(Path(f"/proc/{number}/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (1 << 16)
        resource.prlimit(number, resource.RLIMIT_AS, (most, most))

    return hit_job(folder, rule, random, limit, "no memory left")


def fill_disk(folder, rule, random):
    """A disk with a little room left, and then more of it. It needs root, for a file system in memory."""
    results, moved = folder / "results", folder / "moved"
    results.rename(moved)
    results.mkdir()
    used = int(subprocess.run(["du", "-sk", str(moved)], check=True, capture_output=True, text=True).stdout.split()[0])
    room = used + random.randrange(8, max(64, used // 50))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(results)], check=True)
    try:
        shutil.copytree(moved, results, dirs_exist_ok=True, symlinks=True)
        taken = os.statvfs(results)
        full = (taken.f_blocks - taken.f_bfree) * taken.f_frsize // 1024
        subprocess.run(["mount", "-o", f"remount,size={full + room - used}k", str(results)], check=True)
        status, words = run(folder, "--forcerun", rule, "--", *TARGETS)
        subprocess.run(["mount", "-o", "remount,size=1g", str(results)], check=True)
        if status and not re.search(r"No space left|Unable to|not enough space|errno = 28", words + last_lines(folder)):
            raise Undone(f"nothing says that the disk is full:\n{words[-3000:]}\n{last_lines(folder)}")
        go_on(folder)
        shutil.rmtree(moved)
        shutil.copytree(results, moved, symlinks=True)
    finally:
        subprocess.run(["umount", "--lazy", str(results)], check=True)
        results.rmdir()
        moved.rename(results)
    return f"{room - used} kB were left" if status else None


def truncate(folder, rule, random):
    """An output of a stage is cut off at a random length: who reads it says so, and the file's name."""
    outputs = outputs_of(folder, rule)
    path = random.choice(sorted(outputs))
    size = path.stat().st_size
    kept = random.randrange(0, max(1, size - 1))
    os.truncate(path, kept)
    status, words = run(folder)
    where = str(path.relative_to(folder))
    if status and where not in words + last_lines(folder):
        raise Undone(f"{where} was cut off, and nothing names it:\n{words[-3000:]}\n{last_lines(folder)}")
    path.unlink()
    return f"{where} cut off at {kept} of {size} bytes, {'refused' if status else 'nothing reads it'}"


def outputs_of(folder, rule):
    """Files that a stage leaves under results/, by Snakemake's own record."""
    summary = subprocess.run(
        command("--summary", "--", *TARGETS), cwd=folder, env=environment(), capture_output=True, text=True
    ).stdout
    rows = [line.split("\t") for line in summary.splitlines() if line.count("\t") >= 5]
    return [folder / row[0] for row in rows[1:] if row[2] == rule and (folder / row[0]).is_file()]


def last_lines(folder, count=4):
    """Last lines of the logs that say that their job failed."""
    logs = [log.read_text() for log in folder.glob("results/logs/**/*.log")]
    return "\n".join("\n".join(text.splitlines()[-count:]) for text in logs if "\nfailed after" in text)


KINDS = {
    "job killed": kill_job,
    "driver killed, its job goes on": kill_driver,
    "all killed at once": kill_all,
    "two drivers": start_two,
    "no memory left": starve,
    "disk full": fill_disk,
    "output cut off": truncate,
}

"""A real SLURM on this machine, for as long as the tests or a trial need it: two nodes, one of them with two GPUs.

    python tests/slurm/local_cluster.py start FOLDER    # then: export SLURM_CONF=FOLDER/slurm.conf
    python tests/slurm/local_cluster.py stop FOLDER

Needs root, and Debian's packages slurm-wlm and munge. The GPUs are copies of /dev/null: SLURM hands them out, and
sets CUDA_VISIBLE_DEVICES, without asking what they are. Everything lies in FOLDER but a link from where SLURM looks
when SLURM_CONF is not set, as Snakemake's executor plugin drops that variable inside jobs.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
PACKAGES = "apt-get install --no-install-recommends slurm-wlm munge"
SYSTEM = Path("/etc/slurm/slurm.conf")
GPUS = 2

# No cgroups and no accounting: neither is at hand in a container. A job over its memory is killed by SLURM itself.
CONFIGURATION = """\
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
DefMemPerCPU=500
KillWait=2
JobRequeue=0
MinJobAge=3600
ReturnToService=2
SlurmdTimeout={timeout}
GresTypes=gpu
NodeName=plain NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=64000
NodeName=fast NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=64000 Gres=gpu:{gpus}
PartitionName=main Nodes=plain,fast Default=YES MaxTime=7-00:00:00
PartitionName=gpus Nodes=fast MaxTime=7-00:00:00
"""


def why_not():
    """Why no SLURM can be started on this machine, with the fix, or ""."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a SLURM of its own is started by root on Linux only"
    missing = [name for name in PROGRAMS if find(name) is None]
    if missing:
        return f"{missing[0]} is not installed: {PACKAGES}"
    if SYSTEM.exists():
        return f"{SYSTEM} exists: another SLURM is set up on this machine"
    return ""


def find(program):
    """Path of a program; daemons lie where not every PATH looks."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_ports(count):
    """Ports of this machine that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """A SLURM whose files lie in a folder, and whose daemons are known by the process numbers recorded there."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.conf = self.folder / "slurm.conf"
        self.pids = self.folder / "pids.json"
        self.children, self.nodes = [], {}

    def environment(self):
        """Environment variables in which SLURM's commands speak to this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def command(self, *arguments):
        """What a command of SLURM prints; raises CalledProcessError where it fails."""
        done = subprocess.run(
            arguments, env=self.environment(), check=True, text=True, stdout=subprocess.PIPE, timeout=60
        )
        return done.stdout

    def jobs(self):
        """All jobs that the cluster remembers: a dict of what scontrol says of each, in the order of submission."""
        lines = self.command("scontrol", "show", "job", "--oneliner").splitlines()
        found = [dict(part.split("=", 1) for part in line.split(" ") if "=" in part) for line in lines]
        return sorted((job for job in found if "JobId" in job), key=lambda job: int(job["JobId"]))

    def start(self, timeout=300):
        """Write the configuration, start the daemons, and wait until both nodes take jobs.

        `timeout` is how many seconds a node may be silent before it counts as lost.
        """
        if reason := why_not():
            raise RuntimeError(reason)
        self.write(timeout)
        SYSTEM.parent.mkdir(exist_ok=True)
        SYSTEM.unlink(missing_ok=True)  # a link that a killed run has left, as nothing is behind it
        SYSTEM.symlink_to(self.conf)
        try:
            self.launch_all()
        except BaseException:
            self.stop()
            raise

    def launch_all(self):
        """Start the daemons one after the other, as each needs the one before."""
        munge = self.folder / "munge"
        places = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{name}={munge / file}" for name, file in places.items()]
        self.launch("munged", "--foreground", *options)
        self.wait_for("munged", lambda: (munge / "socket").exists())
        self.launch("slurmctld", "-D", "-f", str(self.conf))
        for node in ("plain", "fast"):
            (self.folder / f"spool.{node}").mkdir(exist_ok=True)
            self.launch_node(node)
        self.wait_for_nodes()

    def launch_node(self, node):
        """Start the daemon of a node."""
        self.nodes[node] = self.launch("slurmd", "-D", "-f", str(self.conf), "-N", node)

    def wait_for_nodes(self):
        """Wait until both nodes take jobs."""
        self.wait_for("nodes", lambda: self.command("sinfo", "-h", "-N", "-p", "main", "-t", "idle").count("\n") == 2)

    def lose_node(self, node):
        """End a node as a loss of power does: its daemon and all that runs there, by force; SLURM learns of it."""
        numbers = {job["JobId"] for job in self.jobs() if job["JobState"] == "RUNNING" and job["NodeList"] == node}
        self.forget(self.nodes[node])
        self.nodes[node].kill()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                step = re.match(r"slurmstepd: \[(\d+)\.", (entry / "cmdline").read_text())
                job = re.search(r"\0SLURM_JOB_ID=(\d+)\0", (entry / "environ").read_text())
                if any(found and found[1] in numbers for found in (step, job)):
                    os.kill(int(entry.name), signal.SIGKILL)
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def bring_back_node(self, node):
        """Start a lost node again."""
        self.launch_node(node)
        self.command("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self.wait_for_nodes()

    def write(self, timeout):
        """Write the configuration, the key and the devices."""
        munge = self.folder / "munge"
        munge.mkdir(parents=True)
        (self.folder / "state").mkdir()
        for folder in (self.folder, munge):
            folder.chmod(0o755)  # munged refuses a folder that not everyone may enter, or that others may write to
        (munge / "key").write_bytes(secrets.token_bytes(256))
        (munge / "key").chmod(0o400)
        host = socket.gethostname().split(".")[0]
        values = {"host": host, "folder": self.folder, "ports": free_ports(3), "gpus": GPUS, "timeout": timeout}
        self.conf.write_text(CONFIGURATION.format(**values))
        devices = [self.folder / f"gpu{number}" for number in range(GPUS)]
        for device in devices:
            os.mknod(device, 0o020666, os.makedev(1, 3))  # slurmd takes devices only, no plain files
        lines = [f"NodeName=fast Name=gpu File={device}\n" for device in devices]
        (self.folder / "gres.conf").write_text("".join(lines))

    def launch(self, name, *arguments):
        """Start a daemon in a session of its own and record its process number."""
        with open(self.folder / f"{name}.out", "a") as output:
            daemon = subprocess.Popen(
                [find(name), *arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.children.append(daemon)
        self.pids.write_text(json.dumps([*self.recorded(), [name, daemon.pid]]))
        return daemon

    def forget(self, daemon):
        """No longer record a daemon that is about to end."""
        self.pids.write_text(json.dumps([entry for entry in self.recorded() if entry[1] != daemon.pid]))

    def recorded(self):
        """Name and process number of each daemon that was started, in that order."""
        return json.loads(self.pids.read_text()) if self.pids.exists() else []

    def wait_for(self, what, true, seconds=60):
        """Wait until something holds; a command that fails means not yet, a daemon that ended never."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and all(is_alive(*daemon) for daemon in self.recorded()):
            with contextlib.suppress(subprocess.CalledProcessError):
                if true():
                    return
            time.sleep(0.2)
        raise RuntimeError(f"{what}: not there within {seconds} s; look into {self.folder}/*.log and *.out")

    def stop(self):
        """Cancel what still runs, and end the daemons by their recorded process numbers."""
        if any(is_alive(name, pid) for name, pid in self.recorded() if name == "slurmctld"):
            with contextlib.suppress(subprocess.CalledProcessError, RuntimeError):
                self.command("scancel", "--user=root")
                self.wait_for("the end of jobs", lambda: not self.command("squeue", "-h"), seconds=20)
        for name, pid in reversed(self.recorded()):
            end(name, pid)
        for daemon in self.children:
            daemon.wait()
        self.pids.unlink(missing_ok=True)
        if SYSTEM.is_symlink() and SYSTEM.readlink() == self.conf:
            SYSTEM.unlink()


def is_alive(name, pid):
    """Whether a process of that number and name runs; numbers are given out again."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return f"({name})" in state and state.rpartition(")")[2].split()[0] != "Z"


def end(name, pid, seconds=15):
    """End a process, by force where it does not follow."""
    for number, wait in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5)):
        if not is_alive(name, pid):
            return
        os.kill(pid, number)
        stop = time.monotonic() + wait
        while is_alive(name, pid) and time.monotonic() < stop:
            time.sleep(0.1)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit("usage: local_cluster.py start|stop FOLDER")
    cluster = Cluster(sys.argv[2])
    if sys.argv[1] == "stop":
        cluster.stop()
    elif reason := why_not():
        sys.exit(reason)
    else:
        cluster.start()
        print(f"export SLURM_CONF={cluster.conf}")

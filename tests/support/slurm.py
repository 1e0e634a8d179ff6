"""The environment of a Slurm job, and a real Slurm of one node on loopback."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.slurm_accounts import NO_ACCOUNTS, SETTINGS, running_database, start_accounts

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "fold", "SLURM_NODELIST": "n1", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
DAEMONS = ("slurmctld", "slurmd", "munged")
KEEPS_ACCOUNTS = "slurmdbd"
#: Every step of a test waits at most this long; an idle machine needs seconds, a busy one minutes.
PATIENCE_S = 900
#: The node claims more processors than the machine has, so that jobs of a test need not wait for each other.
CPUS = 8
#: A requeued job waits for as long as ``cred_expire`` says, if not told otherwise two minutes.
CONFIGURATION = """\
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=0
KillWait=30
JobAcctGatherType=jobacct_gather/none
{accounts}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=9 MaxTime=INFINITE State=UP
"""


def slurm(monkeypatch: pytest.MonkeyPatch, tasks: int, task: int = 0, per_node: bool = True) -> None:
    """The environment that Slurm gives to task ``task`` of ``tasks``."""
    for name, value in (
        JOB | {"SLURM_NTASKS": str(tasks), "SLURM_PROCID": str(task), "SLURM_STEP_NUM_TASKS": str(tasks)}
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    if per_node:
        monkeypatch.setenv("SLURM_NTASKS_PER_NODE", str(tasks))


@dataclass(frozen=True)
class Slurm:
    """A running Slurm; commands find it by ``environment``."""

    environment: dict[str, str]

    def call(self, *command: object) -> str:
        """What one command of Slurm prints."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def submit(
        self,
        folder: Path,
        log: Path,
        *command: object,
        options: tuple[str, ...] = (),
        launch: tuple[str, ...] = ("srun", "-u"),
    ) -> str:
        """Start a command as a job in ``folder``, through what ``launch`` names, and return the job's id."""
        script = log.with_suffix(".sh")
        script.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in (*launch, *command)) + "\n")
        where = (f"--chdir={folder}", f"--output={log}", "--open-mode=append", "--requeue", *options)
        return self.call("sbatch", "--parsable", *where, script).strip()

    def state(self, job: str) -> str:
        """The state of a job, as Slurm names it."""
        shown = self.call("scontrol", "show", "job", "-o", job)
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)["JobState"]

    def lose_node(self) -> None:
        """Take the node down, as Slurm does with one that fails, and back up once all its processes have ended."""
        host = socket.gethostname().partition(".")[0]
        self.call("scontrol", "update", f"NodeName={host}", "State=DOWN", "Reason=test")
        self.wait_until(lambda: not self._has_processes(), Path(self.environment["SLURM_CONF"]))
        self.call("scontrol", "update", f"NodeName={host}", "State=RESUME")

    def _has_processes(self) -> bool:
        listed = subprocess.run(["scontrol", "listpids"], env=self.environment, capture_output=True, check=False)
        return len(listed.stdout.splitlines()) > 1  # a heading is always there

    def wait_until(self, what: Callable[[], bool], log: Path) -> None:
        """Wait until something is the case; fails with the log of the job where it never is."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < deadline, log.read_text() if log.exists() else f"{log} was never written"
            time.sleep(0.2)

    def wait_for_end(self, job: str, log: Path) -> str:
        """Wait for the end of a job and return its last state."""
        self.wait_until(lambda: self.state(job) not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"), log)
        return self.state(job)


@contextmanager
def running_slurm(folder: Path, accounts: bool = False) -> Iterator[Slurm]:
    """Slurm with munge and all its files in ``folder``, ended with the block; on demand it keeps accounts.

    Skips the test where Slurm or munge is not installed, and where the tests are not run by root.
    """
    if missing := [name for name in (*DAEMONS, "sbatch") if not shutil.which(name)]:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("a Slurm of our own can be started by root only")
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    running = Slurm({name: value for name, value in environment.items() if not name.startswith("SBATCH_")})
    with ExitStack() as ending:
        if accounts:
            ending.enter_context(running_database(folder))
        for name in ("munged", KEEPS_ACCOUNTS, "slurmd", "slurmctld"):  # ended in the opposite order
            ending.callback(_stop, folder / f"{name}.pid")
        _start(folder, running.environment, accounts)
        running.wait_until(lambda: running.call("sinfo", "-h", "-o", "%t").strip() == "idle", folder / "slurmctld.log")
        yield running


def _start(folder: Path, environment: dict[str, str], accounts: bool) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    *ports, port = _free_ports(3)
    kept = SETTINGS.format(port=port, folder=folder) if accounts else NO_ACCOUNTS
    text = CONFIGURATION.format(folder=folder, host=host, ports=ports, cpus=CPUS, accounts=kept)
    (folder / "slurm.conf").write_text(text)
    munge = (f"--socket={folder}/munge.socket", f"--key-file={key}", f"--pid-file={folder}/munged.pid")
    munge += (f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed", "--force")
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    subprocess.run(["munged", *munge], env=environment, **quiet)
    if accounts:
        start_accounts(folder, port, environment)
    for name in ("slurmctld", "slurmd"):
        subprocess.run([name], env=environment, **quiet)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _stop(pid_file: Path) -> None:
    """End a daemon by the process that its file names, and wait until it is gone."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, 15)
    except (OSError, ValueError):  # it never started, or has ended
        return
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)

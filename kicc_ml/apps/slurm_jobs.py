"""Jobs of Slurm: how one is submitted, what became of it, and which of a run are still there.

The jobs are written and submitted by submitit. How they end is asked of ``squeue``, which knows it for some minutes
also where Slurm keeps no accounts; after that the log tells whether Slurm has ended them, and why.
"""

import getpass
import hashlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kicc_ml.apps.fold_processes import import_path
from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import make_path_name
from kicc_ml.runs.folder import finished_folds, fold_folder

#: Seconds that a shared file system may take to show what a job has written.
SHOWN_WITHIN_S = 60.0
#: Starts a program that the signals which announce an end do not kill before it listens to them.
IGNORING = """sh -c 'trap "" USR1 USR2; exec "$0" "$@"'"""
LASTING = frozenset(
    {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESIZING"}
    | {"SPECIAL_EXIT", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"}
)
ENDS = {
    "COMPLETED": "it ended, but wrote no predictions",
    "FAILED": "it ended with an error",
    "TIMEOUT": "it reached its time limit: ckpt_path=last goes on, hydra.launcher.timeout_min=MINUTES gives more time",
    "DEADLINE": "it reached its deadline; ckpt_path=last goes on",
    "CANCELLED": "it was cancelled; ckpt_path=last goes on",
    "PREEMPTED": "another job took its place; ckpt_path=last goes on",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it took more memory than it was given; hydra.launcher.mem_gb=N gives more",
    "": "Slurm does not know it any more",
}


#: How slurmd marks in the log of a job that Slurm has ended it; how submitit marks that it has begun, or begun again.
MARK_OF_END = re.compile(r"\*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT \S+(?: DUE TO ([A-Z ]+))?[^*]*\*\*\*")
MARK_OF_START = "Starting with JobEnvironment"
#: By the reason in the mark. The last of them says the least: it may stand beside one of the others.
STATES_BY_MARK = {"TIME LIMIT": "TIMEOUT", "PREEMPTION": "PREEMPTED", "NODE FAILURE": "NODE_FAIL", "": "CANCELLED"}
#: Bytes at the end of a log in which the mark is looked for.
END_OF_LOG = 20_000


@dataclass(frozen=True)
class Job:
    """A job of Slurm.

    Attributes:
        number: as Slurm counts.
        fold: the fold that it trains, or what else it does for a run.
        log: what it prints.
    """

    number: str
    fold: str
    log: Path


def submit(
    fold: str, work: Callable[[], None], run_dir: Path, launcher: Mapping[str, Any], parameters: Mapping[str, Any]
) -> Job:
    """Submit a job.

    Args:
        fold: what the job trains, or does; it is in its name and in the path of its log.
        work: what is called in the job.
        run_dir: the run folder.
        launcher: the settings of ``configs/hydra/launcher/slurm.yaml``.
        parameters: of submitit (:mod:`kicc_ml.apps.slurm_resources`).

    Raises:
        UserError: Slurm does not accept the job.
    """
    import submitit

    name = fold_folder(run_dir, fold).name
    folder = Path(launcher["submitit_folder"]) / make_path_name(str(run_dir)) / name
    try:
        python = f"{IGNORING} {shlex.quote(sys.executable)}"
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=0, slurm_python=python)
        executor.update_parameters(**parameters, name=name + make_suffix(run_dir))
        job = executor.submit(work)
    except (subprocess.CalledProcessError, submitit.core.utils.FailedJobError, ValueError, TypeError) as error:
        raise UserError(
            f"hydra/launcher=slurm: the job of fold {fold} was not accepted: {' '.join(str(error).split())}"
        ) from error
    return Job(job.job_id, fold, Path(os.path.relpath(job.paths.stdout)))


@contextmanager
def cancelled_unless_all(jobs: Sequence[Job]) -> Iterator[None]:
    """Export what this Python imports to the jobs, and end those already submitted where one is refused."""
    before = os.environ.get("PYTHONPATH")
    os.environ.update(import_path())
    try:
        yield
    except BaseException:
        if jobs:
            subprocess.run(["scancel", *(job.number for job in jobs)], check=False)
        raise
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class ListedJob(NamedTuple):
    """A job as ``squeue`` lists it; ``reason`` is why it waits."""

    number: str
    state: str
    reason: str
    name: str


def list_jobs() -> list[ListedJob] | None:
    """List this user's jobs, also those that ended lately; None where Slurm does not answer."""
    command = ["squeue", "-h", "-t", "all", "-u", getpass.getuser(), "-o", "%i|%T|%r|%j"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return [ListedJob(*line.split("|", 3)) for line in said.splitlines() if line.count("|") >= 3]


def _state_in_accounts(number: str) -> str:
    command = ["sacct", "-n", "-X", "-P", "-j", number, "-o", "State"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):  # Slurm keeps no accounts here
        return ""
    return said[0] if said else ""


def _state_in_log(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - END_OF_LOG))
            said = file.read().decode(errors="replace").rpartition(MARK_OF_START)[2]
    except OSError:
        return ""
    marks = {STATES_BY_MARK.get(reason.strip(), "CANCELLED") for reason in MARK_OF_END.findall(said)}
    return min(marks, key=[*STATES_BY_MARK.values()].index, default="")


def find_lost(run_dir: Path, jobs: Sequence[Job], states: Mapping[str, str]) -> dict[str, str]:
    """Find the folds whose jobs have ended without a result.

    Args:
        run_dir: the run folder.
        jobs: those of its folds.
        states: what Slurm last said of each, by number; "" or absent where it does not tell.

    Returns:
        why each was lost, with its log.
    """
    ends = {job.number: states.get(job.number) or _find_state(job) for job in jobs}
    _await_files(run_dir, [job.fold for job in jobs if ends[job.number] == "COMPLETED"])
    lost = [job for job in jobs if not _is_finished(run_dir, job.fold)]
    return {job.fold: f"{_describe(ends[job.number])}; job {job.number}, log {job.log}" for job in lost}


def _find_state(job: Job) -> str:
    return _state_in_accounts(job.number) or _state_in_log(job.log)


def _describe(state: str) -> str:
    return ENDS.get(state, f"Slurm says {state}")


def _await_files(run_dir: Path, folds: Sequence[str]) -> None:
    """Wait until this machine sees the results of folds whose jobs have completed, or long enough."""
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while not all(_is_finished(run_dir, fold) for fold in folds) and time.monotonic() < deadline:
        time.sleep(1)


def _is_finished(run_dir: Path, fold: str) -> bool:
    return fold_folder(run_dir, fold) in finished_folds(run_dir)


def make_suffix(run_dir: Path) -> str:
    """Ends the names of all jobs of a run, whatever folder its path was typed in."""
    return "." + hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:8]

"""Folds as jobs of Slurm (``hydra/launcher=slurm``): submitted, awaited, and told apart by how they ended.

The jobs are written and submitted by submitit. How they end is asked of ``squeue``, which knows it for some minutes
also where Slurm keeps no accounts.
"""

import getpass
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kicc_ml.apps.fold_job import FoldJob
from kicc_ml.apps.fold_processes import import_path
from kicc_ml.apps.slurm_resources import parameters_of
from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import EXTRAS
from kicc_ml.core.path_names import make_path_name
from kicc_ml.core.shown import say
from kicc_ml.runs.folder import finished_folds, fold_folder

#: Seconds between two questions to Slurm. It forgets a job that has ended after five minutes, if not told otherwise.
POLL_S = 10.0
#: How often in a row a job must be seen as ended, or not seen: a job that starts again is neither for a moment.
SURE_AFTER = 2
#: Seconds that a shared file system may take to show what a job has written.
SHOWN_WITHIN_S = 60.0
#: Starts a program that the signals which announce an end do not kill before it listens to them.
IGNORING = """sh -c 'trap "" USR1 USR2; exec "$0" "$@"'"""
#: What shells report of a process that Ctrl-C has ended.
INTERRUPTED = 130
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


@dataclass(frozen=True)
class Job:
    """A job of Slurm that trains a fold, and its log."""

    number: str
    fold: str
    log: Path


def train_on_slurm(
    settings: Mapping[str, Sequence[str]], cfg: DictConfig, launcher: Mapping[str, Any]
) -> dict[str, str]:
    """Submit a job for each fold and wait until all have ended.

    Args:
        settings: by name of fold, as Hydra reads them.
        cfg: the configuration of the run.
        launcher: the settings of ``configs/hydra/launcher/slurm.yaml``.

    Returns:
        why each fold that was lost was, with its log.

    Raises:
        UserError: Slurm refuses a job; then none of the others is left behind.
        SystemExit: Ctrl-C; the jobs go on.
    """
    jobs: list[Job] = []
    with _cancelled_unless_all(jobs):
        for fold, overrides in settings.items():
            jobs.append(_submit(fold, overrides, cfg, launcher))
    numbers = ", ".join(f"{job.fold} {job.number}" for job in jobs)
    logs = jobs[0].log.parents[1]
    say(f"jobs of Slurm: {numbers}; logs: {logs}/FOLD/JOB_0_log.out", to_stderr=True)
    try:
        ends = _wait(jobs)
    except KeyboardInterrupt:
        ids = " ".join(job.number for job in jobs)
        say(f"the jobs go on without this process; they are ended by: scancel {ids}", to_stderr=True)
        raise SystemExit(INTERRUPTED) from None
    _await_files(Path(cfg.run_dir), [job.fold for job in jobs if ends[job.number] == "COMPLETED"])
    lost = [job for job in jobs if not _is_finished(Path(cfg.run_dir), job.fold)]
    return {job.fold: f"{_describe(ends[job.number])}; job {job.number}, log {job.log}" for job in lost}


def refuse_live_run(run_dir: Path) -> None:
    """Raise UserError if jobs of an earlier start of a run are still waiting or running."""
    suffix = _suffix(run_dir)
    live = [
        (name.removesuffix(suffix), number, state)
        for number, state, name in _listed() or []
        if name.endswith(suffix) and state in LASTING
    ]
    if live:
        which = ", ".join(f"{fold} as job {number} ({state})" for fold, number, state in live)
        ids = " ".join(number for _, number, _ in live)
        raise UserError(
            f"{run_dir} is still being trained by jobs of Slurm: {which}; wait, or end them with: scancel {ids}"
        )


def refuse_without_slurm() -> None:
    """Raise UserError, with the remedy, where jobs cannot be submitted."""
    try:
        import submitit  # noqa: F401  # an extra: most readers have one machine
    except ModuleNotFoundError as error:
        raise UserError(
            "hydra/launcher=slurm needs the plug-in of submitit: pip install 'kicc_ml[slurm]'", page=EXTRAS
        ) from error
    if not shutil.which("sbatch") or not shutil.which("srun"):
        raise UserError(
            "hydra/launcher=slurm: there is no sbatch here; start it on a node of the cluster where jobs are submitted"
        )


def _submit(fold: str, overrides: Sequence[str], cfg: DictConfig, launcher: Mapping[str, Any]) -> Job:
    import submitit

    run_dir = Path(cfg.run_dir)
    name = fold_folder(run_dir, fold).name
    folder = Path(launcher["submitit_folder"]) / make_path_name(str(run_dir)) / name
    try:
        python = f"{IGNORING} {shlex.quote(sys.executable)}"
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=0, slurm_python=python)
        executor.update_parameters(**parameters_of(cfg, launcher), name=name + _suffix(run_dir))
        job = executor.submit(FoldJob(tuple(overrides), goes_on=cfg.ckpt_path in (None, "last")))
    except (subprocess.CalledProcessError, submitit.core.utils.FailedJobError, ValueError, TypeError) as error:
        raise UserError(
            f"hydra/launcher=slurm: the job of fold {fold} was not accepted: {' '.join(str(error).split())}"
        ) from error
    return Job(job.job_id, fold, Path(os.path.relpath(job.paths.stdout)))


@contextmanager
def _cancelled_unless_all(jobs: Sequence[Job]) -> Iterator[None]:
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


def _wait(jobs: Sequence[Job]) -> dict[str, str]:
    """The last state of each job, by number; "" where Slurm does not tell it."""
    ends: dict[str, str] = {}
    seen = {job.number: 0 for job in jobs}
    while len(ends) < len(jobs):
        time.sleep(POLL_S)
        listed = _listed()
        if listed is None:  # the controller does not answer, which says nothing of the jobs
            continue
        states = {number: state for number, state, _ in listed}
        for job in jobs:
            state = states.get(job.number, "")
            seen[job.number] = 0 if state in LASTING else seen[job.number] + 1
            if job.number not in ends and seen[job.number] >= SURE_AFTER:
                ends[job.number] = state or _state_in_accounts(job.number)
                say(f"fold {job.fold}: job {job.number} has ended", to_stderr=True)
    return ends


def _listed() -> list[tuple[str, str, str]] | None:
    """Number, state and name of this user's jobs, also of those that ended lately; None where Slurm does not answer."""
    command = ["squeue", "-h", "-t", "all", "-u", getpass.getuser(), "-o", "%i|%T|%j"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split("|", 2) for line in said.splitlines() if line.count("|") >= 2]
    return [(number, state, name) for number, state, name in rows]


def _state_in_accounts(number: str) -> str:
    command = ["sacct", "-n", "-X", "-P", "-j", number, "-o", "State"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):  # Slurm keeps no accounts here
        return ""
    return said[0] if said else ""


def _describe(state: str) -> str:
    return ENDS.get(state, f"Slurm says {state}")


def _await_files(run_dir: Path, folds: Sequence[str]) -> None:
    """Wait until this machine sees the results of folds whose jobs have completed, or long enough."""
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while not all(_is_finished(run_dir, fold) for fold in folds) and time.monotonic() < deadline:
        time.sleep(1)


def _is_finished(run_dir: Path, fold: str) -> bool:
    return fold_folder(run_dir, fold) in finished_folds(run_dir)


def _suffix(run_dir: Path) -> str:
    """Ends the names of all jobs of a run, whatever folder its path was typed in."""
    return "." + hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:8]

"""Folds as jobs of Slurm (``hydra/launcher=slurm``): submitted, awaited, and told apart by how they ended."""

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kicc_ml.apps.fold_job import FoldJob
from kicc_ml.apps.slurm_jobs import (
    LASTING,
    Job,
    ListedJob,
    cancelled_unless_all,
    find_lost,
    list_jobs,
    make_suffix,
    submit,
)
from kicc_ml.apps.slurm_resources import parameters_of
from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import EXTRAS
from kicc_ml.core.shown import say

#: Seconds between two questions to Slurm. It forgets a job that has ended after five minutes, if not told otherwise.
POLL_S = 10.0
#: How often in a row a job must be seen as ended, or not seen: a job that starts again is neither for a moment.
SURE_AFTER = 2
#: Why a job waits that Slurm will never start by itself, for example after its node could not start it.
HELD = re.compile("held", re.IGNORECASE)
#: What shells report of a process that Ctrl-C has ended.
INTERRUPTED = 130


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
    parameters, goes_on = parameters_of(cfg, launcher), cfg.ckpt_path in (None, "last")
    with cancelled_unless_all(jobs):
        for fold, overrides in settings.items():
            work = FoldJob(tuple(overrides), goes_on=goes_on)
            jobs.append(submit(fold, work, Path(cfg.run_dir), launcher, parameters))
    numbers = ", ".join(f"{job.fold} {job.number}" for job in jobs)
    logs = jobs[0].log.parents[1]
    say(f"jobs of Slurm: {numbers}; logs: {logs}/FOLD/JOB_0_log.out", to_stderr=True)
    try:
        ends = _wait(jobs)
    except KeyboardInterrupt:
        ids = " ".join(job.number for job in jobs)
        say(f"the jobs go on without this process; they are ended by: scancel {ids}", to_stderr=True)
        raise SystemExit(INTERRUPTED) from None
    return find_lost(Path(cfg.run_dir), jobs, ends)


def refuse_live_run(run_dir: Path) -> None:
    """Raise UserError if jobs of an earlier start of a run wait or run, or Slurm does not tell."""
    suffix, listed = make_suffix(run_dir), list_jobs()
    if listed is None:  # two jobs of one fold would write into one folder
        raise UserError(
            f"squeue does not answer, and so cannot tell whether jobs of an earlier start still train {run_dir}; "
            "try again when it does"
        )
    live = [
        (job.name.removesuffix(suffix), job.number, job.state)
        for job in listed
        if job.name.endswith(suffix) and job.state in LASTING
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


def _wait(jobs: Sequence[Job]) -> dict[str, str]:
    """The last state of each job, by number; "" where Slurm does not tell it."""
    ends: dict[str, str] = {}
    seen = {job.number: 0 for job in jobs}
    held: set[str] = set()
    while len(ends) < len(jobs):
        time.sleep(POLL_S)
        listed = list_jobs()
        if listed is None:  # the controller does not answer, which says nothing of the jobs
            continue
        found = {one.number: one for one in listed}
        for job in jobs:
            now = found.get(job.number, ListedJob(job.number, "", "", ""))
            seen[job.number] = 0 if now.state in LASTING else seen[job.number] + 1
            if job.number not in ends and seen[job.number] >= SURE_AFTER:
                ends[job.number] = now.state
                say(f"fold {job.fold}: job {job.number} has ended", to_stderr=True)
            if HELD.search(now.reason) and now.number not in held:
                held.add(now.number)
                way = f"scontrol release {now.number} lets it go on"
                say(f"fold {job.fold}: job {now.number} is held by Slurm ({now.reason}); {way}", to_stderr=True)
    return ends

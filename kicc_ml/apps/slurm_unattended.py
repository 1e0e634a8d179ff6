"""A run that nobody waits for (``--no-wait``): preparation, folds and report as jobs of Slurm, each after the other."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from kicc_ml.apps.configuration import compose_configuration, log_to_terminal, run_with_clear_errors
from kicc_ml.apps.fold_job import FoldJob, undo_handlers_of_submitit
from kicc_ml.apps.launching import SLURM, launcher_of, refuse_live_run, refuse_lost, set_fold, without_launcher
from kicc_ml.apps.machine import choose_plan
from kicc_ml.apps.own_parts import make_splits
from kicc_ml.apps.slurm_jobs import Job, cancelled_unless_all, find_lost, list_jobs, submit
from kicc_ml.apps.slurm_resources import add_options, parameters_of, parameters_without_gpu
from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import say
from kicc_ml.dicom.index.cluster import use_cluster
from kicc_ml.runs.folder import SPLIT, finished_folds, fold_folder

PREPARATION, REPORT = "preparation", "report"
#: Slurm would otherwise let a job wait for ever that comes after one that has failed.
OR_NEVER = {"kill-on-invalid-dep": "yes"}


@dataclass(frozen=True)
class PrepareJob:
    """Prepares a run in a job of Slurm; ``overrides`` are its settings, as Hydra reads them."""

    overrides: tuple[str, ...]

    def __call__(self) -> None:
        """Make index, cohort, store and split."""
        from kicc_ml.apps.train import prepare  # it imports what starts these jobs

        undo_handlers_of_submitit()
        log_to_terminal()
        run_with_clear_errors(lambda: _discard(prepare(compose_configuration("train", list(self.overrides)))))


@dataclass(frozen=True)
class PreparedFoldJob:
    """Trains a fold if the preparation has laid it down in ``folder``; it has not where no case can be read."""

    fold: FoldJob
    folder: Path

    def __call__(self) -> None:
        """Train the fold, or say that there is none."""
        if (self.folder / SPLIT).is_file():
            self.fold()
        else:
            say(f"{self.folder.name}: the preparation found no case that could be held out; there is no such fold")


@dataclass(frozen=True)
class ReportJob:
    """Reports on a run in a job of Slurm, after those of its folds.

    Attributes:
        overrides: the settings of the run, as Hydra reads them.
        preparation: the job that came before the folds.
        folds: the jobs of the folds.
    """

    overrides: tuple[str, ...]
    preparation: Job
    folds: tuple[Job, ...]

    def __call__(self) -> None:
        """Report what is finished, name what is lost, and end with the exit status of both."""
        undo_handlers_of_submitit()
        log_to_terminal()
        run_with_clear_errors(self._report)

    def _report(self) -> None:
        from kicc_ml.apps.train import report  # it imports what starts these jobs

        cfg = compose_configuration("train", list(self.overrides))
        run_dir = Path(cfg.run_dir)
        lost = [f"{fold} of {run_dir}: {reason}" for fold, reason in self.find_lost(run_dir).items()]
        if not finished_folds(run_dir):
            refuse_lost(lost, any_finished=False)
        status = report([cfg])
        refuse_lost(lost, any_finished=True)
        sys.exit(status)

    def find_lost(self, run_dir: Path) -> dict[str, str]:
        """Find the folds without a result: why each was lost, with the log that says more."""
        states = {listed.number: listed.state for listed in list_jobs() or []}
        begun = [job for job in self.folds if job.log.exists()]
        there = [job for job in begun if (fold_folder(run_dir, job.fold) / SPLIT).is_file()]
        never = f"it never began; the log of the preparation is {self.preparation.log}"
        return find_lost(run_dir, there, states) | {job.fold: never for job in self.folds if job not in begun}


def submit_without_waiting(overrides: Sequence[str]) -> int:
    """Submit preparation, folds and report of a run as jobs of Slurm, say their numbers, and return.

    Args:
        overrides: the settings of the run, as Hydra reads them.

    Returns:
        the exit status 0.

    Raises:
        UserError: jobs cannot be made of these settings, or Slurm refuses one; then none is left behind.
    """
    overrides = choose_plan(overrides)
    cfg = compose_configuration("train", overrides)
    kind, launcher = launcher_of(overrides)
    if kind != SLURM:
        raise UserError("--no-wait leaves a run to Slurm: add hydra/launcher=slurm")
    if cfg.parts:
        raise UserError("--no-wait submits one experiment, and demo is several; name one: experiment=outcome")
    refuse_live_run(overrides, cfg)
    run_dir, names = Path(cfg.run_dir), list_folds(cfg)
    of_jobs, of_fold = tuple(without_launcher(overrides)), parameters_of(cfg, launcher)
    jobs: list[Job] = []
    with cancelled_unless_all(jobs):
        held = parameters_without_gpu(of_fold, {"hold": True})
        jobs.append(submit(PREPARATION, PrepareJob(of_jobs), run_dir, launcher, held))
        after = add_options(of_fold, {"dependency": f"afterok:{jobs[0].number}", **OR_NEVER})
        for fold in names:
            training = FoldJob(tuple(set_fold(of_jobs, fold)), goes_on=cfg.ckpt_path in (None, "last"))
            work = PreparedFoldJob(training, fold_folder(run_dir, fold))
            jobs.append(submit(fold, work, run_dir, launcher, after))
        last = parameters_without_gpu(of_fold, {"dependency": ":".join(["afterany", *(one.number for one in jobs)])})
        jobs.append(submit(REPORT, ReportJob(of_jobs, jobs[0], tuple(jobs[1:])), run_dir, launcher, last))
        release(jobs[0])
    numbers = ", ".join(f"{job.fold} {job.number}" for job in jobs)
    say(f"jobs of Slurm: {numbers}; logs: {jobs[0].log.parents[1]}/FOLD/JOB_0_log.out", to_stderr=True)
    return 0


def release(job: Job) -> None:
    """Let a job begin that was submitted as held.

    Args:
        job: the job.

    Raises:
        UserError: Slurm does not.
    """
    try:
        subprocess.run(["scontrol", "release", job.number], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"--no-wait: scontrol cannot release job {job.number} ({error}); leave out --no-wait, or try it again"
        ) from error


def list_folds(cfg: DictConfig) -> list[str]:
    """List the folds still to train, by what the cohort's files and tables say; no volume has been read then."""
    from kicc_ml.apps.train import build_cohort  # it imports this module

    with use_cluster(cfg.dask or ""):
        splits = make_splits(cfg, build_cohort(cfg))
    done = finished_folds(Path(cfg.run_dir))
    return [split.fold for split in splits if fold_folder(cfg.run_dir, split.fold) not in done]


def _discard(_: object) -> None:
    """Return nothing: a job of Slurm keeps what its work returns."""

"""Preparation of a training: a folder for each fold with its settings and its split, with one writer at a time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kicc_ml.cohort.splits import read_splits, write_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import make_folder, write_json, write_yaml
from kicc_ml.core.locks import hold
from kicc_ml.core.path_names import check_distinct
from kicc_ml.core.types import Split
from kicc_ml.runs.cohort_record import Record, describe_differences, differences, read_record
from kicc_ml.runs.folder import COHORT, CONFIG, SPLIT, finished_folds, fold_folder, fold_name
from kicc_ml.runs.settings import read_settings

LOCK = ".lock"
#: The lock of a fold for the process that was started to train the run; other processes may do the training.
STARTED = ".started.lock"


def lay_down(
    run_dir: Path,
    splits: Sequence[Split],
    settings: Mapping[str, Mapping[str, Any]],
    record: Record,
) -> None:
    """Write ``split.json`` and ``config.yaml`` of each fold that is not finished, and ``cohort.json`` of the run.

    Args:
        run_dir: the run folder.
        splits: the folds.
        settings: the settings of each fold, by name.
        record: digests of the cases of the cohort (:mod:`kicc_ml.runs.cohort_record`).

    Raises:
        Busy: another process trains one of the folds, or was started to train it.
        UserError: the run folder holds finished folds with other settings, other cases or another split: two runs
            must not mix. Nothing is written then.
    """
    check_distinct(settings, "the folds", fold_name)
    finished = finished_folds(run_dir)
    for folder in finished:
        refuse_other_settings(folder, settings)
        take_over_left_locks(folder)
    if finished:
        refuse_changed_cohort(run_dir, record)
    for folder in finished:
        refuse_other_division(folder, splits)
    open_splits = [split for split in splits if fold_folder(run_dir, split.fold) not in finished]
    with hold_started(run_dir, [split.fold for split in open_splits]), ExitStack() as held:
        for split in open_splits:
            held.enter_context(hold_fold(run_dir, split.fold))
        for split in open_splits:
            folder = fold_folder(run_dir, split.fold)
            write_splits(folder / SPLIT, [split])
            write_yaml(folder / CONFIG, dict(settings[split.fold]))
        if open_splits:
            write_json(run_dir / COHORT, record)


def take_over_left_locks(folder: Path) -> None:
    """Remove the locks of killed processes from a finished fold. Raises Busy if such a process still runs."""
    for lock in (folder / STARTED, folder / LOCK):
        if lock.exists():
            with hold(lock, f"fold {folder.name} of {folder.parent}"):
                pass  # its release removes it


def refuse_other_settings(folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError unless a finished fold was trained with these settings."""
    kept, (division,) = read_settings(folder / CONFIG), read_splits(folder / SPLIT)
    now = settings.get(division.fold) or _renamed(next(iter(settings.values())), division.fold)
    if changed := [key for key in now if kept.get(key) != now[key]]:
        raise _two_runs(folder, f"a finished fold with other settings ({', '.join(changed)})")


def refuse_other_division(folder: Path, splits: Sequence[Split]) -> None:
    """Raise UserError unless a finished fold was trained on the same split of the cases."""
    (division,) = read_splits(folder / SPLIT)
    if any(split.fold == division.fold and split != division for split in splits):
        raise _two_runs(folder, "a finished fold with another division of the cases")


def refuse_changed_cohort(run_dir: Path, record: Record) -> None:
    """Raise UserError, with the cases that differ, unless finished folds were trained on this cohort."""
    before = read_record(run_dir)
    if before is not None and (found := differences(before, record)):
        raise _two_runs(run_dir, f"finished folds of another cohort: {describe_differences(found, len(before))}")


def _two_runs(folder: Path, what: str) -> UserError:
    return UserError(f"{folder} holds {what}; give this run its own folder with run_dir=DIR, or delete that one")


def _renamed(settings: Mapping[str, Any], fold: str) -> dict[str, Any]:
    """Make the settings of a fold that is not among those to train now."""
    return {**settings, "split": {**settings["split"], "fold": fold}}


@contextmanager
def hold_started(run_dir: Path, folds: Sequence[str]) -> Iterator[None]:
    """Hold the locks of the only process that was started to train these folds. Raises Busy with the other process.

    Without these locks, two processes that start at the same time would divide the folds between them: each would stop
    at a fold of the other, and neither would reach the report.
    """
    with ExitStack() as held:
        for fold in dict.fromkeys(folds):
            held.enter_context(hold(make_folder(fold_folder(run_dir, fold)) / STARTED, f"fold {fold} of {run_dir}"))
        yield


@contextmanager
def hold_fold(run_dir: Path, fold: str) -> Iterator[Path]:
    """Hold the lock of the only writer of a fold and yield the fold's folder. Raises Busy with the other process."""
    folder = make_folder(fold_folder(run_dir, fold))
    with hold(folder / LOCK, f"fold {fold} of {run_dir}"):
        yield folder


def refuse_changed(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise UserError if another start of the run has written other settings since this one began."""
    if read_settings(folder / CONFIG) != settings:
        raise UserError(
            f"{folder / CONFIG} states other settings than this training was started with: another was started into "
            "the same run folder meanwhile; give one of them its own with run_dir=DIR"
        )

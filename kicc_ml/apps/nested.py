"""``-m nested=true``: each fold takes the settings that were best on its own validation patients.

These patients are of the fold's training hospitals, so the cases that it reports had no part in the choice. (The mean
over folds would be another matter: a validation patient of one fold is a test patient of another.) The folds that were
chosen become a run of their own, ``nested``, which is reported like any other.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from kicc_ml.apps.combinations import Combination
from kicc_ml.apps.configuration import compose_configuration, replace_values
from kicc_ml.cohort.splits import read_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import make_folder, whole_folder, write_table
from kicc_ml.core.shown import say
from kicc_ml.runs.folder import COHORT, FLOW, QUARANTINE, SPLIT, case_folder, finished_folds
from kicc_ml.runs.tables import read_predictions
from kicc_ml.runs.tried import TRIED, note_tried, read_tried
from kicc_ml.runs.validation import SELECTED_BY, Validation, validation_score

NESTED = "nested"
#: Settings that decide which cases a fold has, or what is learnt: results with two values of them are not comparable.
NOT_COMPARABLE = ("cohort", "experiment", "name", "parts", "seed", "split", "task")
#: In the folder of a fold: what only its training needs.
NOT_COPIED = ("checkpoints", "tensorboard", "held_out", ".*lock")


@dataclass(frozen=True)
class Choice:
    """The settings that a fold takes, and their result on its validation patients."""

    fold: str
    combination: Combination
    result: Validation


def refuse_unnested(overrides: Sequence[str], why: str) -> None:
    """Refuse ``nested=true`` where settings are not listed. Raises UserError, with ``why``."""
    if compose_configuration("train", overrides).nested:
        raise UserError(f"nested=true chooses among settings that are listed, as in -m nested=true key=a,b; {why}")


def is_nested(combinations: Sequence[Combination]) -> bool:
    """Tell whether each fold shall choose among the settings; refuse, before any training, where it could not.

    Raises:
        UserError: the settings change the cases of a fold or what is learnt, or nothing is validated.
    """
    if not any(one.cfg.nested for one in combinations):
        return False
    if len(combinations) < 2:
        raise UserError(
            "nested=true chooses among settings that are listed, and there is one; say -m nested=true key=a,b"
        )
    varied = {key for one in combinations for key in one.values if key.split(".")[0] in NOT_COMPARABLE}
    if varied:
        raise UserError(
            f"nested=true compares settings on the same cases, and {min(varied)} changes them; give it once"
        )
    for one in combinations:
        if one.cfg.parts:
            raise UserError("nested=true needs one experiment, and demo is several; name one: experiment=outcome")
        if one.cfg.network is None:
            raise UserError(
                f"experiment={one.cfg.name} trains no network, so it has no validation patients to choose by"
            )
    return True


def report_nested(
    combinations: Sequence[Combination],
    statuses: Mapping[str, int],
    finish: Callable[[Sequence[DictConfig]], int],
) -> int:
    """Choose for each fold, make a run of the chosen folds, and report it; returns the exit status of the report.

    Args:
        combinations: the settings, each trained on all folds.
        statuses: of each by name, its exit status.
        finish: writes the report of runs.

    Raises:
        UserError: fewer than two settings have the same finished folds, or folds differ in their cases.
    """
    trained = [one for one in combinations if statuses[one.name] in (0, 3)]
    if len(trained) < 2:
        raise UserError("nested=true needs two settings or more that were trained; the others failed")
    choices = [_choose(fold, trained) for fold in _list_common_folds(trained)]
    out = _write_run(choices, len(combinations))
    rows = [
        {"fold": one.fold, **one.combination.values, f"validation_{one.result.metric}": one.result.value}
        for one in choices
    ]
    write_table(out.with_suffix(".csv"), pd.DataFrame(rows))
    for one in choices:
        found = f"{one.result.metric} {one.result.value:.4g} on its validation patients"
        say(f"nested: fold {one.fold} takes {one.combination.text} ({found})")
    # Each brings the packages of its own parts along; the run is reported once.
    return finish([replace_values(one.cfg, {"run_dir": str(out)}) for one in trained])


def _list_common_folds(combinations: Sequence[Combination]) -> list[str]:
    found = [{folder.name for folder in finished_folds(one.run_dir)} for one in combinations]
    if not (common := set.intersection(*found)):
        raise UserError("nested=true: no fold was finished with all settings")
    return sorted(common)


def _choose(fold: str, combinations: Sequence[Combination]) -> Choice:
    """Choose by the validation patients of this fold alone; the first of equals."""
    first = combinations[0].run_dir / fold
    results = []
    for one in combinations:
        folder = one.run_dir / fold
        if read_splits(folder / SPLIT) != read_splits(first / SPLIT):
            raise UserError(f"nested=true: {folder} and {first} have other cases, so that nothing can be compared")
        results.append(Choice(fold, one, validation_score([folder])))
    metrics = {one.result.metric for one in results}
    if len(metrics) > 1 or None in metrics:
        raise UserError(
            f"nested=true: fold {fold} has no result on validation patients; give split.val_fraction above 0"
        )
    more_is_better = SELECTED_BY[f"val/{metrics.pop()}"]
    return (max if more_is_better else min)(results, key=lambda one: one.result.value or 0.0)


def _write_run(choices: Sequence[Choice], tried: int) -> Path:
    """Write the run of the chosen folds beside those that they are from; one of an earlier start is replaced."""
    place = choices[0].combination.place
    out = place / NESTED
    if out.exists() or out.is_symlink():
        if out.is_symlink() or not (out / TRIED).is_file() or read_tried([out])["compared_by"] != "inner":
            raise UserError(f"{out} holds something else; move it away, or give run_dir=DIR")
        shutil.rmtree(out)
    with whole_folder(out) as partial:
        for choice in choices:
            run = choice.combination.run_dir
            shutil.copytree(run / choice.fold, partial / choice.fold, ignore=shutil.ignore_patterns(*NOT_COPIED))
            for case_id in dict.fromkeys(read_predictions(run / choice.fold)["case_id"].map(str)):
                if (source := case_folder(run, case_id)).is_dir():
                    target = case_folder(partial, case_id)
                    make_folder(target.parent)
                    shutil.copytree(source, target)
        for name in (COHORT, FLOW, QUARANTINE):
            if (file := choices[0].combination.run_dir / name).is_file():
                shutil.copy2(file, partial / name)
        note_tried(partial, tried, "inner")
    return out

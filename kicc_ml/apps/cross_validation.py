"""Cross-validations as the command line asks for them: one, or with ``-m`` one for each combination of settings.

The folds of each go to Hydra's multirun, so that every launcher serves.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kicc_ml.apps.combinations import Combination, compose_combinations, refuse_several_processes, write_sweep
from kicc_ml.apps.command_line import (
    CommandLine,
    list_values,
    parse_overrides,
    read_command_line,
    refuse_several_values,
    set_hydra_arguments,
)
from kicc_ml.apps.configuration import compose_configuration, find_user_fault, replace_values, report_error
from kicc_ml.apps.launching import (
    FOLD,
    refuse_live_run,
    refuse_lost,
    refuse_unusable_launcher,
    train_folds,
    without_record,
)
from kicc_ml.apps.machine import choose_plan
from kicc_ml.apps.nested import NESTED, is_nested, refuse_unnested, report_nested
from kicc_ml.apps.overrides import quote_as_typed, write_setting
from kicc_ml.apps.search import is_search, search
from kicc_ml.apps.slurm_unattended import submit_without_waiting
from kicc_ml.core.errors import NothingToLearn, TargetError, UserError, is_full
from kicc_ml.core.help_pages import REPOSITORY
from kicc_ml.core.path_names import make_path_name
from kicc_ml.core.shown import say
from kicc_ml.runs.folder import finished_folds
from kicc_ml.runs.tried import note_tried
from kicc_ml.runs.validation import validation_score
from kicc_ml.training.processes import count_tasks

SWEEPER, HYDRAS_OWN = "hydra/sweeper", "basic"


@dataclass(frozen=True)
class Stages:
    """What makes up a cross-validation.

    Attributes:
        job: Hydra's way into the training of one fold; reads ``sys.argv``.
        prepare: what all folds need; gives the names of those still to train.
        finish: the report over all parts; gives the exit status.
    """

    job: Callable[[], Any]
    prepare: Callable[[DictConfig], Sequence[str]]
    finish: Callable[[Sequence[DictConfig]], int]


def run_typed(stages: Stages) -> None:
    """Do what the arguments of the command line ask for, and end with its exit status."""
    if os.environ.get("LOCAL_RANK", "0") != "0":  # started by Lightning, with the arguments that Hydra was given
        sys.argv[1:] = quote_as_typed(sys.argv[1:])
        return stages.job()
    if (tasks := count_tasks()) > 1:
        raise UserError(
            f"Slurm started {Path(sys.argv[0]).name} {tasks} times; start it once (srun --ntasks=1): it prepares "
            "and reports for all folds, and hydra/launcher=slurm gives each fold the tasks that it needs"
        )
    line = read_command_line(sys.argv[1:])
    if line.shown:
        with set_hydra_arguments([*line.shown, *line.overrides]):
            return stages.job()
    refuse_unusable_launcher(line.overrides, own_sweeper=line.multirun and _names_another_sweeper(line))
    if line.no_wait and line.multirun:
        raise UserError("--no-wait submits one run; start each by itself, without -m")
    if not line.multirun:
        command = Path(sys.argv[0]).name
        refuse_several_values(
            line.overrides, f"{command} -m {{typed}} ... runs a whole cross-validation with each of them; "
        )
        if is_search(line.overrides):
            raise UserError(f"hparams_search is for several runs: {command} -m ...")
        refuse_unnested(line.overrides, "this is one run")
        sys.exit(submit_without_waiting(line.overrides) if line.no_wait else cross_validate(line.overrides, stages))
    if _names_another_sweeper(line):
        return _hand_to_sweeper(line, stages)
    if is_search(line.overrides):
        sys.exit(search(line.overrides, lambda overrides: cross_validate(overrides, stages)))
    combinations = compose_combinations([one for one in line.overrides if not _is_sweep_of_folds(one)])
    folds = [fold for one in line.overrides if _is_sweep_of_folds(one) for fold in _list_folds(one)]
    if len(combinations) == 1 and not combinations[0].values:
        refuse_unnested(combinations[0].overrides, "this is one run")
        sys.exit(cross_validate(combinations[0].overrides, stages, folds))
    sys.exit(cross_validate_each(combinations, stages, folds))


def cross_validate_each(combinations: Sequence[Combination], stages: Stages, folds: Sequence[str] = ()) -> int:
    """Run a whole cross-validation for each combination, one after the other, then print a table of all.

    One that fails is named and the others go on.

    Returns:
        the exit status: that of the first failure, else 3 where a case was set aside, else 0.

    Raises:
        TargetError: a place that is written to fails, as it would for all others.
    """
    refuse_several_processes(combinations)
    nested = is_nested(combinations)
    statuses: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for combination in combinations:
        say(f"combination {len(statuses) + 1} of {len(combinations)}: {combination.text}", to_stderr=True)
        note_tried(combination.run_dir, len(combinations), "reported")
        try:
            statuses[combination.name] = cross_validate(combination.overrides, stages, folds)
        except Exception as error:
            if isinstance(error, TargetError) or is_full(error):
                raise
            statuses[combination.name] = report_error(error, combination.text)
            reasons[combination.name] = str(find_user_fault(error) or error) or type(error).__name__
    write_sweep(combinations, statuses, reasons)
    if nested:
        statuses[NESTED] = report_nested(combinations, statuses, stages.finish)
    failed = [status for status in statuses.values() if status not in (0, 3)]
    return failed[0] if failed else max(statuses.values())


def cross_validate(overrides: Sequence[str], stages: Stages, folds: Sequence[str] = ()) -> int:
    """Train what is unfinished of each part of an experiment, then report over all parts; returns the exit status.

    ``folds`` names those to train; all where it is empty. Raises FoldsLost, after the report, where some were lost.
    """
    parts = [(of_part, compose_configuration("train", of_part)) for of_part in _list_parts(choose_plan(overrides))]
    trained: list[DictConfig] = []
    lost: list[str] = []
    for of_part, cfg in parts:
        refuse_live_run(of_part, cfg)
        try:
            unfinished = _prepare(cfg, stages, folds)
        except NothingToLearn as error:
            if len(parts) == 1:
                raise
            say(f"left out: {cfg.name}: {error}", to_stderr=True)
            continue
        now_lost = train_folds(of_part, cfg, unfinished, stages.job) if unfinished else []
        lost += now_lost
        if not now_lost or finished_folds(Path(cfg.run_dir)):
            trained.append(cfg)
    if not trained:
        refuse_lost(lost, any_finished=False)
        raise NothingToLearn(
            "the cohort has neither masks nor endpoints; add masks/ or endpoint columns", page=REPOSITORY
        )
    status = stages.finish(trained)
    refuse_lost(lost, any_finished=True)
    return status


def run_in_one_job(
    cfg: DictConfig,
    prepare: Callable[[DictConfig], Sequence[str]],
    train: Callable[[DictConfig], None],
    finish: Callable[[Sequence[DictConfig]], int],
) -> float | None:
    """Run a cross-validation as a single job of a sweeper, into its own folder; returns its validation score."""
    if cfg.parts:
        raise UserError("a sweeper needs one experiment, and demo is several; name one, for example experiment=outcome")
    name = make_path_name(HydraConfig.get().job.override_dirname)
    cfg = replace_values(cfg, {"run_dir": f"{cfg.run_dir}/{name}"})
    for fold in prepare(cfg):
        train(replace_values(cfg, {FOLD: fold}))
    finish([cfg])
    return validation_score(finished_folds(Path(cfg.run_dir))).value


def _prepare(cfg: DictConfig, stages: Stages, folds: Sequence[str]) -> Sequence[str]:
    if not folds:
        return stages.prepare(cfg)
    return [fold for named in folds for fold in stages.prepare(replace_values(cfg, {FOLD: named}))]


def _hand_to_sweeper(line: CommandLine, stages: Stages) -> None:
    """Let the sweeper that the user named choose settings: each job is a cross-validation of its own."""
    overrides = choose_plan(line.overrides)
    fixed = [override.input_line for override in parse_overrides(overrides) if not override.is_sweep_override()]
    cfg = compose_configuration("train", [one for one in fixed if one is not None])
    if cfg.nested:
        raise UserError("nested=true is for settings that are listed; a sweeper of your own chooses them by all folds")
    with without_record(Path(cfg.run_dir)), set_hydra_arguments(["--multirun", *overrides]):
        stages.job()


def _names_another_sweeper(line: CommandLine) -> bool:
    return any(one.key_or_group == SWEEPER and one.value() != HYDRAS_OWN for one in parse_overrides(line.overrides))


def _is_sweep_of_folds(override: str) -> bool:
    (found,) = parse_overrides([override])
    return found.key_or_group == FOLD and found.is_sweep_override()


def _list_folds(override: str) -> list[str]:
    (found,) = parse_overrides([override])
    return list_values(found)


def _list_parts(arguments: list[str]) -> list[list[str]]:
    """List the overrides of each experiment to run: one, or those listed under ``parts``; the user's own come last."""
    cfg = compose_configuration("train", arguments)
    if not cfg.parts:
        return [arguments]
    own = [argument for argument in arguments if not argument.startswith("experiment=")]
    return [
        [
            f"experiment={part}",
            *(f"{key}={value}" for key, value in changes.items()),
            *own,
            write_setting("run_dir", f"{cfg.run_dir}/{part}"),
        ]
        for part, changes in cfg.parts.items()
    ]

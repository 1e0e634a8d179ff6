"""``train.py -m hparams_search=optuna``: choose settings by results on validation patients, one run per trial."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from kicc_ml.apps.combinations import SWEEPS, Combination, write_sweep
from kicc_ml.apps.command_line import parse_overrides
from kicc_ml.apps.configuration import build, compose_configuration, find_user_fault, replace_values, report_error
from kicc_ml.apps.fold_settings import make_fold_settings
from kicc_ml.apps.overrides import write_setting
from kicc_ml.apps.search_space import Space, make_space, write_value
from kicc_ml.apps.search_study import RESULT, Search, import_optuna, make_sampler, open_study
from kicc_ml.core.errors import TargetError, UserError, is_full
from kicc_ml.core.files import make_folder
from kicc_ml.core.locks import hold
from kicc_ml.core.shown import say
from kicc_ml.runs.folder import finished_folds
from kicc_ml.runs.settings import digest_of
from kicc_ml.runs.tried import note_tried, read_tried
from kicc_ml.runs.validation import SELECTED_BY, validation_score
from kicc_ml.training.processes import processes_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

GROUP = "hparams_search"
LOCK = ".search.lock"
#: The table of all trials, in the folder of the search.
TABLE = "search.csv"
#: Settings of a search that may change when it goes on.
NOT_OF_SEARCH = frozenset({GROUP, "split"})
Run = Callable[[Sequence[str]], int]


def is_search(overrides: Sequence[str]) -> bool:
    """Tell whether the settings ask for a search."""
    return compose_configuration("train", _drop_sweeps(overrides))[GROUP] is not None


def search(overrides: Sequence[str], run: Run) -> int:
    """Try as many settings as the study lacks, then print one table of all trials and which settings won.

    A trial that a killed process left behind is finished first; folds that it had finished are kept.

    Args:
        overrides: as typed; those with several values or an interval are varied.
        run: trains a cross-validation with given settings, and returns its exit status.

    Returns:
        the exit status: that of the first failure of a trial, else 3 where cases were set aside, else 0.

    Raises:
        UserError: the experiment cannot be searched, or the folder holds another search.
        Busy: another process works on this search.
        TargetError: a place that is written to fails, as it would for every trial.
    """
    fixed = _drop_sweeps(overrides)
    cfg = compose_configuration("train", fixed)
    _refuse_unsearchable(cfg)
    wanted: Search = build(cfg[GROUP])
    space = make_space([one for one in overrides if one not in fixed], wanted.params)
    place = Path(SWEEPS) / f"{cfg.name}-search" if cfg.run_dir == f"runs/{cfg.name}" else Path(cfg.run_dir)
    digests = {key: digest_of(value) for key, value in make_fold_settings(cfg, "").items() if key not in NOT_OF_SEARCH}
    digests["split"] = digest_of({key: value for key, value in cfg.split.items() if key != "fold"})
    import_optuna()
    with (
        hold(make_folder(place) / LOCK, f"the search {place}"),
        open_study(place, space, digests) as study,
    ):
        return _try_all(study, wanted, space, [one for one in fixed if not _is_of_search(one)], place, cfg, run)


def _try_all(
    study: "Study", wanted: Search, space: Space, fixed: Sequence[str], place: Path, cfg: DictConfig, run: Run
) -> int:
    statuses: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for trial in _iterate_trials(study, wanted, space, cfg.seed):
        one = _make_combination(trial.number, trial.params, fixed, place, cfg)
        say(f"trial {trial.number + 1}: {one.text}", to_stderr=True)
        tried = len(study.get_trials(deepcopy=False, states=(import_optuna().trial.TrialState.COMPLETE,))) + 1
        note_tried(one.run_dir, max(wanted.trials, tried), "validation")
        try:
            statuses[one.name] = run(one.overrides)
            _tell(study, trial, one.run_dir)
        except Exception as error:
            if isinstance(error, TargetError) or is_full(error):
                raise
            statuses[one.name] = report_error(error, one.text)
            reasons[one.name] = str(find_user_fault(error) or error) or type(error).__name__
            study.tell(trial.number, state=import_optuna().trial.TrialState.FAIL)
    return _finish(study, fixed, place, cfg, statuses, reasons, run)


def _iterate_trials(study: "Study", wanted: Search, space: Space, seed: int) -> "Iterator[FrozenTrial]":
    """Yield the trials to run: those left behind, then new ones until as many as wanted are finished or failed."""
    state = import_optuna().trial.TrialState
    for trial in study.get_trials(states=(state.RUNNING,)):
        if set(trial.params) == set(space.distributions):
            yield trial
        else:  # killed before all of its settings were written
            study.tell(trial.number, state=state.FAIL)
    for _ in range(wanted.trials - len(study.get_trials(deepcopy=False, states=(state.COMPLETE,)))):
        study.sampler = make_sampler(wanted, seed, len(study.get_trials(deepcopy=False)))
        number = study.ask(dict(space.distributions)).number
        yield study.get_trials()[number]


def _tell(study: "Study", trial: "FrozenTrial", run_dir: Path) -> None:
    """Tell the study the result on validation patients, of which more is better."""
    found = validation_score(finished_folds(run_dir))
    if found.value is None or found.metric is None:
        raise UserError(f"{run_dir} has no result on validation patients; a search needs split.val_fraction above 0")
    study.set_user_attr(f"{RESULT} {trial.number}", [found.metric, found.value])
    study.tell(trial.number, found.value if SELECTED_BY[f"val/{found.metric}"] else -found.value)


def _finish(
    study: "Study",
    fixed: Sequence[str],
    place: Path,
    cfg: DictConfig,
    statuses: Mapping[str, int],
    reasons: Mapping[str, str],
    run: Run,
) -> int:
    """Print the table of all finished trials, earlier starts included, and which settings won.

    The report of these says how many were tried in the end, also where the search was extended after it was written.
    """
    done = study.get_trials(states=(import_optuna().trial.TrialState.COMPLETE,))
    failed = [status for status in statuses.values() if status not in (0, 3)]
    if not done:
        return failed[0]
    found = [_make_combination(trial.number, trial.params, fixed, place, cfg) for trial in done]
    write_sweep(found, {one.name: statuses.get(one.name, 0) for one in found}, {}, TABLE)
    for name, reason in reasons.items():
        say(f"failed: {name}: {reason}")
    best = max(done, key=lambda trial: (trial.value or 0.0, -trial.number))
    won = _make_combination(best.number, best.params, fixed, place, cfg)
    metric, result = study.user_attrs[f"{RESULT} {best.number}"]
    if (read_tried([won.run_dir])["count"] or 0) < len(done):
        note_tried(won.run_dir, len(done), "validation")
        run(won.overrides)  # all folds are finished: only the report is written again
    typed = " ".join(_list_settings(best.params))
    say(f"best of {len(done)} on validation patients ({metric} {result:.4g}): {typed}: {won.run_dir}")
    return failed[0] if failed else max([0, *statuses.values()])


def _make_combination(
    number: int, params: Mapping[str, Any], fixed: Sequence[str], place: Path, cfg: DictConfig
) -> Combination:
    name = f"trial-{number + 1:03d}"
    values = {"trial": str(number + 1), **{key.lstrip("+"): _format_value(value) for key, value in params.items()}}
    overrides = (*fixed, *_list_settings(params), write_setting("run_dir", str(place / name)))
    text = ", ".join(f"{key}={value}" for key, value in values.items() if key != "trial")
    return Combination(overrides, values, text, name, place, replace_values(cfg, {"run_dir": str(place / name)}))


def _list_settings(params: Mapping[str, Any]) -> list[str]:
    return [f"{key}={write_value(value)}" for key, value in sorted(params.items())]


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _drop_sweeps(overrides: Sequence[str]) -> list[str]:
    return [
        typed for typed, one in zip(overrides, parse_overrides(overrides), strict=True) if not one.is_sweep_override()
    ]


def _is_of_search(override: str) -> bool:
    (found,) = parse_overrides([override])
    return found.key_or_group.split(".")[0] == GROUP


def _refuse_unsearchable(cfg: DictConfig) -> None:
    if cfg.parts:
        raise UserError("a search needs one experiment, and demo is several; name one, for example experiment=outcome")
    if cfg.nested:
        raise UserError(
            "a search proposes settings by the results of all folds, so that none of its choices is nested; list the "
            "settings instead: -m nested=true key=a,b"
        )
    if cfg.network is None:
        raise UserError(
            f"experiment={cfg.name} trains no network, so it has no results on validation patients to search by"
        )
    if processes_of(cfg.trainer) > 1:
        raise UserError("a search trains with one process; leave trainer.devices at 1")

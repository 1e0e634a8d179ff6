"""Combinations of settings, as ``-m key=a,b`` asks for them: which there are, where each lies, the table of all."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig
from rich.console import Console

from kicc_ml.apps.command_line import list_values
from kicc_ml.apps.configuration import CONFIGS, compose_configuration, replace_values
from kicc_ml.apps.overrides import quote_as_typed, write_setting
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_table
from kicc_ml.core.path_names import make_distinct_path_names, make_path_name
from kicc_ml.core.schemas.versions import read_versioned
from kicc_ml.core.shown import format_count, say
from kicc_ml.report.sweep_table import make_headline, make_sweep_table, warn_of_selection
from kicc_ml.runs.folder import finished_folds
from kicc_ml.runs.validation import validation_score
from kicc_ml.training.processes import processes_of

#: Where the runs of combinations lie unless ``run_dir`` is given: not in a run folder, which holds folds.
SWEEPS = "runs/sweeps"
RUN_DIR = "run_dir"


@dataclass(frozen=True)
class Combination:
    """One choice of settings.

    Attributes:
        overrides: all settings of the run, its own folder among them.
        values: those in which the combinations differ.
        text: these in words.
        name: the run's folder within ``place``.
        place: where the runs lie beside one another.
        cfg: the composed configuration.
    """

    overrides: tuple[str, ...]
    values: Mapping[str, str]
    text: str
    name: str
    place: Path
    cfg: DictConfig

    @property
    def run_dir(self) -> Path:
        """Return the folder of this combination's runs."""
        return Path(self.cfg.run_dir)


def compose_combinations(overrides: Sequence[str]) -> list[Combination]:
    """Compose every combination of the values that settings are given, in the order in which they were typed.

    Raises:
        UserError: a setting is given an interval instead of values.
        HydraException: a combination cannot be composed; nothing was trained then.
    """
    rows = _list_rows([*_read_sweeper_params(overrides), *overrides])
    composed = [compose_configuration("train", typed) for typed, _ in rows]
    texts = [_describe_settings(cfg, values) for cfg, (_, values) in zip(composed, rows, strict=True)]
    names = make_distinct_path_names(texts)
    return [
        _make_combination(typed, values, cfg, text, names[text])
        for (typed, values), cfg, text in zip(rows, composed, texts, strict=True)
    ]


def refuse_several_processes(combinations: Sequence[Combination]) -> None:
    """Refuse several processes for each fold by a UserError: Lightning starts them once for a program."""
    for combination in combinations:
        if len(combinations) > 1 and processes_of(combination.cfg.trainer) > 1:
            raise UserError(
                "-m trains with one process; where trainer.devices is more than one, start each combination by itself: "
                f"{combination.text}"
            )


def write_sweep(
    combinations: Sequence[Combination], statuses: Mapping[str, int], reasons: Mapping[str, str], file: str = ""
) -> pd.DataFrame:
    """Print the table of all combinations and write it as CSV beside their runs; ``file`` is its name."""
    rows = [_make_row(one, statuses[one.name], reasons.get(one.name)) for one in combinations]
    reported = sum(status in (0, 3) for status in statuses.values())
    warning = warn_of_selection(reported)
    table = pd.DataFrame(rows).assign(settings_tried=reported)
    path = combinations[0].place / (file or f"{_name_table(combinations)}.csv")
    write_table(path, table)
    Console(width=None if sys.stdout.isatty() else 120).print(make_sweep_table(rows, list(combinations[0].values)))
    for name, reason in reasons.items():
        say(f"failed: {next(one.text for one in combinations if one.name == name)}: {reason}")
    if warning:
        say(warning)
    say(f"table: {path}")
    return table


def _make_row(combination: Combination, status: int, reason: str | None) -> dict[str, Any]:
    """Make the row of one combination: its settings, outcome and headline figures; of one that failed, why."""
    row = {**combination.values, "run_dir": str(combination.run_dir), "status": "finished"}
    if reason is not None:
        return row | {"status": f"failed: {reason.splitlines()[0]}"}
    summary = read_versioned(combination.run_dir / "summary.json", "summary", "evaluate the run again")
    if status == 3:
        row["status"] = f"finished, {format_count(len(summary['quarantined']), 'case')} set aside"
    validation = validation_score(finished_folds(combination.run_dir))
    chosen = {} if validation.metric is None else {f"validation_{validation.metric}": validation.value}
    return row | chosen | make_headline(summary)


def _make_combination(
    typed: tuple[str, ...], values: Mapping[str, str], cfg: DictConfig, text: str, name: str
) -> Combination:
    if not values or RUN_DIR in values:
        return Combination(typed, values, text, name, Path(cfg.run_dir).parent, cfg)
    place = Path(SWEEPS if cfg.run_dir == f"runs/{cfg.name}" else cfg.run_dir)
    run_dir = str(place / name)
    overrides = (*typed, write_setting(RUN_DIR, run_dir))
    return Combination(overrides, values, text, name, place, replace_values(cfg, {RUN_DIR: run_dir}))


def _list_rows(overrides: Sequence[str]) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """List the settings of every combination, and of these the ones that were given several values; none twice."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        found = parser.parse_overrides(list(overrides))
        choices = [_list_choices(one, typed) for one, typed in zip(found, overrides, strict=True)]
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for chosen in product(*choices):
        values = {key: shown for _, key, shown in chosen if key}
        rows.setdefault(tuple(text for text, _, _ in chosen), values)
    return list(rows.items())


def _list_choices(override: Override, typed: str) -> list[tuple[str, str, str]]:
    """List for each value of a setting: the setting for Hydra, its key, the value as shown; no key for a fixed one."""
    if not override.is_sweep_override():
        return [(typed, "", "")]
    if not override.is_discrete_sweep():
        raise UserError(
            f"{typed} is an interval, from which only a sweeper of your own can choose; list values: key=a,b"
        )
    key = override.get_key_element()
    return [
        (f"{key}={value}", key.lstrip("+"), text)
        for value, text in zip(override.sweep_string_iterator(), list_values(override), strict=True)
    ]


def _read_sweeper_params(overrides: Sequence[str]) -> list[str]:
    """Read what ``hydra.sweeper.params`` sweeps over, unless the command line says otherwise."""
    (first, _), *_ = _list_rows(overrides)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=quote_as_typed(first), return_hydra_config=True)
    params = cfg.hydra.sweeper.get("params") or {}
    typed = {one.partition("=")[0].lstrip("+") for one in overrides}
    return [f"{key}={value}" for key, value in params.items() if key not in typed]


def _describe_settings(cfg: DictConfig, values: Mapping[str, str]) -> str:
    """Write ``clinical, seed=1``: the experiment and what differs."""
    named = [] if "experiment" in values else [str(cfg.name)]
    return ", ".join([*named, *(f"{key}={value}" for key, value in values.items())])


def _name_table(combinations: Sequence[Combination]) -> str:
    """Name the table: the same for the same sweep, another for another."""
    return make_path_name(" ".join(one.text for one in combinations))

"""Reading of tables and figures in a run folder, with checks, because anyone may have written them."""

import logging
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from kicc_ml.cohort.splits import read_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import read_table
from kicc_ml.core.received import check_regular, read_json_object
from kicc_ml.core.schemas.versions import read_versioned
from kicc_ml.core.shown import format_count
from kicc_ml.core.types import Case
from kicc_ml.runs.folder import PREDICTIONS, QUARANTINE, SPLIT, fold_folders

logger = logging.getLogger(__name__)

CASES = "cases.csv"
SUMMARY = "summary.json"

#: Columns that hold words; all others hold numbers.
WORDS = frozenset({"case_id", "site", "fold", "person", "modality", "endpoint", "model", "score", "distance_unit"})
#: The suffix of columns that state why a figure is unknown.
REASON = "_reason"
#: Columns of probabilities and of outcomes, which may be shares of a scale.
SHARES = ("probability", "label", "operating_point")
#: The columns that identify a row.
KEYS = ("case_id", "endpoint", "score", "model")
TRAIN_AGAIN = "train the fold again"


def read_predictions(folder: Path) -> pd.DataFrame:
    """Read ``predictions.csv`` of a fold.

    Raises:
        UserError: the file is not a table, a number is invalid, a probability or label is outside 0..1, a row occurs
            twice, or a model lacks probabilities of some cases.
    """
    path = folder / PREDICTIONS
    table = read_numbers(path, TRAIN_AGAIN)
    if "case_id" not in table:
        raise UserError(f"{path} has no column case_id; {TRAIN_AGAIN}")
    for name in SHARES:
        if name in table and (wrong := table[name].notna() & ~table[name].between(0, 1)).any():
            raise UserError(f"{path}: {_first_of(table, wrong)}: {name} is not from 0 to 1; {TRAIN_AGAIN}")
    if (doubled := table.duplicated([key for key in KEYS if key in table])).any():
        raise UserError(f"{path}: {_first_of(table, doubled)} is there twice; {TRAIN_AGAIN}")
    _require_every_case_or_none(table, path, "endpoint", "probability")
    _require_every_case_or_none(table, path, "score", "predicted")
    return table


def _require_every_case_or_none(table: pd.DataFrame, path: Path, what: str, value: str) -> None:
    """Refuse a table in which a model has predicted an endpoint or score for some cases only.

    A model that learnt an endpoint predicts it for every case. If the training side has one outcome only, nothing is
    learnt and all cells are empty: :func:`require_learnt` checks these.
    """
    if not {what, "model", value} <= set(table):
        return
    empty = table[value].isna()
    part = empty.groupby([table[what], table["model"]], dropna=False)
    if (wrong := empty & ~part.transform("all")).any():
        raise UserError(
            f"{path}: {int(wrong.sum())} of {len(table)} cells of {value} are empty where the same model has others, "
            f"the first in {_first_of(table, wrong)}: a model predicts every case or none; {TRAIN_AGAIN}"
        )


def require_learnt(table: pd.DataFrame, folder: Path, cases: Mapping[str, Case]) -> None:
    """Refuse a fold's table without any probability of an endpoint that its training side could teach.

    Args:
        table: the table of :func:`read_predictions`.
        folder: the folder of the fold.
        cases: the cohort by case id.

    Raises:
        UserError: a model has no probability although the training cases have both outcomes.
    """
    if not {"endpoint", "model", "probability"} <= set(table) or not (folder / SPLIT).is_file():
        return
    (split,) = read_splits(folder / SPLIT)
    for (endpoint, model), part in table.groupby(["endpoint", "model"]):
        known = {cases[case_id].endpoints.get(str(endpoint), nan) for case_id in split.train if case_id in cases}
        if part["probability"].isna().all() and {0.0, 1.0} <= known:
            raise UserError(
                f"{folder / PREDICTIONS}: {model} has no probability of {endpoint}, {format_count(len(part), 'case')}, "
                f"though its training cases teach it; {TRAIN_AGAIN}"
            )


def require_whole(table: pd.DataFrame, folder: Path) -> None:
    """Refuse a fold's table that lacks held-out cases, because someone may have removed difficult ones.

    Without ``split.json`` this cannot be checked, which is logged. Scores of radiographs are not checked: not every
    case has a radiograph, and not every radiograph has a second reader.

    Raises:
        UserError: a case of the split is missing for an endpoint and model, and was not set aside.
    """
    if "score" in table:
        return
    if not (folder / SPLIT).is_file():
        logger.warning("%s is missing: whether all held-out cases are judged cannot be told", folder / SPLIT)
        return
    (split,) = read_splits(folder / SPLIT)
    aside = {case_id for place in (folder, folder.parent) for case_id in _set_aside(place / QUARANTINE)}
    of_what = [name for name in ("endpoint", "model") if name in table]
    parts = [part for _, part in table.groupby(of_what, dropna=False)] if of_what else [table]
    for part in parts or [table]:
        if missing := sorted(set(split.test) - aside - set(part["case_id"].astype(str))):
            raise UserError(
                f"{folder / PREDICTIONS}: {len(missing)} of the cases that the fold held out are missing, the first "
                f"{missing[0]}; {TRAIN_AGAIN}"
            )


def _set_aside(path: Path) -> Mapping[str, Any]:
    return read_json_object(path, TRAIN_AGAIN) if path.is_file() else {}


def read_quarantine(folds: Sequence[Path]) -> dict[str, str]:
    """Read the cases that were set aside, at intake or at prediction, with the reason."""
    files = {place / QUARANTINE for folder in folds for place in (folder, folder.parent)}
    return {
        case_id: reason
        for path in sorted(files)
        if path.is_file()
        for case_id, reason in read_json_object(path, TRAIN_AGAIN).items()
    }


def read_cases(run: Path) -> pd.DataFrame:
    """Read ``cases.csv`` of a run; an empty table if it was not evaluated. Raises UserError for an invalid table."""
    path = run / CASES
    return (
        read_numbers(path, f"evaluate the run again: python evaluate.py runs={run}")
        if path.is_file()
        else pd.DataFrame()
    )


def held_out_tables(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read outcome predictions of a run's folds, and its ``cases.csv``; an empty table for a missing one.

    Raises:
        UserError: there is no finished run, or if a table is damaged.
    """
    tables = [read_predictions(folder) for folder in fold_folders(run)]
    outcomes = [table for table in tables if "probability" in table]
    return pd.concat(outcomes, ignore_index=True) if outcomes else pd.DataFrame(), read_cases(run)


def read_summary_part(run: Path, part: str) -> Mapping[str, Mapping[str, Any]]:
    """Read a part of a run's ``summary.json``, ``outcome`` or ``image_scores``; empty if the run was not evaluated.

    Raises:
        UserError: the file cannot be read, or is not nested as expected.
    """
    path, remedy = run / SUMMARY, f"evaluate the run again: python evaluate.py runs={run}"
    found = read_versioned(path, "summary", remedy).get(part) or {} if path.is_file() else {}
    if not _is_nested(found, depth=3):
        raise UserError(f"{path}: {part} does not hold figures by model; {remedy}")
    return found


def _is_nested(value: Any, depth: int) -> bool:
    """Tell whether a value is an object of objects, ``depth`` deep: endpoint, model, figure."""
    if not isinstance(value, Mapping):
        return False
    return depth == 1 or all(_is_nested(one, depth - 1) for one in value.values() if one is not None)


def read_numbers(path: Path, remedy: str, words: tuple[str, ...] = ("case_id", "site", "fold")) -> pd.DataFrame:
    """Read a CSV of numbers; the columns in ``words`` and ``WORDS`` stay text.

    Raises:
        UserError: it is not such a table; the message has the ``remedy``.
    """
    check_regular(path, remedy)
    try:
        table = read_table(path, words)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {remedy}") from None
    except (OSError, ValueError) as error:  # pandas raises these too: no table, not UTF-8, a cell too large
        raise UserError(f"{path} is no table: {str(error).splitlines()[0]}; {remedy}") from error
    for name in set(table) - {*WORDS, *words} if len(table) else ():
        if str(name).endswith(REASON):
            continue
        if is_bool_dtype(table[name]) or not is_numeric_dtype(table[name]):
            wrong = table[name].notna() & pd.to_numeric(table[name], errors="coerce").isna()
            where = _first_of(table, wrong if wrong.any() else table[name].notna())
            raise UserError(f"{path}: {where}: {name} is not a number; {remedy}")
    return table


def _first_of(table: pd.DataFrame, wrong: pd.Series) -> str:
    """Describe the first wrong row by its line and its keys."""
    place = int(wrong.to_numpy().argmax())
    row = table.iloc[place]
    return f"line {place + 2} ({', '.join(str(row[key]) for key in KEYS if key in table)})"

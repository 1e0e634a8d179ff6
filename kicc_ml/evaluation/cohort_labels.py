"""Check the tables of a run against the cohort, and take outcomes from the cohort, never from the run."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import CXR_SCORES, Case

#: Maximum relative difference of a value that was written to a table and read again.
ROUNDING = 1e-9
#: Name of the model in score tables that is the second reader, who is compared with the first.
SECOND_READER = "second_reader"


def check_outcomes(table: pd.DataFrame, path: Path, cases: Mapping[str, Case]) -> pd.DataFrame:
    """Check the rows of a fold's ``predictions.csv``, and return them with the labels of the cohort.

    Args:
        table: with the columns ``case_id site endpoint model probability label``.
        path: the file, for errors.
        cases: the cohort by case id.

    Raises:
        UserError: a column is missing, a case, its hospital or an endpoint is none of the cohort, or a label is
            another one there. An endpoint of which nothing is stated, neither probability nor label, may be unknown.
    """
    _require_columns(table, path, ("case_id", "site", "endpoint", "model", "probability", "label"))
    _require_cases(table, path, cases)
    known = {endpoint for case in cases.values() for endpoint in case.endpoints}
    stated = table[table[["probability", "label"]].notna().any(axis=1)]
    if strange := sorted(set(stated["endpoint"].astype(str)) - known):
        raise UserError(f"{path}: the cohort has no endpoint {', '.join(strange)}; name the cohort that was predicted")
    label = _look_up_values(table, cases, lambda case, row: case.endpoints.get(row["endpoint"], np.nan))
    _require_equal(table, path, "label", label)
    return table.assign(label=label)


def check_scores(table: pd.DataFrame, path: Path, cases: Mapping[str, Case]) -> pd.DataFrame:
    """Check the rows of radiologists' scores: ``case_id site score model predicted reference``, in points."""
    _require_columns(table, path, ("case_id", "site", "score", "model", "predicted", "reference"))
    _require_cases(table, path, cases)
    if strange := sorted(set(table["score"].astype(str)) - set(CXR_SCORES)):
        raise UserError(f"{path}: there is no score {', '.join(strange)}; train the fold again")
    reference = _look_up_values(table, cases, _find_points)
    _require_equal(table, path, "reference", reference)
    return table.assign(reference=reference)


def _find_points(case: Case, row: Mapping) -> float:
    reader = f"{row['score']}_reader_1" if row["model"] == SECOND_READER else row["score"]
    return case.endpoints.get(reader, np.nan) * CXR_SCORES[row["score"]]


def _look_up_values(
    table: pd.DataFrame, cases: Mapping[str, Case], value: Callable[[Case, Mapping], float]
) -> pd.Series:
    found = [value(cases[str(row["case_id"])], row) for row in table.to_dict("records")]
    return pd.Series(found, table.index, dtype=float)


def _require_columns(table: pd.DataFrame, path: Path, names: tuple[str, ...]) -> None:
    if absent := [name for name in names if name not in table]:
        raise UserError(f"{path} has no column {', '.join(absent)}; train the fold again")


def _require_cases(table: pd.DataFrame, path: Path, cases: Mapping[str, Case]) -> None:
    for row in table[["case_id", "site"]].drop_duplicates().astype(str).itertuples():
        case = cases.get(str(row.case_id))
        if case is None:
            raise UserError(f"{path}: {row.case_id} is no case of the cohort; name the cohort that was predicted")
        if case.site != row.site:
            raise UserError(f"{path}: {row.case_id} is of {case.site} in the cohort, and of {row.site} here")


def _require_equal(table: pd.DataFrame, path: Path, name: str, of_cohort: pd.Series) -> None:
    """Raise UserError with the first and the number of values that differ from those of the cohort."""
    same = np.isclose(table[name].astype(float), of_cohort, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
    if not same.all():
        first = table.loc[~same].iloc[0]
        raise UserError(
            f"{path}: {int((~same).sum())} of {len(table)} values of {name} are others than those of the cohort, the "
            f"first that of {first['case_id']}; the table was changed, or the cohort: train the fold again"
        )

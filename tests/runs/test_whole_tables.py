"""A fold's table holds every case that the fold held out, or is refused: the hard ones may have been taken away."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.splits import write_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json, write_table
from kicc_ml.core.types import Case, Split
from kicc_ml.runs.folder import PREDICTIONS, QUARANTINE, SPLIT
from kicc_ml.runs.tables import read_predictions, require_learnt, require_whole

CASES = ("a_1", "a_2", "a_3")


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "a"
    write_splits(folder / SPLIT, [Split("a", ("b_1",), (), CASES, {case: case for case in (*CASES, "b_1")})])
    return folder


def outcomes() -> pd.DataFrame:
    rows = [(case, "icu", model, 0.5, 1) for model in ("network", "clinical") for case in CASES]
    return pd.DataFrame(rows, columns=["case_id", "endpoint", "model", "probability", "label"])


def test_a_table_of_all_cases_is_taken(fold: Path):
    require_whole(outcomes(), fold)
    require_whole(pd.DataFrame({"case_id": CASES}), fold)


def test_a_case_that_is_missing_of_one_model_alone_is_named(fold: Path):
    table = outcomes()
    hard = (table["model"] == "clinical") & (table["case_id"] == "a_2")
    with pytest.raises(UserError, match=r"predictions\.csv: 1 of the cases .* are missing, the first a_2"):
        require_whole(table[~hard], fold)


def test_a_table_of_no_case_is_refused(fold: Path):
    with pytest.raises(UserError, match="3 of the cases"):
        require_whole(outcomes()[:0], fold)


@pytest.mark.parametrize("place", [".", ".."])
def test_cases_that_were_set_aside_may_be_missing(fold: Path, place: str):
    write_json(fold / place / QUARANTINE, {"a_2": "cannot be read"})
    table = outcomes()
    require_whole(table[table["case_id"] != "a_2"], fold)


def test_without_a_split_it_is_said_that_nobody_can_tell(fold: Path, caplog: pytest.LogCaptureFixture):
    (fold / SPLIT).unlink()
    with caplog.at_level(logging.WARNING):
        require_whole(outcomes()[:1], fold)
    assert "cannot be told" in caplog.text


@pytest.mark.parametrize(("icu", "is_taught"), [((1, 0), True), ((1, 1), False), ((0, np.nan), False)])
def test_a_model_without_any_probability_is_refused_where_its_training_cases_know_both_outcomes(
    tmp_path: Path, icu: tuple[float, float], is_taught: bool
):
    folder = tmp_path / "run" / "a"
    persons = {case: case for case in (*CASES, "b_1", "b_2")}
    write_splits(folder / SPLIT, [Split("a", ("b_1", "b_2"), (), CASES, persons)])
    cases = {name: Case(name, "b", name, endpoints={"icu": one}) for name, one in zip(("b_1", "b_2"), icu, strict=True)}
    table = outcomes()
    require_learnt(table, folder, cases)
    emptied = table.assign(probability=table["probability"].where(table["model"] != "clinical"))
    if not is_taught:  # nothing could be learnt, so emptiness is honest
        require_learnt(emptied, folder, cases)
        return
    with pytest.raises(UserError, match=r"predictions\.csv: clinical has no probability of icu, 3 cases, though"):
        require_learnt(emptied, folder, cases)


def test_probabilities_of_some_cases_alone_are_refused_and_counted(fold: Path):
    table = outcomes().assign(site="a", fold="a")
    write_table(fold / PREDICTIONS, table.assign(probability=[0.1, None, None, 0.2, 0.3, 0.4]))
    with pytest.raises(UserError, match=r"2 of 6 cells of probability are empty .* line 3 \(a_2, icu, network\)"):
        read_predictions(fold)
    write_table(fold / PREDICTIONS, table.assign(probability=[None, None, None, 0.2, 0.3, 0.4]))
    assert read_predictions(fold)["probability"].isna().sum() == 3


def test_scores_that_a_model_did_not_predict_of_some_radiographs_are_refused(fold: Path):
    rows = [(case, "a", "brixia", "zones", points, 4.0) for case, points in zip(CASES, (3.0, None, 5.0), strict=True)]
    columns = ["case_id", "site", "score", "model", "predicted", "reference"]
    write_table(fold / PREDICTIONS, pd.DataFrame(rows, columns=columns))
    with pytest.raises(UserError, match=r"1 of 3 cells of predicted are empty .* line 3 \(a_2, brixia, zones\)"):
        read_predictions(fold)


def test_scores_of_some_radiographs_alone_are_taken(fold: Path):
    """A second reader has scored few, and a case may have no radiograph."""
    rows = [("a_1", "brixia", "zones", 3.0, 4.0), ("a_1", "brixia", "second_reader", 5.0, 4.0)]
    require_whole(pd.DataFrame(rows, columns=["case_id", "score", "model", "predicted", "reference"]), fold)

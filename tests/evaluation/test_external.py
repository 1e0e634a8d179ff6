from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.evaluation.external import mask_files, read_probabilities
from kicc_ml.records import Case, UserError

CASES = {
    f"c{number}": Case(f"c{number}", "seoul" if number % 2 else "busan", f"p{number}", endpoints=endpoints)
    for number in range(6)
    if (endpoints := {"icu": float(number % 2), "death": np.nan if number == 5 else 0.0})
}


def rows(*without: str) -> pd.DataFrame:
    return pd.DataFrame(
        [(case_id, endpoint, 0.25) for endpoint in ("icu", "death") for case_id in CASES if case_id not in without],
        columns=["case_id", "endpoint", "probability"],
    )


def written(tmp_path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(tmp_path / "theirs.csv", index=False)
    return tmp_path / "theirs.csv"


def test_a_whole_file_becomes_rows_with_hospital_and_label(tmp_path: Path) -> None:
    table = read_probabilities(written(tmp_path, rows()), CASES, "theirs")
    assert len(table) == 12
    row = table[(table["case_id"] == "c3") & (table["endpoint"] == "icu")].iloc[0]
    assert (row["site"], row["label"], row["probability"], row["model"]) == ("seoul", 1.0, 0.25, "theirs")
    assert table.loc[table["endpoint"] == "death", "label"].isna().sum() == 1


def test_a_missing_a_doubled_and_an_unknown_case_are_named_in_one_error(tmp_path: Path) -> None:
    table = pd.concat([rows("c2"), rows().iloc[[4]], pd.DataFrame([("nobody", "death", 0.1)], columns=rows().columns)])
    with pytest.raises(UserError) as refused:
        read_probabilities(written(tmp_path, table), CASES, "theirs")
    message = str(refused.value)
    assert "icu: 1 missing (c2), 1 twice or more (c4)" in message
    assert "death: 1 missing (c2), 1 not in the cohort (nobody)" in message


def test_numbers_are_not_made_of_ids_and_an_id_of_digits_stays_as_written(tmp_path: Path) -> None:
    digits = {"007": Case("007", "seoul", "p", endpoints={"icu": 1.0})}
    table = pd.DataFrame([("007", "icu", 0.5)], columns=["case_id", "endpoint", "probability"])
    assert list(read_probabilities(written(tmp_path, table), digits, "theirs")["case_id"]) == ["007"]


@pytest.mark.parametrize("wrong", [1.2, -0.1, "high", np.nan])
def test_what_is_no_probability_is_refused_with_its_case(tmp_path: Path, wrong: object) -> None:
    table = rows().astype({"probability": object})
    table.loc[3, "probability"] = wrong
    with pytest.raises(UserError, match="c3, icu"):
        read_probabilities(written(tmp_path, table), CASES, "theirs")


def test_a_missing_column_and_an_unknown_endpoint_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column probability"):
        read_probabilities(written(tmp_path, rows()[["case_id", "endpoint"]]), CASES, "theirs")
    with pytest.raises(UserError, match=r"endpoint intubation; the cohort knows death, icu"):
        read_probabilities(written(tmp_path, rows().replace("icu", "intubation")), CASES, "theirs")
    with pytest.raises(UserError, match="no rows"):
        read_probabilities(written(tmp_path, rows().iloc[:0]), CASES, "theirs")


def test_masks_are_found_by_case_and_a_case_without_one_and_a_stranger_are_named(tmp_path: Path) -> None:
    for case_id in ("c1", "c2", "c4"):
        (tmp_path / f"{case_id}.nii.gz").touch()
    assert set(mask_files(tmp_path, ["c1", "c2"], CASES)) == {"c1", "c2"}
    (tmp_path / "x9.nii.gz").touch()
    with pytest.raises(UserError, match=r"1 missing \(c3\), 1 not in the cohort \(x9\)"):
        mask_files(tmp_path, ["c1", "c2", "c3"], CASES)

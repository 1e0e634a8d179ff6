"""Predictions of other software are taken by case and endpoint, or refused by name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.evaluation.external import make_prediction_rows, select_model_rows, select_one_file_per_case

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


def placed(path: Path, cases: dict[str, Case] = CASES) -> pd.DataFrame:
    return make_prediction_rows(read_cells(path), path, cases, "theirs")


def test_a_whole_file_becomes_rows_with_hospital_and_label(tmp_path: Path) -> None:
    table = placed(written(tmp_path, rows()))
    assert len(table) == 12
    row = table[(table["case_id"] == "c3") & (table["endpoint"] == "icu")].iloc[0]
    assert (row["site"], row["label"], row["probability"], row["model"]) == ("seoul", 1.0, 0.25, "theirs")
    assert table.loc[table["endpoint"] == "death", "label"].isna().sum() == 1


def test_a_missing_a_doubled_and_an_unknown_case_are_named_in_one_error(tmp_path: Path) -> None:
    table = pd.concat([rows("c2"), rows().iloc[[4]], pd.DataFrame([("nobody", "death", 0.1)], columns=rows().columns)])
    with pytest.raises(UserError) as refused:
        placed(written(tmp_path, table))
    message = str(refused.value)
    assert "icu: 1 missing (c2), 1 twice or more (c4)" in message
    assert "death: 1 missing (c2), 1 not in the cohort (nobody)" in message


def test_numbers_are_not_made_of_ids_and_an_id_of_digits_stays_as_written(tmp_path: Path) -> None:
    digits = {"007": Case("007", "seoul", "p", endpoints={"icu": 1.0})}
    table = pd.DataFrame([("007", "icu", 0.5)], columns=["case_id", "endpoint", "probability"])
    assert list(placed(written(tmp_path, table), digits)["case_id"]) == ["007"]


@pytest.mark.parametrize("wrong", [1.2, -0.1, "high", np.nan])
def test_what_is_no_probability_is_refused_with_its_case(tmp_path: Path, wrong: object) -> None:
    table = rows().astype({"probability": object})
    table.loc[3, "probability"] = wrong
    with pytest.raises(UserError, match="c3, icu"):
        placed(written(tmp_path, table))


def test_a_missing_column_and_an_unknown_endpoint_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column probability"):
        placed(written(tmp_path, rows()[["case_id", "endpoint"]]))
    with pytest.raises(UserError, match=r"endpoint intubation; the cohort knows death, icu"):
        placed(written(tmp_path, rows().replace("icu", "intubation")))
    with pytest.raises(UserError, match="no rows"):
        placed(written(tmp_path, rows().iloc[:0]))


def test_a_file_as_a_spreadsheet_saves_it_is_read_or_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "예측 결과.csv"
    text = rows().to_csv(index=False).replace("c0,", " c0 ,")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(placed(path)) == 12
    path.write_text(text.replace(",", ";").replace("0.25", "0,25"))
    with pytest.raises(UserError, match="separated by ';'"):
        placed(path)
    path.write_bytes(text.replace("c0", "환자").encode("cp949"))
    with pytest.raises(UserError, match="not UTF-8"):
        placed(path)


def test_an_empty_case_or_endpoint_is_refused_as_such(tmp_path: Path) -> None:
    table = rows()
    table.loc[2, "case_id"] = None
    with pytest.raises(UserError, match=r"icu: 1 missing \(c2\), 1 not in the cohort \(empty\)"):
        placed(written(tmp_path, table))
    with pytest.raises(UserError, match="endpoint empty"):
        placed(written(tmp_path, rows().replace("icu", None)))


def test_masks_without_a_case_or_of_a_stranger_or_in_two_files_are_named() -> None:
    found = [(case_id, Path(f"{case_id}.nii.gz")) for case_id in ("c1", "c2", "c4")]
    assert set(select_one_file_per_case(Path("net"), found, ["c1", "c2"], CASES)) == {"c1", "c2"}
    with pytest.raises(UserError) as refused:
        select_one_file_per_case(
            Path("net"), [*found, ("x9", Path("x9.nii.gz")), ("c1", Path("c1.dcm"))], ["c1", "c2", "c3"], CASES
        )
    assert "1 missing (c3), 1 twice or more (c1), 1 not in the cohort (x9)" in str(refused.value)


def test_models_of_a_run_get_the_outcomes_of_the_cohort_and_a_stranger_among_its_cases_is_named() -> None:
    run = pd.DataFrame({"case_id": ["c1", "c2", "c1"], "endpoint": ["icu", "icu", "death"], "label": [0.0, 1.0, 0.0]})
    found = select_model_rows(run, Path("runs/clinical"), ["icu"], CASES)
    assert list(found["label"]) == [1.0, 0.0]
    with pytest.raises(UserError, match=r"another cohort.*c9"):
        select_model_rows(run.replace("c2", "c9"), Path("runs/clinical"), ["icu"], CASES)
    assert select_model_rows(pd.DataFrame(), Path("runs/lesion"), ["icu"], CASES).empty

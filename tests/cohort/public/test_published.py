"""Published tables: spellings forgiven, values in our units, what cannot be right unknown and counted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.flow import Flow
from kicc_ml.cohort.public.published import (
    SEX,
    YES_NO,
    Coded,
    Measured,
    convert_columns,
    find_set_folder,
    rename_columns,
    require_file,
)
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.errors import UserError

COLUMNS = {"CRP": Measured("crp_mg_l", 0.1, 700, factor=10), "Cough": Coded("cough", YES_NO), "Sex": Coded("sex", SEX)}


def table(**columns: list) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=object)


def test_a_column_is_found_however_a_release_spells_it() -> None:
    cells = table(**{"D-dimer": ["1"], "Chronic Kidney disease": ["0"], "surplus": ["x"]})
    found = rename_columns(cells, Path("t.xls"), ["D_dimer", "ChronicKidneyDisease"], ["D_dimer"])
    assert list(found) == ["D_dimer", "ChronicKidneyDisease"]


def test_two_spellings_of_one_column_are_not_chosen_between() -> None:
    with pytest.raises(UserError, match=r"t\.xls: two columns are spellings of D_dimer"):
        rename_columns(table(**{"D-dimer": ["1"], "D_dimer": ["2"]}), Path("t.xls"), ["D_dimer"], [])


def test_a_missing_column_is_named_beside_those_found() -> None:
    with pytest.raises(UserError, match=r"column\(s\) missing: Death; found: Age"):
        rename_columns(table(Age=["1"]), Path("t.xls"), ["Death"], ["Death"])


def test_a_number_comes_in_our_unit_and_one_out_of_range_is_unknown_and_counted() -> None:
    flow = Flow()
    values = convert_columns(table(CRP=["5.5", "5,5", "<0.3", "900", None, "haemolysed"]), COLUMNS, Path("t"), flow)
    assert values["crp_mg_l"].tolist()[:3] == [55, 55, 3]
    assert values["crp_mg_l"].isna().tolist()[3:] == [True, True, True]
    assert flow.counts == {
        "values of crp_mg_l outside 0.1 to 700, now unknown": 1,
        "values of crp_mg_l not numbers, now unknown": 1,
    }


@pytest.mark.parametrize("yes", ["1", "1.0", "Yes", "TRUE", "y"])
def test_words_are_known_in_any_capitals_and_an_empty_cell_is_no_strange_one(yes: str) -> None:
    flow = Flow()
    values = convert_columns(table(Cough=[yes, "No", "unknown", None, "maybe"]), COLUMNS, Path("t"), flow)
    np.testing.assert_array_equal(values["cough"], [1, 0, np.nan, np.nan, np.nan])
    assert flow.counts == {"values of cough not known, now unknown": 1}


def test_a_column_without_one_known_word_is_coded_otherwise_and_refused() -> None:
    with pytest.raises(UserError, match=r"column Sex holds no known value, for example '2'"):
        convert_columns(table(Sex=["2", "3", None]), COLUMNS, Path("t"), Flow())


def test_the_folder_of_the_set_is_the_one_named_or_lies_in_the_folder_of_all(tmp_path: Path) -> None:
    (tmp_path / "AIforCOVID").mkdir()
    assert find_set_folder(tmp_path, "aiforcovid") == tmp_path / "AIforCOVID"
    assert find_set_folder(tmp_path / "AIforCOVID", "aiforcovid") == tmp_path / "AIforCOVID"
    with pytest.raises(UserError, match=r"KICC_DATA=DIR with aiforcovid in it"):
        find_set_folder(None, "aiforcovid")


def test_a_folder_without_the_table_is_told_what_should_lie_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds none of one\.xls, two\.xls"):
        require_file(tmp_path, ["one.xls", "two.xls"])


def test_an_excel_table_is_read_like_the_csv_of_the_same_rows(tmp_path: Path) -> None:
    rows = {"id": ["0012", "B"], "n": [3.0, 2.5], "whole": [7, 8], "yes": [True, False], "gap": [None, " NA "]}
    typed = pd.DataFrame(rows).assign(day=pd.to_datetime(["2020-03-09", "2020-03-10"]))
    typed.to_excel(tmp_path / "t.xlsx", index=False)
    typed.assign(yes=[1, 0]).to_csv(tmp_path / "t.csv", index=False)
    excel, text = read_cells(tmp_path / "t.xlsx"), read_cells(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(excel.drop(columns="n"), text.drop(columns="n"))
    assert excel["n"].tolist() == ["3", "2.5"]
    assert excel["whole"].tolist() == ["7", "8"]
    assert excel["gap"].isna().all()


def test_names_of_columns_may_stand_in_the_second_line(tmp_path: Path) -> None:
    pd.DataFrame([["title", None], ["id", "AGE"], ["x", 5]]).to_excel(tmp_path / "t.xlsx", index=False, header=False)
    (tmp_path / "t.csv").write_text("title,\nid,AGE\nx,5\n")
    for name in ("t.xlsx", "t.csv"):
        assert read_cells(tmp_path / name, header_line=2).to_dict("list") == {"id": ["x"], "AGE": ["5"]}


def test_what_is_no_workbook_is_one_sentence(tmp_path: Path) -> None:
    for content in (b"", b"<html>", b"PK\x03\x04"):
        (tmp_path / "t.xlsx").write_bytes(content)
        with pytest.raises(UserError, match=r"t\.xlsx.*save it as"):
            read_cells(tmp_path / "t.xlsx")

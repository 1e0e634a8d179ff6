"""The clinical table: every bad cell is refused by name, every sound one keeps its meaning."""

import logging
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from kicc_ml.cohort.clinical_table import feature_names, features, read_clinical
from kicc_ml.cohort.table_file import TableError
from kicc_ml.core.errors import UserError

HEAD = "site,patient_id,age_years,sex,fever,crp_mg_l,icu,icu_date,ct_scans,admission_date\n"
GOOD = "A,007,50,M,1,3.5,1,2020-03-04,2,2020-03-01\n"


@pytest.fixture
def table(tmp_path):
    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "clinical.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def message(path: Path, sites=("A", "B")) -> str:
    with pytest.raises(TableError) as caught:
        read_clinical(path, sites)
    return str(caught.value)


def test_patient_ids_keep_their_leading_zeros(table):
    assert list(read_clinical(table(HEAD + GOOD), ["A"])["patient_id"]) == ["007"]


def test_patient_ids_of_a_parquet_stay_whole_numbers(tmp_path):
    frame = pd.DataFrame({"site": ["A", "A"], "patient_id": [7, 8], "age_years": [50.0, None], "sex": ["M", None]})
    frame["person_id"] = [12.0, None]
    frame["admission_date"] = pd.to_datetime(["2020-03-01", None])
    frame.to_parquet(tmp_path / "clinical.parquet")
    read = read_clinical(tmp_path / "clinical.parquet", ["A"])
    assert list(read["patient_id"]) == ["7", "8"]
    assert read["person_id"].iloc[0] == "12"
    assert str(read["admission_date"].iloc[0]) == "2020-03-01"


def test_a_byte_order_mark_and_korean_text_are_read(table):
    read = read_clinical(table(HEAD + GOOD.replace("A", "대구"), "utf-8-sig"), ["대구"])
    assert list(read["site"]) == ["대구"]


def test_decomposed_folder_names_are_the_same_hospital(table):
    folder = unicodedata.normalize("NFD", "대구")
    assert list(read_clinical(table(HEAD + GOOD.replace("A", "대구")), [folder])["site"]) == [folder]


def test_a_row_without_a_hospital_is_refused_with_the_cell(table):
    empty = GOOD.replace("A,", "NA,", 1)
    assert "line 3, site: empty" in message(table(HEAD + GOOD + empty))


def test_empty_cells_are_unknown_and_typed(table):
    read = read_clinical(table(HEAD + GOOD + "B,8,,,,NA,,,,\n"), ["A", "B"])
    assert read.loc[3, ["age_years", "fever", "crp_mg_l", "icu", "ct_scans"]].isna().all()
    assert read["crp_mg_l"].dtype == float


def test_features_are_numbers_without_ids_dates_endpoints_and_image_counts(table):
    read = read_clinical(table(HEAD + GOOD + "A,8,60,F,0,1,0,,1,\n"), ["A"])
    assert feature_names(read) == ["age_years", "sex", "fever", "crp_mg_l"]
    assert features(read)["sex"].tolist() == [1.0, 0.0]


def test_numbers_of_persons_are_no_features_and_that_is_said(table, caplog):
    rows = (HEAD.strip(), GOOD.strip(), GOOD.strip().replace("007", "8").replace("50", "55"))
    more = (",hospital_no,contact,ferritin_ug_l,smoker_no", ",1234,1055550123,200000,1", ",1235,1055550124,300000,0")
    with caplog.at_level(logging.WARNING):
        read = read_clinical(table("\n".join(map("".join, zip(rows, more, strict=True))) + "\n"), ["A"])
    assert {"ferritin_ug_l", "smoker_no"} <= set(feature_names(read))
    assert not {"hospital_no", "contact"} & set(read)
    assert "not used: hospital_no, contact" in caplog.text


def test_columns_of_text_are_set_aside_with_a_warning(table, caplog):
    read = read_clinical(table("site,patient_id,age_years,sex,ward\nA,1,50,M,west\n"), ["A"])
    assert "ward" not in read
    assert "ward" in caplog.text


def test_every_bad_cell_is_listed_at_once_with_line_column_and_value(table):
    said = message(table(HEAD + GOOD + "\nA,,212,Q,yes,-3,2,03/01/2020,1.5,\nZ,9,old,,,inf,,,,\n"))
    for cell in (
        "line 4, patient_id: empty",
        "line 4, age_years: '212' (allowed: a number from 0 to 120",
        "line 4, sex: 'Q' (allowed: M, F or empty",
        "line 4, fever: 'yes' (allowed: 0, 1 or empty",
        "line 4, crp_mg_l: '-3'",
        "line 4, icu: '2'",
        "line 4, icu_date: '03/01/2020' (allowed: an ISO date",
        "line 4, ct_scans: '1.5'",
        "line 5, site: 'Z' (allowed: the name of a hospital folder",
        "line 5, age_years: 'old'",
        "line 5, crp_mg_l: 'inf'",
    ):
        assert cell in said
    assert "11 bad cell(s)" in said


def test_a_cell_with_a_line_break_does_not_shift_the_line_numbers(table):
    text = 'site,patient_id,age_years,sex,note\nA,1,50,M,"two\nlines"\nA,2,500,M,x\n'
    assert "line 4, age_years: '500'" in message(table(text))


def test_a_long_list_of_bad_cells_is_cut_and_counted(table):
    said = message(table(HEAD + "".join(GOOD.replace("007", str(i)).replace(",50,", ",500,") for i in range(30))))
    assert "30 bad cell(s)" in said
    assert said.count("age_years") == 20
    assert "and 10 more" in said


def test_an_impossible_age_is_refused(table):
    assert "'-1'" in message(table(HEAD + GOOD.replace(",50,", ",-1,")))


def test_a_patient_given_twice_at_a_hospital_is_refused(table):
    said = message(table(HEAD + GOOD + GOOD))
    once = "a patient (site, patient_id) once in the table, not on lines 2 and 3"
    assert f"line 2, patient_id: '007' (allowed: {once})" in said
    assert "line 3, patient_id: '007'" in said


def test_all_lines_of_a_patient_are_named_and_of_many_the_first(table):
    other = GOOD.replace("007", "008")
    said = message(table(HEAD + GOOD + other + GOOD + other * 6))
    assert (
        "line 4, patient_id: '007' (allowed: a patient (site, patient_id) once in the table, not on lines 2 and 4)"
        in said
    )
    assert "not on lines 3, 5, 6, 7, 8 and 2 more)" in said


def test_two_hospitals_may_use_the_same_patient_id(table):
    assert len(read_clinical(table(HEAD + GOOD + GOOD.replace("A,", "B,")), ["A", "B"])) == 2


def test_an_unknown_site_is_refused_only_where_folders_are_known(table):
    path = table(HEAD + GOOD)
    assert "line 2, site: 'A'" in message(path, ["B"])
    assert len(read_clinical(path, None)) == 1


@pytest.mark.parametrize("column", ["site", "patient_id", "age_years", "sex"])
def test_a_missing_required_column_is_named(table, column):
    assert f"missing: {column};" in message(table((HEAD + GOOD).replace(column, "x")))


@pytest.mark.parametrize("name", ["\x1b[2J", "a\u202eb", "a\x9bb"])
def test_a_name_of_a_hospital_or_column_that_acts_where_it_is_read_is_refused(table, name):
    for head, row in ((HEAD.replace("crp_mg_l", f"crp{name}"), GOOD), (HEAD, GOOD.replace("A", f"A{name}", 1))):
        said = message(table(head + row), ["A", f"A{name}"])
        assert "rename it" in said
        assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize(("text", "said"), [("", "is empty"), (HEAD, "no patients"), (HEAD + "\n\n", "no patients")])
def test_an_empty_table_is_refused(table, text, said):
    assert said in message(table(text))


def test_a_table_in_the_encoding_of_korean_excel_is_refused_with_the_remedy(table):
    assert "CSV UTF-8" in message(table(HEAD + GOOD.replace("A", "대구"), "cp949"))


def test_lines_of_another_length_are_refused(table):
    assert "line 3" in message(table(HEAD + GOOD + "A,8,50\n"))


def test_a_missing_table_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_clinical(tmp_path / "clinical.csv", ["A"])


@pytest.mark.parametrize("column", ["los_days", "remdesivir", "steroids_given", "peak_crp_mg_l", "Ventilator_days"])
def test_what_names_a_treatment_or_what_came_later_is_no_feature(table, column):
    read = read_clinical(table(HEAD.replace("fever", column) + GOOD), ["A"])
    assert feature_names(read) == ["age_years", "sex", "crp_mg_l"]


def test_words_of_the_list_inside_other_words_bar_nothing(table):
    read = read_clinical(table(HEAD.replace("fever", "closed_loss") + GOOD), ["A"])
    assert "closed_loss" in feature_names(read)


def test_a_date_of_no_column_is_a_warning_since_it_guards_nothing(table, caplog):
    read_clinical(table(HEAD.replace("fever", "crp_date") + GOOD.replace(",M,1,", ",M,2020-03-02,")), ["A"])
    assert "crp_date" in caplog.text
    assert "icu_date" not in caplog.text

"""Tables as spreadsheets leave them, beside images as anonymisers leave them: told with the likely cause."""

import logging
from pathlib import Path

import pytest

from kicc_ml.cohort.doctor.report import examine
from kicc_ml.cohort.id_mismatch import find_cause_of_id, find_likely_cause, variants
from kicc_ml.cohort.patient_table import read_patients
from kicc_ml.cohort.repository import repository
from kicc_ml.cohort.table_file import TableError
from tests.support.consortium import HEAD, lines_of, write_patient, write_table

pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")

LOST = [
    ("0012345", "12345", "leading zeros were lost"),
    ("12345", "0012345", "leading zeros were lost"),
    ("12345", "12345.0", "a spreadsheet added '.0'"),
    ("0012345", "12345.0", "leading zeros were lost"),
    ("123456789012", "1.23457E+11", "a power of ten"),
    ("123456789012", "1.23457e11", "a power of ten"),
    ("ab-12", "AB-12", "capitals, blanks or dashes differ"),
]


@pytest.mark.parametrize(("of_images", "of_table", "cause"), LOST)
def test_a_number_that_a_spreadsheet_changed_is_named_as_the_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, of_images: str, of_table: str, cause: str
):
    write_patient(tmp_path, of_images)
    write_table(tmp_path, lines_of([of_table]))
    with caplog.at_level(logging.WARNING):
        repository(tmp_path)
    assert "line 2: " in caplog.text
    assert cause in caplog.text
    told = {one.code: one for one in examine(str(tmp_path)).findings}
    assert cause in told["no_row"].remedy
    assert cause in told["no_image"].remedy


@pytest.mark.parametrize(("of_images", "of_table", "cause"), LOST)
def test_prediction_says_that_no_row_was_found_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, of_images: str, of_table: str, cause: str
):
    patients = read_patients(write_table(tmp_path, lines_of([of_table])))
    with caplog.at_level(logging.WARNING):
        assert patients.of(tmp_path / "scan", of_images) == {}
    assert "no row of the scan's patient" in caplog.text
    assert cause in caplog.text
    assert of_images not in caplog.text.replace(str(tmp_path), "")


def test_a_row_that_is_found_is_no_word_worth(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    patients = read_patients(write_table(tmp_path, lines_of(["0012345"])))
    assert patients.of(tmp_path / "scan", "0012345")["age_years"] == 60
    assert caplog.text == ""


def test_strangers_get_no_cause_made_up():
    assert find_cause_of_id("77", ["12", "34"]) == ""


def test_a_table_without_rows_has_no_cause():
    import pandas as pd

    assert find_likely_cause(pd.DataFrame({"site": ["A"], "patient_id": [None]}), {"x"}, b"key") == ""


def test_every_variant_differs_from_what_is_written_or_in_nothing_but_capitals():
    assert all(cause for _, cause in variants("00x"))


SAVE = "save it as 'CSV UTF-8'"
REFUSED = {
    "CP949": ((HEAD + lines_of(["1"]) + "# 비고,,,,,,\n").encode("cp949"), rf"probably CP949; {SAVE}"),
    "UTF-16": ((HEAD + lines_of(["1"])).encode("utf-16"), rf"probably UTF-16; {SAVE}"),
    "semicolons": (HEAD.replace(",", ";").encode(), "cells are separated by ';'"),
    "capitals": (b"Site,Patient_ID,age_years,sex\n", "required column.*site, patient_id"),
    "comma": ((HEAD + 'siteA,1,60,F,2020-03-01,"12,5",0\n').encode(), r"line 2, crp_mg_l.*allowed: a number"),
    "slashes": ((HEAD + "siteA,1,60,F,2020/03/01,12.5,0\n").encode(), r"line 2, admission_date.*ISO date"),
    "day first": ((HEAD + "siteA,1,60,F,01.03.2020,12.5,0\n").encode(), r"line 2, admission_date.*ISO date"),
    "time of day": ((HEAD + "siteA,1,60,F,2020-03-01 00:00:00,1,0\n").encode(), r"line 2, admission_date.*ISO date"),
    "words": ((HEAD + "siteA,1,60,female,2020-03-01,12.5,0\n").encode(), "line 2, sex.*allowed: M, F"),
    "yes and no": ((HEAD + "siteA,1,60,F,2020-03-01,12.5,No\n").encode(), "line 2, death.*allowed: 0, 1"),
    "below a limit": ((HEAD + "siteA,1,60,F,2020-03-01,<0.5,0\n").encode(), r"line 2, crp_mg_l.*a number"),
    "twice": ((HEAD + lines_of(["1", "1"])).encode(), r"(?s)line 2, patient_id.*line 3, patient_id"),
}
SOUND = {
    "plain": (HEAD + lines_of(["1"])).encode(),
    "byte order mark and CRLF": ("\ufeff" + HEAD + lines_of(["1"])).replace("\n", "\r\n").encode(),
    "trailing commas": (HEAD + lines_of(["1"]) + ",,,,,,\n,,,,,,\n").encode(),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_table_that_cannot_be_right_is_refused_with_line_column_and_what_is_allowed(tmp_path: Path, kind: str):
    content, told = REFUSED[kind]
    with pytest.raises(TableError, match=told):
        read_patients(write_table(tmp_path, content))


@pytest.mark.parametrize("kind", SOUND)
def test_what_spreadsheets_add_without_harm_is_read(tmp_path: Path, kind: str):
    assert len(read_patients(write_table(tmp_path, SOUND[kind])).values) == 1


def test_a_patient_id_padded_with_blanks_in_the_images_finds_its_row(tmp_path: Path):
    write_patient(tmp_path, "0012345   ")
    write_table(tmp_path, lines_of(["0012345"]))
    (case,) = repository(tmp_path)
    assert case.ct is not None


@pytest.mark.parametrize("name", ["clinical.ods", "clinical.txt", "clinical.tsv"])
def test_a_table_in_another_format_is_named_with_the_remedy(tmp_path: Path, name: str):
    write_patient(tmp_path, "1")
    (tmp_path / name).write_bytes(b"PK\x03\x04 not really")
    (finding,) = [one for one in examine(str(tmp_path)).findings if one.code == "table_unreadable"]
    assert finding.sentence == f"the clinical table is {name}, and is not read"
    assert "clinical.csv" in finding.remedy


DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime")


@pytest.mark.parametrize("day", ["", "20150704", "19000101", "20290101"])
def test_days_that_an_anonymiser_removed_or_moved_are_named_as_the_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, day: str
):
    for number in range(3):
        write_patient(tmp_path, f"Q{number}", **dict.fromkeys(DATES[:4], day))
    write_table(tmp_path, lines_of(["Q0", "Q1", "Q2"]))
    with caplog.at_level(logging.WARNING):
        assert all(case.ct is None for case in repository(tmp_path))
    assert "the days of images and the dates of the table do not fit" in caplog.text
    told = {one.code: one for one in examine(str(tmp_path)).findings}
    assert told["dates_do_not_fit"].count == 3
    assert "shift both alike" in told["dates_do_not_fit"].remedy


def test_true_days_are_not_doubted_for_one_late_scan(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for number in range(3):
        write_patient(tmp_path, f"Q{number}")
    write_patient(tmp_path, "Q3", **dict.fromkeys(DATES[:4], "20200601"))
    write_table(tmp_path, lines_of(["Q0", "Q1", "Q2", "Q3"]))
    with caplog.at_level(logging.WARNING):
        repository(tmp_path)
    assert "do not fit" not in caplog.text
    assert "dates_do_not_fit" not in {one.code for one in examine(str(tmp_path)).findings}

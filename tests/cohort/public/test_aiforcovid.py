"""AIforCOVID by its layout: spellings of every release, units told by hospital, patients with and without a film."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kicc_ml.cohort.public.aiforcovid import aiforcovid
from kicc_ml.core.errors import UserError
from kicc_ml.dicom.volume.read import read_volume

REAL = Path(os.environ.get("KICC_DATA", "nowhere"))
real_data = pytest.mark.skipif(not (REAL / "aiforcovid").is_dir(), reason="KICC_DATA with aiforcovid/ needed")

#: Two hospitals of twelve, of which the second wrote CRP in mg/dL and PCT in pg/mL, and patients in a wrong spelling.
CRP = {"A": 80.0, "b": 6.0}
PCT = {"A": 0.15, "b": 150.0}


def rows(hospital: str, first: int, count: int = 12) -> pd.DataFrame:
    number = np.arange(first, first + count)
    return pd.DataFrame(
        {
            "Row_number": number,
            "ImageFile": [f"P_{one}.png" for one in number],
            "Hospital": hospital,
            "Age": 40.0 + number,
            "Sex": number % 2,
            "Positivity at admission": 1,
            "Temp_C": 37.5,
            "CRP": CRP[hospital] + number % 3,
            "PCT": PCT[hospital],
            "D-dimer": " ",
            "LDH": 300,
            "Ox_percentage": 94,
            "Chronic Kidney disease": 0,
            "RespiratoryFailure": 1,
            "Prognosis": np.where(number % 2, "SEVERE", "MILD"),
            "Death": number % 4 == 1,
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = pd.concat([rows("A", 1), rows("b", 13)], ignore_index=True)
    table["Death"] = table["Death"].astype(int)
    table = table.astype(object)
    table.loc[0, ["Prognosis", "Temp_C", "Age"]] = ["severe ", 3.75, " "]
    table.loc[1, "Prognosis"] = "unclear"
    table.loc[2, "LDH"] = 3
    table.loc[24] = table.loc[23]
    table.to_excel(tmp_path / "AIforCOVID.xlsx", index=False)
    (tmp_path / "imgs").mkdir()
    grey = np.linspace(0, 4095, 64 * 48).astype(np.uint16).reshape(64, 48)
    Image.fromarray(grey).save(tmp_path / "imgs" / "P_13.png")
    (tmp_path / "imgs" / "P_14.png").write_bytes(b"no picture")
    return tmp_path


def test_hospital_and_endpoints_come_from_the_table_and_sex_1_is_a_woman(folder: Path):
    cohort = aiforcovid(folder)
    assert Counter(case.site for case in cohort) == {"A": 12, "B": 12}
    assert [case.endpoints for case in cohort[2:4]] == [{"severe": 1.0, "death": 0.0}, {"severe": 0.0, "death": 0.0}]
    assert [case.clinical["sex"] for case in cohort[:2]] == [0.0, 1.0]
    assert cohort[0].endpoints["severe"] == 1.0


def test_units_that_a_hospital_did_not_state_are_told_by_its_median(folder: Path):
    cohort = aiforcovid(folder)
    crp = {site: np.median([case.clinical["crp_mg_l"] for case in cohort if case.site == site]) for site in "AB"}
    assert crp == {"A": 81.0, "B": 70.0}
    assert {round(case.clinical["pct_ng_ml"], 9) for case in cohort} == {0.15}
    assert cohort.flow.counts["values of crp_mg_l at B taken as mg/dL"] == 12
    assert not any("crp_mg_l at A" in what for what in cohort.flow.counts)


def test_what_cannot_be_right_is_unknown_and_counted(folder: Path):
    cohort = aiforcovid(folder)
    first, second, third = cohort[:3]
    assert np.isnan(
        [first.clinical["temperature_celsius"], first.clinical["age_years"], third.clinical["ldh_u_l"]]
    ).all()
    assert np.isnan(second.endpoints["severe"])
    assert cohort.flow.counts["values of temperature_celsius outside 30 to 43, now unknown"] == 1
    assert cohort.flow.counts["values of ldh_u_l at A outside 50 to 6000, now unknown"] == 1
    assert cohort.flow.counts["values of severe not known, now unknown"] == 1
    assert cohort.flow.excluded["the same row again"] == 1
    assert cohort.flow.rows - sum(cohort.flow.excluded.values()) == len(cohort) == 24


def test_features_are_known_on_admission_whatever_the_release_calls_them(folder: Path):
    features = set(aiforcovid(folder)[0].clinical)
    assert {"positive_at_admission", "d_dimer_ug_l", "chronic_kidney_disease", "spo2_percent"} <= features
    assert not features & {"severe", "death", "prognosis", "respiratory_failure", "row_number"}


def test_a_patient_whose_film_is_not_there_or_damaged_stays_with_the_clinical_part(folder: Path):
    cohort = aiforcovid(folder)
    with_film = [case for case in cohort if case.cxr]
    assert [(case.case_id, case.cxr.site) for case in with_film if case.cxr] == [("P_13", "B")]
    assert cohort.flow.counts["cases with no image"] == 23


def test_sixteen_bits_of_a_film_are_read_whole(folder: Path):
    (case,) = [case for case in aiforcovid(folder) if case.cxr]
    assert case.cxr is not None
    grey = read_volume(case.cxr).array
    assert len(np.unique(grey)) == 64 * 48


def test_too_few_values_of_a_hospital_do_not_tell_their_unit(folder: Path):
    table = pd.read_excel(folder / "AIforCOVID.xlsx", engine="openpyxl").astype(object)
    table.loc[table.index[9:12], "CRP"] = None
    table.to_excel(folder / "AIforCOVID.xlsx", index=False)
    cohort = aiforcovid(folder)
    assert np.isnan([case.clinical["crp_mg_l"] for case in cohort if case.site == "A"]).all()
    assert cohort.flow.counts["values of crp_mg_l at A too few to tell their unit, now unknown"] == 9


def test_both_parts_of_the_challenge_are_one_cohort_and_no_part_of_a_release_beside(folder: Path, tmp_path: Path):
    (folder / "TrainSet").mkdir()
    rows("A", 100).to_excel(folder / "TrainSet" / "trainClinData.xlsx", index=False)
    rows("A", 112).to_excel(folder / "testClinData.xlsx", index=False)
    assert len(aiforcovid(folder)) == 24
    (folder / "AIforCOVID.xlsx").unlink()
    assert {case.case_id for case in aiforcovid(folder)} == {f"P_{number}" for number in range(100, 124)}


@pytest.mark.parametrize("column", ["Hospital", "ImageFile", "Age"])
def test_a_table_without_a_column_of_every_release_is_refused_by_name(folder: Path, column: str):
    path = folder / "AIforCOVID.xlsx"
    pd.read_excel(path, engine="openpyxl").drop(columns=column).to_excel(path, index=False)
    with pytest.raises(UserError, match=rf"AIforCOVID\.xlsx: column\(s\) missing: {column}"):
        aiforcovid(folder)


def test_a_folder_without_a_table_is_told_their_names(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds none of AIforCOVID\.xlsx.*trainClinData\.xls"):
        aiforcovid(tmp_path)


@real_data
def test_the_open_hospitals_have_the_published_counts():
    cohort = aiforcovid(REAL)
    assert Counter(case.site for case in cohort) == {"A": 120, "B": 104, "C": 151, "D": 139}
    assert sum(case.endpoints["death"] for case in cohort) == 102
    assert sum(case.endpoints["severe"] for case in cohort) == 274
    assert sum(case.cxr is not None for case in cohort) == 8
    medians = {
        site: np.nanmedian([case.clinical["crp_mg_l"] for case in cohort if case.site == site]) for site in "ABCD"
    }
    assert all(40 < median < 100 for median in medians.values()), medians


@real_data
def test_a_real_film_keeps_more_than_eight_bits():
    film = next(case.cxr for case in aiforcovid(REAL) if case.cxr)
    assert len(np.unique(read_volume(film).array)) > 256

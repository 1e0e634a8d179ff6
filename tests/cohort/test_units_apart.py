"""Laboratory values of a hospital in another unit are named; hospitals that only differ are not."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.doctor.report import examine
from kicc_ml.cohort.units_apart import find_unit_mismatches
from tests.support.consortium import write_patient


def consortium(factors: dict[str, float], patients: int = 40, seed: int = 0) -> pd.DataFrame:
    """CRP of hospitals (log-normal, as it is), multiplied by what stands behind each."""
    rng = np.random.default_rng(seed)
    tables = [
        pd.DataFrame({"site": site, "crp_mg_l": factor * rng.lognormal(4, 1, patients), "cough": 1.0})
        for site, factor in factors.items()
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("factor", [0.1, 10.0, 0.001, 18.0])
def test_a_hospital_in_another_unit_is_named_with_the_factor(factor: float):
    (found,) = find_unit_mismatches(consortium({"A": 1.0, "B": 1.2, "C": factor, "D": 0.9}))
    assert (found.column, found.site, found.values) == ("crp_mg_l", "C", 40)
    assert found.factor == pytest.approx(factor, rel=0.6)


def test_two_hospitals_of_five_in_another_unit_are_both_named():
    assert {one.site for one in find_unit_mismatches(consortium(dict(A=1.0, B=0.1, C=1.0, D=0.1, E=1.0)))} == {"B", "D"}


def test_of_two_hospitals_one_is_named():
    assert len(list(find_unit_mismatches(consortium({"A": 1.0, "B": 0.1})))) == 1


def test_hospitals_whose_patients_are_twice_as_ill_are_not_named():
    named = [
        one
        for seed in range(40)
        for one in find_unit_mismatches(consortium(dict(A=1.0, B=2.0, C=0.5, D=1.0, E=1.5), patients=25, seed=seed))
    ]
    assert len(named) <= 2  # of 200 hospitals


def test_few_values_and_one_hospital_say_nothing():
    assert not list(find_unit_mismatches(consortium({"A": 1.0, "B": 0.01}, patients=9)))
    assert not list(find_unit_mismatches(consortium({"A": 1.0})))


def test_the_doctor_names_hospital_column_and_remedy(tmp_path: Path):
    table = consortium({"siteA": 1.0, "siteB": 1.0, "siteC": 0.1}).drop(columns="cough")
    table = table.assign(patient_id=range(len(table)), age_years=60, sex="F")
    table.to_csv(tmp_path / "clinical.csv", index=False)
    write_patient(tmp_path, "1")
    (finding,) = [one for one in examine(str(tmp_path)).findings if one.code == "units_apart"]
    assert "crp_mg_l: the values of siteC are about 0." in finding.sentence
    assert "columns.yaml" in finding.remedy


def test_the_doctor_examines_a_folder_of_a_table_alone(tmp_path: Path):
    table = consortium({"siteA": 1.0, "siteB": 1.0, "siteC": 0.1})
    table.assign(patient_id=range(len(table)), age_years=60, sex="F").to_csv(tmp_path / "clinical.csv", index=False)
    assert [one.code for one in examine(str(tmp_path)).findings if one.severity != "note"] == ["units_apart"]


@pytest.mark.skipif(
    not (Path(os.environ.get("KICC_DATA", "nowhere")) / "aiforcovid").is_dir(),
    reason="KICC_DATA with aiforcovid/ needed",
)
def test_real_hospitals_that_wrote_other_units_are_found_and_no_other():
    table = pd.read_excel(Path(os.environ["KICC_DATA"]) / "aiforcovid" / "AIforCOVID.xlsx", engine="openpyxl")
    names = {"CRP": "crp_mg_l", "PCT": "pct_ng_ml", "LDH": "ldh_u_l", "WBC": "wbc_1e9_l", "Glucose": "glucose_mg_dl"}
    table = table.rename(columns={"Hospital": "site", **names})[["site", *names.values()]]
    found = {(one.column, one.site) for one in find_unit_mismatches(table)}
    assert ("pct_ng_ml", "B") in found or ("pct_ng_ml", "C") in found
    assert {site for column, site in found if column == "crp_mg_l"} <= {"A", "B", "C", "D"}
    assert not {column for column, _ in found} - {"crp_mg_l", "pct_ng_ml"}

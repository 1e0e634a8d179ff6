"""The row of a scan's patient, by the ID as the hospital writes it."""

from math import isnan
from pathlib import Path

import pytest

from kicc_ml.cohort.patient_table import read_patients
from kicc_ml.core.errors import UserError

TABLE = """site,patient_id,age_years,sex,admission_date,crp_mg_l,crp_mg_l_date,death
seoul,007,61,M,2020-03-01,80,2020-03-02,0
seoul,008,40,F,2020-03-01,90,2020-04-20,0
busan,007,75,F,,12,,1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "clinical.csv").write_text(TABLE)
    return tmp_path / "clinical.csv"


def test_a_row_is_found_by_id_alone_and_by_site_where_two_have_it(path: Path):
    patients = read_patients(path)
    assert patients.of(Path("in/scan/1.dcm"), "008")["age_years"] == 40
    assert patients.of(Path("in/elsewhere/scan/1.dcm"), "008")["age_years"] == 40
    assert (
        patients.of(Path("in/seoul/scan/1.dcm"), "007")["age_years"],
        patients.of(Path("in/busan/scan/1.dcm"), "007")["age_years"],
    ) == (61, 75)


def test_an_id_at_two_sites_is_refused_without_the_site_and_is_not_printed(path: Path):
    with pytest.raises(UserError, match="at 2 sites") as error:
        read_patients(path).of(Path("in/scan/1.dcm"), "007")
    assert "007" not in str(error.value)


def test_a_patient_who_is_not_there_has_no_values_and_endpoints_are_none(path: Path):
    assert read_patients(path).of(Path("in/seoul/scan/1.dcm"), "7") == {}
    assert "death" not in read_patients(path).of(Path("in/seoul/scan/1.dcm"), "007")


def test_a_value_dated_after_the_days_around_admission_is_unknown(path: Path):
    patients = read_patients(path)
    assert patients.of(Path("in/seoul/scan/1.dcm"), "007")["crp_mg_l"] == 80
    assert isnan(patients.of(Path("in/seoul/scan/1.dcm"), "008")["crp_mg_l"])

"""A consortium without images, or with images of some hospitals only; endpoints by their own names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.repository import repository
from kicc_ml.cohort.table_file import TableError
from kicc_ml.core.errors import UserError
from tests.support.consortium import write_patient


def rows(site: str, count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "site": site,
            "patient_id": [f"{number:03d}" for number in range(count)],
            "age_years": 50,
            "sex": "F",
            "admission_date": "2020-03-01",
            "crp_mg_l": 10.0,
            "niv_or_death": 1,
            "niv_or_death_date": "2020-02-28",
            "severe": 0,
        }
    )


@pytest.mark.parametrize("name", ["clinical.csv", "clinical.xlsx", "clinical.parquet"])
def test_a_table_without_any_image_gives_clinical_cases_whatever_it_is_written_as(tmp_path: Path, name: str):
    table = pd.concat([rows("Seoul", 6), rows("Daegu", 3)])
    write = {"csv": table.to_csv, "xlsx": table.to_excel, "parquet": table.to_parquet}[name.partition(".")[2]]
    write(tmp_path / name, index=False)
    cases = repository(tmp_path)
    assert [case.site for case in cases] == ["Seoul"] * 6 + ["Daegu"] * 3
    assert all(case.ct is None and case.clinical["crp_mg_l"] == 10 for case in cases)
    assert not list(tmp_path.glob(".kicc*"))


def test_a_hospital_without_a_folder_stays_with_its_table_beside_one_with_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    pd.concat([rows("siteA", 3), rows("siteB", 6)]).drop(columns="niv_or_death_date").to_csv(
        tmp_path / "clinical.csv", index=False
    )
    write_patient(tmp_path, "001")
    cases = repository(tmp_path)
    assert [(case.site, case.ct is not None) for case in cases if case.ct] == [("siteA", True)]
    assert len(cases) == 9
    assert "hospitals without a folder of images, of which the table alone is used: siteB" in caplog.text


@pytest.mark.parametrize(("site", "patients"), [("siteAA", 1), ("siteAA", 4)])
def test_few_patients_of_a_site_without_a_folder_are_a_misspelling(tmp_path: Path, site: str, patients: int):
    pd.concat([rows("siteA", 3), rows(site, patients)]).to_csv(tmp_path / "clinical.csv", index=False)
    write_patient(tmp_path, "001")
    with pytest.raises(TableError, match=r"line 5, site: 'siteAA' \(allowed: the name of a hospital folder"):
        repository(tmp_path)


def test_a_whole_hospital_that_is_spelt_otherwise_than_its_folder_is_refused(tmp_path: Path):
    pd.concat([rows("siteA", 9), rows("Seul", 9)]).to_csv(tmp_path / "clinical.csv", index=False)
    write_patient(tmp_path, "001")
    write_patient(tmp_path, "001", site="Seoul")
    with pytest.raises(TableError, match="9 bad cell"):
        repository(tmp_path)


def test_an_endpoint_by_its_own_name_is_learnt_is_no_feature_and_guards_images(tmp_path: Path):
    rows("siteA", 3).to_csv(tmp_path / "clinical.csv", index=False)
    write_patient(tmp_path, "001")
    cases = repository(tmp_path, endpoints=["niv_or_death"])
    assert cases[1].endpoints["niv_or_death"] == 1.0
    assert np.isnan(cases[1].endpoints["icu"])
    assert set(cases[1].clinical) == {"age_years", "sex", "crp_mg_l"}
    assert cases[1].ct is None  # taken on the day after
    assert repository(tmp_path, endpoints=["niv_or_death"], guard_endpoints=[])[1].ct is not None


def test_a_severe_course_is_an_endpoint_unasked_and_never_a_feature(tmp_path: Path):
    rows("siteA", 3).to_csv(tmp_path / "clinical.csv", index=False)
    write_patient(tmp_path, "001")
    case = repository(tmp_path)[0]
    assert case.endpoints["severe"] == 0.0
    assert "severe" not in case.clinical


def test_composites_may_be_of_a_consortiums_own_endpoints(tmp_path: Path):
    rows("siteA", 3).to_csv(tmp_path / "clinical.csv", index=False)
    cases = repository(tmp_path, endpoints=["niv_or_death"], composites={"bad": ["niv_or_death", "severe"]})
    assert cases[0].endpoints["bad"] == 1.0


def test_an_endpoint_without_a_column_is_refused_by_name(tmp_path: Path):
    rows("siteA", 3).to_csv(tmp_path / "clinical.csv", index=False)
    with pytest.raises(UserError, match=r"has no column ecmo, which cohort\.endpoints names"):
        repository(tmp_path, endpoints=["ecmo"])


def test_a_folder_with_neither_hospitals_nor_a_table_is_told_the_layout(tmp_path: Path):
    with pytest.raises(UserError, match="holds no hospital folders; lay down one folder"):
        repository(tmp_path)

"""NCCID by its layout: JSON of each patient, the latest of positives; negatives are no cases."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.cohort.public.nccid import nccid
from kicc_ml.core.errors import UserError
from tests.support.consortium import write_patient

PATIENT = {
    "Pseudonym": "Covid1",
    "SubmittingCentre": "Royal Example Hospital",
    "Sex": "1",
    "Age": 71,
    "CRP on admission": "133",
    "Lymphocyte count on admission": 0.8,
    "Platelet count on admission": "",
    "O2 saturation": 9,
    "FiO2": 21.0,
    "CXR severity": "3",
    "ITU admission": "1",
    "Date of ITU admission": "04/13/2020",
    "Intubation": 0,
    "Death": "No",
    "Date of death": None,
}


def lay(root: Path, patient: str, name: str, **changes: object) -> None:
    folder = root / "training" / "data" / patient
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(PATIENT | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lay(tmp_path, "Covid1", "data_2020-05-01.json", Death="1")
    lay(tmp_path, "Covid1", "data_2020-06-01.json")
    lay(tmp_path, "Covid2", "data_2020-06-01.json", Sex="0", SubmittingCentre="Other", Death="1", Age=None)
    lay(tmp_path, "Covid3", "status_2020-06-01.json")
    return tmp_path


def test_the_latest_data_of_a_patient_count_and_the_centre_is_the_site(folder: Path):
    first, second = nccid(folder)
    assert (first.case_id, first.site, second.site) == ("Covid1", "Royal Example Hospital", "Other")
    assert first.endpoints == {"ventilation": 0.0, "icu": 1.0, "death": 0.0}
    assert second.endpoints["death"] == 1.0
    assert (first.clinical["sex"], second.clinical["sex"]) == (1.0, 0.0)
    assert (first.clinical["crp_mg_l"], first.clinical["fio2_percent"]) == (133.0, 21.0)
    assert np.isnan([first.clinical["platelet_1e9_l"], second.clinical["age_years"]]).all()


def test_negatives_are_no_cases_and_impossible_values_are_unknown(folder: Path):
    cohort = nccid(folder)
    assert cohort.flow.excluded["COVID-19 not confirmed"] == 1
    assert np.isnan(cohort[0].clinical["spo2_percent"])
    assert cohort.flow.counts["values of spo2_percent outside 30 to 100, now unknown"] == 2
    assert not [name for name in cohort[0].clinical if "severity" in name or "death" in name]


@pytest.mark.parametrize(("day", "used"), [(date(2020, 4, 12), True), (date(2020, 4, 14), False)])
def test_a_scan_after_admission_to_intensive_care_is_not_used(folder: Path, day: date, used: bool):
    stated = f"{day:%Y%m%d}"
    write_patient(
        folder / "training" / "ct", "anonymous", "Covid1", StudyDate=stated, SeriesDate=stated, AcquisitionDate=stated
    )
    cohort = nccid(folder)
    assert [case.ct is not None for case in cohort] == [used, False]


def test_a_damaged_file_and_a_folder_without_patients_are_one_sentence(folder: Path, tmp_path: Path):
    (folder / "training" / "data" / "Covid2" / "data_2020-07-01.json").write_text("{")
    with pytest.raises(UserError, match=r"data_2020-07-01\.json cannot be read"):
        nccid(folder)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="holds no folder data"):
        nccid(tmp_path / "other")

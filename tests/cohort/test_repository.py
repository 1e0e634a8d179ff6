"""From a repository and its table to cases."""

import logging
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.cohort import repository as cohort
from kicc_ml.cohort.clinical_table import read_clinical
from kicc_ml.cohort.index_image import IndexRule
from kicc_ml.cohort.mask_folders import mask_folders
from kicc_ml.cohort.persons import PersonConflictError
from kicc_ml.cohort.repository import NoHospitalsError, add_composites, hospitals, join, repository
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_bytes
from kicc_ml.core.path_names import find_name_fault
from kicc_ml.core.pseudonym import KEY_NAME, make_pseudonym
from kicc_ml.core.types import Case, Series

KEY = b"a key"
TABLE = """site,patient_id,person_id,age_years,sex,admission_date,fever,icu,icu_date
A,1,x,50,M,2020-03-01,1,1,2020-03-05
A,2,,60,F,,,0,
B,1,y,70,,2020-03-01,0,,
"""


def image(site: str, patient_id: str, modality: str = "CT", day: int = 2, **changes) -> Series:
    name = f"{site}{patient_id}{modality}{day}"
    plain = Series(
        site=site, patient=make_pseudonym(KEY, site, patient_id), study=name, uid=name, modality=modality,
        files=(Path(name),), rows=4, columns=4, slices=20 if modality == "CT" else 1,
        spacing_mm=(1.0, 1.0, 5.0), units="hu", verdict="usable", acquired=datetime(2020, 3, day, 9),
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.fixture
def joined(tmp_path):
    def run(series, text=TABLE, masks=None, policy="refuse"):
        (tmp_path / "clinical.csv").write_text(text)
        table = read_clinical(tmp_path / "clinical.csv", ["A", "B"])
        return join(table, series, KEY, IndexRule(), masks or {}, policy)

    return run


def test_rows_meet_the_images_of_their_patient(joined):
    series = [image("A", "1"), image("A", "1", "CXR"), image("B", "1", "CXR")]
    (one, two, other), flow = joined(series)
    assert (one.ct, one.cxr) == tuple(series[:2])
    assert (two.ct, two.cxr) == (None, None)
    assert (other.ct, other.cxr) == (None, series[2])
    assert (flow.rows, flow.cases) == (3, 3)
    assert flow.counts["cases with CT and CXR"] == 1
    assert flow.counts["cases with no image"] == 1


def test_clinical_values_and_endpoints_are_numbers_with_nan_for_unknown(joined):
    (one, two, other), _ = joined([])
    assert dict(one.clinical) == {"age_years": 50, "sex": 1, "fever": 1}
    assert two.clinical["fever"] != two.clinical["fever"]  # NaN
    assert other.clinical["sex"] != other.clinical["sex"]
    assert one.endpoints["icu"] == 1
    assert two.endpoints["icu"] == 0
    assert other.endpoints["icu"] != other.endpoints["icu"]
    assert one.endpoints["death"] != one.endpoints["death"]  # no such column
    assert set(one.endpoints) == {"oxygen", "ventilation", "icu", "death"}


def test_case_ids_name_the_site_and_hide_the_patient(joined):
    cases, _ = joined([], TABLE.replace("A,2", "B,002"))
    assert all(re.fullmatch(r"[AB]_[0-9a-f]{12}", case.case_id) for case in cases)
    assert cohort.make_case_id("대구 1", "0a") == "---1_0a"
    assert not find_name_fault(cohort.make_case_id("x" * 255, "0123456789ab"))


def test_images_without_a_row_are_a_warning_with_a_count(joined, caplog):
    cases, flow = joined([image("A", "9"), image("B", "7", "CXR"), image("A", "1")])
    assert "2 series belong to no row of the clinical table and are not used: A 1, B 1" in caplog.text
    assert flow.counts["series without a row of the table"] == 2
    assert len(cases) == 3


def test_refused_series_are_never_an_index_image(joined):
    cases, flow = joined([image("A", "1", verdict="refused", reasons=("gap",))])
    assert cases[0].ct is None
    assert flow.counts["series refused by the index"] == 1


def test_an_image_after_the_endpoint_is_not_used(joined):
    cases, flow = joined([image("A", "1", day=6)])
    assert cases[0].ct is None
    assert flow.counts["CT series not used: taken after an endpoint"] == 1


PLANTED = """site,patient_id,age_years,sex,admission_date,fever,crp_mg_l,crp_mg_l_date,icu,icu_date,dexamethasone
A,1,50,M,2020-03-01,1,300,2020-03-06,1,2020-03-05,1
A,2,60,F,2020-03-01,0,20,2020-03-04,1,2020-03-05,0
B,1,70,M,2020-03-01,0,5,2020-03-02,0,,0
"""


def test_a_planted_value_of_after_the_endpoint_is_stopped_and_counted(joined):
    cases, flow = joined([], PLANTED)
    assert [case.clinical["crp_mg_l"] for case in cases[1:]] == [20, 5]
    assert cases[0].clinical["crp_mg_l"] != cases[0].clinical["crp_mg_l"]  # NaN
    assert flow.counts["values of crp_mg_l not used: dated after an endpoint"] == 1


def test_a_planted_treatment_is_no_feature_and_named(joined, caplog):
    cases, flow = joined([], PLANTED)
    assert set(cases[0].clinical) == {"age_years", "sex", "fever", "crp_mg_l"}
    assert "dexamethasone" in caplog.text
    assert flow.counts["columns not used: a treatment, or what came later"] == 1


@pytest.mark.parametrize(
    ("icu", "death", "either"), [(1, 0, 1), (1, np.nan, 1), (0, 0, 0), (0, np.nan, np.nan), (np.nan, np.nan, np.nan)]
)
def test_a_composite_is_met_by_any_part_and_known_absent_by_all(icu: float, death: float, either: float):
    case = Case("a", "s", "p", endpoints={"icu": float(icu), "death": float(death)})
    found = add_composites(case, {"icu_or_death": ("icu", "death")}).endpoints
    np.testing.assert_array_equal(found["icu_or_death"], either)
    assert set(found) == {"icu", "death", "icu_or_death"}


def test_a_composite_of_what_is_no_endpoint_is_refused():
    with pytest.raises(UserError, match="pneumonia"):
        add_composites(Case("a", "s", "p"), {"severe": ("icu", "pneumonia")})


def test_masks_follow_the_series_they_belong_to(joined, tmp_path):
    folder = tmp_path / "masks" / "1.2.3"
    folder.mkdir(parents=True)
    (folder / "ground_glass.nii.gz").touch()
    (folder / "thumbs.db").touch()
    masks = mask_folders(tmp_path, KEY)
    cases, _ = joined([image("A", "1", uid=make_pseudonym(KEY, "1.2.3")), image("A", "2")], masks=masks)
    assert cases[0].masks == {"ground_glass": folder / "ground_glass.nii.gz"}
    assert cases[1].masks == {}


def test_the_same_patient_id_at_two_hospitals_is_two_people(joined):
    cases, _ = joined([])
    assert len({case.person for case in cases}) == 3


def test_one_person_at_two_hospitals_is_refused_under_pseudonyms(joined):
    with pytest.raises(PersonConflictError) as caught:
        joined([], TABLE.replace("B,1,y", "B,secret,x"))
    assert "secret" not in str(caught.value)
    assert f"A_{make_pseudonym(KEY, 'A', '1')}, B_{make_pseudonym(KEY, 'B', 'secret')}" in str(caught.value)


def test_one_person_at_two_hospitals_can_be_dropped_from_the_later(joined):
    cases, flow = joined([], TABLE.replace("B,1,y,70,,2020-03-01", "B,1,x,70,,2020-02-01"), policy="drop")
    assert [case.site for case in cases] == ["A", "B"]
    assert flow.excluded["the person is a patient of another hospital"] == 1


def test_a_study_filed_at_two_hospitals_reveals_the_person(joined):
    with pytest.raises(PersonConflictError):
        joined([image("A", "2"), image("B", "1", study=image("A", "2").study)])


def test_identical_pixels_at_two_hospitals_reveal_the_person(joined, monkeypatch):
    class Read:
        def __init__(self, path):
            self.stored = np.eye(4) if "CT" in path.name else np.zeros((4, 4))

    monkeypatch.setattr(cohort, "read_image", Read)
    joined([image("A", "2", "CXR"), image("B", "1", "CXR")])  # blank images reveal nobody
    with pytest.raises(PersonConflictError):
        joined([image("A", "2"), image("B", "1")])


def test_two_ids_of_one_person_at_a_hospital_stay_together(joined):
    cases, _ = joined([], TABLE.replace("A,2,", "A,2,x"))
    assert cases[0].person == cases[1].person != cases[2].person


def test_a_repository_is_read_from_its_folders(tmp_path, caplog):
    write_bytes(tmp_path / KEY_NAME, b"0123456789abcdef" * 4, private=True)
    (tmp_path / "clinical.csv").write_text(TABLE)
    for name in ("A", "B", "masks", "truth", ".trash"):
        (tmp_path / name).mkdir()
    assert hospitals(tmp_path) == ["A", "B"]
    with caplog.at_level(logging.INFO):
        cases = repository(str(tmp_path), ct_window_days=[0, 3], cxr_window_days=None)
    assert [case.site for case in cases] == ["A", "A", "B"]
    assert cases.flow.as_json()["counts"]["cases with no image"] == 3
    assert "no patient of the table has a usable image" in caplog.text
    assert "cohort: 3 rows of the table, 3 cases" in caplog.text


def test_an_empty_folder_is_refused_with_the_layout(tmp_path):
    with pytest.raises(NoHospitalsError, match="one folder of DICOM files per hospital"):
        repository(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cohort\.root=DIR"):
        repository(tmp_path / "nowhere")


def test_hospitals_without_a_table_are_refused(tmp_path):
    (tmp_path / "A").mkdir()
    with pytest.raises(UserError, match=r"clinical\.csv does not exist"):
        repository(tmp_path)

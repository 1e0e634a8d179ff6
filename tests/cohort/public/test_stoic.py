"""STOIC2021 by its layout: a course that is unknown without COVID-19, age and sex in the header of the CT."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from sklearn.metrics import roc_auc_score

from kicc_ml.cohort.public.stoic import stoic
from kicc_ml.core.errors import UserError
from kicc_ml.dicom.series.mha_file import read_mha_header
from kicc_ml.dicom.volume.read import read_volume

REAL = Path(os.environ.get("KICC_DATA", "nowhere"))
real_data = pytest.mark.skipif(
    not (REAL / "clinical" / "stoic_reference_age_sex.csv").is_file(),
    reason="KICC_DATA with clinical/stoic_reference_age_sex.csv needed",
)


def write_scan(path: Path, age: str, sex: str) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    hu_zyx = np.random.default_rng(0).integers(-2000, 400, (5, 6, 7)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(hu_zyx)
    image.SetSpacing((0.7, 0.8, 1.5))
    image.SetOrigin((-100.0, -90.0, 30.0))
    image.SetMetaData("PatientAge", age)
    image.SetMetaData("PatientSex", sex)
    SimpleITK.WriteImage(image, str(path))
    return hu_zyx


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "stoic2021-training"
    (root / "metadata").mkdir(parents=True)
    rows = "PatientID,probCOVID,probSevere\n8622,1,0\n7,1,1\n9,0,0\n11,1,0\n"
    (root / "metadata" / "reference.csv").write_text(rows)
    write_scan(root / "data" / "mha" / "8622.mha", "055Y", "F")
    write_scan(root / "data" / "mha" / "7.mha", "085Y", "M")
    (root / "data" / "mha" / "11.mha").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    return tmp_path


def test_age_and_sex_are_those_of_the_header_of_the_ct(folder: Path):
    found = {case.case_id: case.clinical for case in stoic(folder)}
    assert found["stoic_8622"] == {"age_years": 55.0, "sex": 0.0}
    assert found["stoic_7"] == {"age_years": 85.0, "sex": 1.0}
    assert np.isnan(list(found["stoic_9"].values())).all()


def test_without_covid_the_course_is_unknown_and_no_mild_one(folder: Path):
    cohort = stoic(folder)
    severe = {case.case_id: case.endpoints["severe"] for case in cohort}
    assert (severe["stoic_8622"], severe["stoic_7"], severe["stoic_11"]) == (0.0, 1.0, 0.0)
    assert np.isnan(severe["stoic_9"])
    assert cohort.flow.counts["cases without COVID-19, severe course unknown"] == 1


def test_a_scan_is_read_in_hu_at_its_place_and_a_pointer_in_place_of_one_is_refused(folder: Path):
    cases = {case.case_id: case for case in stoic(folder)}
    scan = cases["stoic_7"].ct
    assert scan is not None
    volume = read_volume(scan)
    expected = write_scan(folder / "again.mha", "085Y", "M").clip(-1024, None).transpose(2, 1, 0)
    np.testing.assert_array_equal(volume.array, expected)
    np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 1.5))
    np.testing.assert_allclose(volume.affine_ras[:3, 3], (100.0, 90.0, 30.0))  # LPS to RAS
    assert scan.spacing_mm == pytest.approx((0.7, 0.8, 1.5))
    pointer = cases["stoic_11"].ct
    assert pointer is not None
    assert pointer.reasons == ("unreadable",)


def test_a_header_that_names_another_file_is_none(tmp_path: Path):
    (tmp_path / "x.mha").write_text("ObjectType = Image\nDimSize = 1 1 1\nElementDataFile = /etc/passwd\n")
    assert read_mha_header(tmp_path / "x.mha") == {}


def test_a_table_of_another_set_is_refused(folder: Path):
    (folder / "stoic2021-training" / "metadata" / "reference.csv").write_text("PatientID,severe\n1,0\n")
    with pytest.raises(UserError, match=r"column\(s\) missing: probCOVID, probSevere"):
        stoic(folder)


@real_data
def test_the_open_half_has_its_counts_and_age_the_published_auc():
    cohort = stoic(REAL)
    known = [case for case in cohort if not np.isnan(case.endpoints["severe"])]
    assert (len(cohort), len(known)) == (1000, 607)
    severe = [case.endpoints["severe"] for case in known]
    assert sum(severe) == 154
    auc = roc_auc_score(severe, [case.clinical["age_years"] for case in known])
    assert auc == pytest.approx(0.634, abs=0.05)  # of all 1,205

"""A tag that breaks the rules of its kind costs itself: objects are written without it, and no warning quotes it."""

import logging
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.clinic.new_scan import NewScanPipeline
from kicc_ml.cohort.doctor.report import examine
from kicc_ml.core.errors import TargetError
from kicc_ml.dicom.header.stated_tags import OPTIONAL, TYPE_2, find_faulty_tags
from tests.support.phantom_files import write_image
from tests.support.predicted_scan import MODEL, NOTHING, film, predicted

OBJECTS = {"segmentation.dcm", "report.dcm", "picture.dcm", "summary.dcm"}
LONG = "SECRET_Patient_2207674320132130077_" * 3


def element(keyword: str, value: str) -> DataElement:
    return DataElement(keyword, dictionary_VR(keyword), value, validation_mode=IGNORE)


FAULTY = [
    ("PatientSex", "U"),
    ("PatientSex", "SECRET"),
    ("PatientBirthDate", "1960"),
    ("PatientBirthDate", "20200231"),
    ("PatientBirthDate", "1951-07-13"),
    ("StudyID", "SECRET7890123456789"),
    ("AccessionNumber", "SECRET-2020-000000000001234567"),
    ("PatientID", LONG),
    ("PatientName", "SECRET=b=c=d"),
    ("StudyDate", "2020-03-01"),
    ("StudyTime", "25:99"),
    ("StudyTime", "SECRET"),
    ("PatientAge", "58"),
    ("ReferringPhysicianName", "SECRET" * 20),
    ("StudyDescription", "SECRET " * 20),
    ("SeriesDescription", "SECRET " * 20),
    ("InstitutionName", "SECRET " * 20),
    ("BodyPartExamined", "Chest, as SECRET said to them"),
    ("PatientComments", "SECRET" * 3000),
]


def objects_of(folder: Path) -> dict[str, Dataset]:
    return {path.name: pydicom.dcmread(path) for path in (folder / "dicom").iterdir()}


def together() -> list[dict[str, str]]:
    """The faulty values, as few files as hold them all: one value of each keyword in a file."""
    files: list[dict[str, str]] = []
    for keyword, value in FAULTY:
        file = next((one for one in files if keyword not in one), None)
        if file is None:
            files.append(file := {})
        file[keyword] = value
    return files


@pytest.mark.parametrize("faulty", together())
def test_objects_are_written_without_what_cannot_be_stated(tmp_path: Path, faulty: dict[str, str], capfd, caplog):
    caplog.set_level(logging.DEBUG)
    stated = {"PatientID": "A-17", "PatientName": "Hong^Gildong"}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        tags = {keyword: element(keyword, value) for keyword, value in faulty.items()}
        series, result = predicted(tmp_path, **stated | tags)
        warned.clear()  # what the writer of this test's files said
        clinic = NewScanPipeline(NOTHING, MODEL, dicom=True)
        clinic(series, result, tmp_path / "out" / "seoul_1")
    assert not clinic.without_objects
    written = objects_of(tmp_path / "out" / "seoul_1")
    assert set(written) >= OBJECTS
    for one in written.values():
        assert "SECRET" not in str(one)
        assert {name: one.get(name) for name in faulty if name in TYPE_2 and one.get(name)} == {}
        kept = {name: value for name, value in stated.items() if name not in faulty}
        assert {name: str(one[name].value) for name in kept} == kept
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one.decode()
    said = [*(str(one.message) for one in warned), *capfd.readouterr(), caplog.text]
    assert not [line for line in said if "SECRET" in line or "Gildong" in line]


def test_tags_that_are_not_there_are_left_empty(tmp_path: Path):
    missing = ("StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyTime", "PatientBirthDate", "PatientSex")
    series, result = predicted(tmp_path, **dict.fromkeys(missing), FrameOfReferenceUID=None)
    NewScanPipeline(NOTHING, MODEL, dicom=True)(series, result, tmp_path / "out" / "seoul_1")
    for one in objects_of(tmp_path / "out" / "seoul_1").values():
        assert {name: one.get(name) for name in missing if one.get(name)} == {}


def test_values_that_can_be_stated_stay(tmp_path: Path):
    tags = {"PatientName": "Single_Component", "PatientSex": "O", "PatientBirthDate": "19600101", "StudyID": "1" * 16}
    series, result = predicted(tmp_path, **tags)
    NewScanPipeline(NOTHING, MODEL, dicom=True)(series, result, tmp_path / "out" / "seoul_1")
    for one in objects_of(tmp_path / "out" / "seoul_1").values():
        assert {name: str(one[name].value) for name in tags} == tags


def test_a_radiograph_with_a_faulty_tag_gets_its_report(tmp_path: Path):
    series, result = film(tmp_path)
    dataset = pydicom.dcmread(series.files[0])
    dataset.add(element("PatientSex", "U"))
    dataset.save_as(series.files[0])
    NewScanPipeline(NOTHING, MODEL, dicom=True)(series, result, tmp_path / "out" / "film")
    assert {one.get("PatientSex") for one in objects_of(tmp_path / "out" / "film").values()} <= {"", None}


def test_a_patient_is_not_lost_when_no_object_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise ValueError(f"what is this: {tmp_path / 'SECRET'}")

    monkeypatch.setattr("kicc_ml.clinic.new_scan.write_dicom_results", refuse)
    series, result = predicted(tmp_path)
    clinic = NewScanPipeline(NOTHING, MODEL, dicom=True)
    clinic(series, result, tmp_path / "out" / "seoul_1")
    assert (tmp_path / "out" / "seoul_1" / "page.html").is_file()
    assert list(clinic.without_objects) == ["seoul_1"]


def test_a_full_disk_is_not_taken_for_a_faulty_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise TargetError("no space left")

    monkeypatch.setattr("kicc_ml.clinic.new_scan.write_dicom_results", refuse)
    series, result = predicted(tmp_path)
    with pytest.raises(TargetError):
        NewScanPipeline(NOTHING, MODEL, dicom=True)(series, result, tmp_path / "out" / "seoul_1")


@pytest.mark.usefixtures("cache_in_a_temporary_folder")
def test_the_doctor_names_faulty_tags_and_not_what_they_hold(tmp_path: Path):
    predicted(tmp_path, PatientSex=element("PatientSex", "U"), PatientID=element("PatientID", LONG))
    (finding,) = [one for one in examine(str(tmp_path)).findings if one.code == "faulty_tag"]
    assert (finding.severity, finding.count) == ("should mend", 1)
    assert "PatientID, PatientSex" in finding.sentence
    said = CliRunner().invoke(app, ["doctor", str(tmp_path), "--json"]).output
    assert "SECRET" not in said


@pytest.mark.parametrize(("keyword", "value"), [one for one in FAULTY if one[0] in (*TYPE_2, *OPTIONAL)])
def test_what_is_left_empty_is_what_the_doctor_names(tmp_path: Path, keyword: str, value: str):
    path = write_image(tmp_path / "one", np.zeros((4, 4), np.uint16), **{keyword: element(keyword, value)})
    assert find_faulty_tags(path) == [keyword]

"""The report is the root of the results: it refers to all of them, and what it measures is told again over studies."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.results.write import write_objects
from tests.support.ball_findings import find_balls
from tests.support.phantom_files import write_series
from tests.support.phantoms import AXIAL, CENTRE_MM, Grid, even_mm
from tests.support.structured_reports import code_of, items

#: z of the middle of the lesion, in mm from the middle of the phantom.
LESION_MM = -8.0


def write_study(folder: Path, study: str, patient: str = "5f2c91a07b3e", model: str = "ab" * 32) -> dict[str, Dataset]:
    """The objects of a study of a patient, by file name."""
    write_series(folder / study / "scan", Grid(even_mm(), AXIAL), StudyInstanceUID=study, PatientID="A-17")
    series, findings = find_balls(folder / study / "scan")
    source = PredictionSource(series, model, "0.1.0", patient=patient)
    write_objects(source, findings, folder / study / model[:4] / "out")
    return {path.stem: pydicom.dcmread(path) for path in (folder / study / model[:4] / "out").iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, Dataset]:
    return write_study(folder, "1.2.1")


def list_tracked(made: dict[str, Dataset]) -> dict[str, str]:
    """Tracking UID by identifier, of all groups of the report."""
    found = {}
    for group in items(made["report"], "125007"):
        values = {code_of(item): item for item in group.ContentSequence}
        found[values["112039"].TextValue] = values["112040"].UID
    return found


def list_shown(made: dict[str, Dataset], code: str) -> list[str]:
    """The SOP instance UIDs of the images that a group of the report refers to by a code."""
    found = [item for group in items(made["report"], "125007") for item in items(group, code)]
    return [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in found]


def test_the_report_refers_to_segmentation_map_and_picture_and_has_them_as_evidence(made: dict[str, Dataset]):
    uids = {name: one.SOPInstanceUID for name, one in made.items()}
    assert sorted(list_shown(made, "130401")) == sorted([uids["map"], uids["picture"]])
    assert set(list_shown(made, "121191")) == {uids["segmentation"]}
    evidence = {
        one.ReferencedSOPInstanceUID
        for study in made["report"].CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert {uids[name] for name in ("segmentation", "map", "picture")} <= evidence


def test_the_key_image_is_the_slice_through_the_middle_of_the_lesion(made: dict[str, Dataset], folder: Path):
    slices = [pydicom.dcmread(path) for path in (folder / "1.2.1" / "scan").iterdir()]
    (key,) = list_shown(made, "121080")
    heights = {one.SOPInstanceUID: float(one.ImagePositionPatient[2]) for one in slices}
    wanted = CENTRE_MM[2] + LESION_MM
    assert abs(heights[key] - wanted) == min(abs(height - wanted) for height in heights.values())


def test_without_a_lesion_there_is_no_key_image(tmp_path: Path):
    write_series(tmp_path / "scan", Grid(even_mm(), AXIAL))
    series, findings = find_balls(tmp_path / "scan")
    none = np.zeros_like(findings.masks["lesion"])
    findings = replace(findings, masks=findings.masks | {"lesion": none, "consolidation": none})
    paths = write_objects(PredictionSource(series, "ab" * 32, ""), findings, tmp_path / "out")
    assert list_shown({path.stem: pydicom.dcmread(path) for path in paths}, "121080") == []


def test_every_group_names_the_algorithm(made: dict[str, Dataset]):
    groups = items(made["report"], "125007")
    named = [[one.TextValue for one in group.ContentSequence if code_of(one) == "111001"] for group in groups]
    assert len(groups) > 10
    assert named == [["kicc_ml"]] * len(groups)


def test_tracking_uids_are_those_of_the_patients_other_study_and_of_another_model_and_of_no_other_patient(
    made: dict[str, Dataset], tmp_path: Path
):
    first = list_tracked(made)
    assert first["consolidation"] == made["segmentation"].SegmentSequence[3].TrackingUID
    assert len(set(first.values())) == len(first) > 10
    assert list_tracked(write_study(tmp_path, "1.2.2")) == first
    assert list_tracked(write_study(tmp_path, "1.2.3", model="cd" * 32)) == first
    other = list_tracked(write_study(tmp_path, "1.2.4", patient="00ff00ff00ff"))
    assert other.keys() == first.keys()
    assert not set(other.values()) & set(first.values())


def test_of_a_patient_who_is_not_known_nothing_is_tracked_over_studies(tmp_path: Path):
    one, two = (list_tracked(write_study(tmp_path, study, patient="")) for study in ("1.2.1", "1.2.2"))
    assert not set(one.values()) & set(two.values())


#: The libraries check no texts in UTF-8.
NO_UTF_8 = "does not support this Specific Character Set: ISO_IR 192"
JUDGES = {
    "dsrdump": ("report", ["dsrdump", "{path}"]),
    "tid1500reader": ("report", ["tid1500reader", "--inputDICOM", "{path}", "--outputMetadata", "{out}/sr.json"]),
    "segimage2itkimage": (
        "segmentation",
        ["segimage2itkimage", "--inputDICOM", "{path}", "--outputDirectory", "{out}", "--outputType", "nii"],
    ),
}


@pytest.mark.parametrize("judge", JUDGES)
def test_another_library_reads_the_object_and_says_nothing_against_it(
    made: dict[str, Dataset], tmp_path: Path, judge: str
):
    """DCMTK's tool of reports (dcmtk), and its classes for measurements and segmentations (dcmqi)."""
    if shutil.which(judge) is None:
        pytest.skip(f"no {judge} here: apt-get install dcmtk, pip install dcmqi")
    name, command = JUDGES[judge]
    made[name].save_as(tmp_path / "object.dcm")
    words = [word.format(path=tmp_path / "object.dcm", out=tmp_path) for word in command]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    lines = [line for line in (said.stdout + said.stderr).splitlines() if NO_UTF_8 not in line]
    assert [line for line in lines if line.startswith(("E:", "W:", "F:", "ERROR", "WARNING"))] == []

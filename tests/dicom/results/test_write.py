"""A prediction written as DICOM objects is the prediction, where it was made, in the patient it was made of."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import PYDICOM_ROOT_UID

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series
from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.results.write import ScanFindings, write_objects
from tests.support.ball_findings import STACKS, find_balls, laid_on
from tests.support.orthanc import Orthanc
from tests.support.phantom_files import write_series
from tests.support.phantoms import AXIAL, Grid, even_mm
from tests.support.structured_reports import code_of, items

MODEL = "ab" * 32
PROVENANCE = {"training hospitals": "부산, daegu", "validation": "lesion Dice 0.61 (48 scans of 4 hospitals)"}


@pytest.fixture(scope="module", params=STACKS)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Series, ScanFindings, Path]:
    folder = tmp_path_factory.mktemp("export")
    STACKS[request.param](folder / "scan")
    series, findings = find_balls(folder / "scan")
    write_objects(PredictionSource(series, f"{request.param}", "0.1.0", PROVENANCE), findings, folder / "out")
    return series, findings, folder / "out"


def segment_frames(dataset: Dataset, number: int) -> list[int]:
    groups = dataset.PerFrameFunctionalGroupsSequence
    return [i for i, own in enumerate(groups) if own.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number]


def test_segments_are_the_masks_voxel_for_voxel_in_the_patient(written):
    _, findings, folder = written
    dataset = pydicom.dcmread(folder / "segmentation.dcm")
    masks = findings.masks
    expected = {
        "right lung": masks["right_lung"],
        "left lung": masks["left_lung"],
        "ground glass and other lesion": masks["lesion"] & ~masks["consolidation"],
        "consolidation": masks["consolidation"],
    }
    for segment in dataset.SegmentSequence:
        drawn = laid_on(findings, dataset, segment_frames(dataset, segment.SegmentNumber))
        np.testing.assert_array_equal(drawn > 0, expected.pop(segment.SegmentLabel))
    assert expected == {}


def test_report_holds_every_zone_with_its_place_and_points_to_the_segments(written):
    _, findings, folder = written
    report = pydicom.dcmread(folder / "report.dcm")
    shares = {}
    for group in items(report, "125007"):
        sites = [child for child in group.ContentSequence if code_of(child) == "363698007"]
        value = [child for child in group.ContentSequence if code_of(child) == "INVOLVED"]
        if value:
            zone = sites[0].ConceptCodeSequence[0].CodeMeaning
            laterality = [c.ConceptCodeSequence[0].CodeMeaning for c in sites[0].get("ContentSequence", [])]
            shares[zone, *laterality] = float(value[0].MeasuredValueSequence[0].NumericValue)
    percent = findings.severity.zone_percent
    assert shares["Lower zone of lung", "Right"] == pytest.approx(percent["right_lower"], abs=1e-3)
    assert shares["Upper zone of lung", "Left"] == pytest.approx(percent["left_upper"], abs=1e-3)
    assert shares["Lung", "Right"] == pytest.approx(findings.severity.lung_percent["right"], abs=1e-3)
    assert len(shares) == 9  # six zones, each lung and both
    segmentation = pydicom.dcmread(folder / "segmentation.dcm")
    assert segmentation.SOPInstanceUID in str(report)


def test_report_holds_the_risks_with_interval_model_beside_and_calibration(written):
    report = pydicom.dcmread(written[2] / "report.dcm")
    said = {}
    for group in items(report, "125007"):
        (finding,) = [child for child in group.ContentSequence if code_of(child) == "121071"]
        values = {
            code_of(child): float(child.MeasuredValueSequence[0].NumericValue)
            for child in group.ContentSequence
            if code_of(child).startswith("RISK")
        }
        said[finding.ConceptCodeSequence[0].CodeValue] = values
    assert said["ICU"] == {"RISK": 31, "RISK_LOW": 22, "RISK_HIGH": 43, "RISK_CLINICAL": 18}
    assert said["DEATH"] == {"RISK": 5}
    texts = [str(element.value) for element in report.iterall() if element.keyword == "TextValue"]
    assert "calibration, slope: 0.90" in texts
    assert "training hospitals: 부산, daegu" in texts


def test_every_object_says_by_what_it_was_made_and_how_good_that_is(written):
    for path in written[2].iterdir():
        equipment = pydicom.dcmread(path).ContributingEquipmentSequence[-1]  # highdicom names itself before
        assert equipment.Manufacturer == "kicc_ml"
        for said in ("Research use only", "부산, daegu", "lesion Dice 0.61"):
            assert said in equipment.ContributionDescription, path.name


def test_objects_keep_patient_study_and_frame_of_reference_of_the_source(written):
    series, _, folder = written
    source = pydicom.dcmread(series.files[0])
    for path in folder.iterdir():
        made = pydicom.dcmread(path)
        for name in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate"):
            assert (made.get(name) or "") == (source.get(name) or ""), (path.name, name)
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
    frames = {pydicom.dcmread(folder / f"{name}.dcm").FrameOfReferenceUID for name in ("segmentation", "map")}
    assert len(frames) == 1


def test_the_same_prediction_written_again_has_the_same_uids_and_another_models_has_not(tmp_path: Path):
    write_series(tmp_path / "scan", Grid(even_mm(), AXIAL))
    series, findings = find_balls(tmp_path / "scan")
    uids = []
    for name, model in (("first", MODEL), ("again", MODEL), ("other", "cd" * 32)):
        paths = write_objects(PredictionSource(series, model, "0.1.0"), findings, tmp_path / name)
        uids.append({pydicom.dcmread(path).SOPInstanceUID for path in paths})
    assert uids[0] == uids[1]
    assert not uids[0] & uids[2]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy here: apt-get install dicom3tools")
def test_dciodvfy_finds_no_error(written):
    for path in written[2].iterdir():
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == [], path.name


def test_simpleitk_reads_the_segmentation_of_a_regular_stack_at_its_place(tmp_path: Path):
    write_series(tmp_path / "scan", Grid(even_mm(), AXIAL))
    series, findings = find_balls(tmp_path / "scan")
    findings = replace(findings, masks={"lung": findings.masks["right_lung"], "lesion": findings.masks["lesion"]})
    write_objects(PredictionSource(series, MODEL, "0.1.0"), findings, tmp_path / "out")
    image = SimpleITK.ReadImage(str(tmp_path / "out" / "segmentation.dcm"))
    levels = np.flatnonzero(findings.masks["lung"].any(axis=(0, 1)))[::-1]  # frames run from head to foot
    dataset = pydicom.dcmread(tmp_path / "out" / "segmentation.dcm")
    frames = SimpleITK.GetArrayFromImage(image)[segment_frames(dataset, 1)]
    np.testing.assert_array_equal(frames > 0, findings.masks["lung"][:, :, levels].transpose(2, 1, 0))
    corner = findings.volume.affine_ras @ [0, 0, levels[0], 1]
    np.testing.assert_allclose(image.GetOrigin(), corner[:3] * [-1, -1, 1], atol=1e-3)


def test_a_korean_name_is_that_of_the_source(tmp_path: Path):
    name = "Hong^Gildong=洪^吉洞=홍^길동"
    charset = ["", "ISO 2022 IR 149"]
    write_series(tmp_path / "scan", Grid(even_mm(), AXIAL), SpecificCharacterSet=charset, PatientName=name)
    series, findings = find_balls(tmp_path / "scan")
    for path in write_objects(PredictionSource(series, MODEL, "0.1.0"), findings, tmp_path / "out"):
        assert str(pydicom.dcmread(path).PatientName) == name, path.name


def test_nothing_is_written_if_one_object_fails(tmp_path: Path):
    write_series(tmp_path / "scan", Grid(even_mm(), AXIAL))
    series, findings = find_balls(tmp_path / "scan")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    with pytest.raises(FileNotFoundError):
        write_objects(
            PredictionSource(series, MODEL, "0.1.0"), replace(findings, montage=tmp_path / "no.png"), tmp_path / "out"
        )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]


def test_objects_take_the_place_of_earlier_ones_and_leave_other_files_alone(tmp_path: Path):
    write_series(tmp_path / "scan", Grid(even_mm(), AXIAL))
    series, findings = find_balls(tmp_path / "scan")
    write_objects(PredictionSource(series, MODEL, "0.1.0"), findings, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("read by Dr Kim")
    later = write_objects(
        PredictionSource(series, "cd" * 32, "0.1.0"), replace(findings, probability_xyz=None), tmp_path / "out"
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"notes.txt", *(path.name for path in later)}
    assert "map.dcm" not in {path.name for path in later}
    assert not list(tmp_path.glob(".partial*"))


def test_empty_masks_are_refused_with_the_reason(tmp_path: Path):
    write_series(tmp_path / "scan", Grid(even_mm(), AXIAL))
    series, findings = find_balls(tmp_path / "scan")
    empty = {name: np.zeros_like(mask) for name, mask in findings.masks.items()}
    with pytest.raises(UserError, match="masks are empty"):
        write_objects(PredictionSource(series, MODEL, "0.1.0"), replace(findings, masks=empty), tmp_path / "out")


def test_orthanc_takes_finds_and_returns_every_object(written, archive: Orthanc):
    _, _, folder = written
    archive.store(sorted(folder.iterdir()))
    archive.check_it_holds(folder.iterdir())


def test_a_series_that_has_grown_has_other_uids_whatever_the_order_of_its_files(tmp_path: Path):
    write_series(tmp_path / "scan", Grid(even_mm(), AXIAL))
    series, _ = find_balls(tmp_path / "scan")
    kinds = ("report", "report series")
    whole, again, smaller = (
        [PredictionSource(replace(series, files=files), MODEL, "").make_uid(kind) for kind in kinds]
        for files in (series.files, series.files[::-1], series.files[:-1])
    )
    assert whole == again
    assert not set(whole) & set(smaller)


def test_two_studies_whose_images_have_the_same_uids_share_no_uid_of_a_result(tmp_path: Path):
    made = []
    for study in ("1.2.1", "1.2.2"):
        folder = tmp_path / study
        write_series(folder, Grid(even_mm(), AXIAL), StudyInstanceUID=study, SeriesInstanceUID="1.9")
        for number, path in enumerate(sorted(folder.iterdir())):
            image = pydicom.dcmread(path)
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.9.{number}"
            image.save_as(path)
        series, findings = find_balls(folder)
        paths = write_objects(PredictionSource(series, MODEL, ""), findings, tmp_path / f"out {study}")
        made.append({uid for path in paths for uid in list_own_uids(pydicom.dcmread(path))})
    assert len(made[0]) > 10
    assert not made[0] & made[1]


def list_own_uids(made: pydicom.Dataset) -> set[str]:
    """The UIDs in an object that were made with it, which begin as those of pydicom do; the source's do not."""
    named = [str(element.value) for element in made.iterall() if element.VR == "UI"]
    return {uid for uid in named if uid.startswith(PYDICOM_ROOT_UID)}

"""A received study is predicted as ``kicc-ml predict`` does it, or has a reason why not."""

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from kicc_ml.clinic import new_scan
from kicc_ml.clinic.outputs import DICOM, PAGE
from kicc_ml.prediction import segmentation
from kicc_ml.service.database import Database
from kicc_ml.service.intake import Folders, Intake
from kicc_ml.service.predict_study import StudyPredictor
from kicc_ml.service.queue import Job, StudyLimits, StudyOutcome, StudyQueue
from tests.support.chest_study import SLICES, GreyValuePredictor, make_chest, make_radiograph

pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")
NAME = "KIM CHULSOO"
Receive = Callable[..., StudyOutcome]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "node")
    made.make()
    return made


@pytest.fixture
def queue(folders: Folders) -> StudyQueue:
    return StudyQueue(Database(folders.root / "node.sqlite"))


@pytest.fixture
def predictor(folders: Folders) -> StudyPredictor:
    return GreyValuePredictor(folders)()


@pytest.fixture
def receive(folders: Folders, queue: StudyQueue, predictor: StudyPredictor) -> Receive:
    """Receives objects, and predicts their study."""
    intake = Intake(queue, folders, StudyLimits(100, 10), 0)

    def take(*objects: pydicom.Dataset) -> StudyOutcome:
        for one in objects:
            one.save_as(folders.incoming / "x.dcm", enforce_file_format=True)
            assert intake.take(folders.incoming / "x.dcm")[0] == 0
        queue.close_complete(0, None)
        job = queue.take()
        assert job is not None
        outcome = predictor(job)
        queue.finish(job, outcome, deliver=True)
        return outcome

    return take


def read_uids(folders: Folders, outcome: StudyOutcome) -> set[str]:
    (case,) = outcome.cases
    return {str(pydicom.dcmread(folders.results / path).SOPInstanceUID) for path in case.objects.values()}


def test_a_chest_has_a_page_and_objects_of_its_study_and_the_report_comes_last(folders: Folders, receive: Receive):
    outcome = receive(*make_chest("1.2.1"), make_radiograph("1.2.1"))
    (case,) = outcome.cases
    assert (case.modality, outcome.reason) == ("CT", "")
    assert case.severity["lung_ml"] == pytest.approx(16 * 20 * 28 * 6 * 6 * 12 / 1000, rel=0.01)
    assert 0 < case.severity["percent_involved"] < 10
    assert (folders.results / case.case_id / PAGE).is_file()
    assert list(case.objects.values())[-1] == f"{case.case_id}/{DICOM}/report.dcm"
    assert set(case.objects) == read_uids(folders, outcome)
    for path in case.objects.values():
        made = pydicom.dcmread(folders.results / path)
        assert (made.StudyInstanceUID, made.PatientID) == ("1.2.1", "A-17")


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        (make_chest("1.2.1", lungs=False), "no lungs were found"),
        (make_chest("1.2.1", range(1)), "CT: a single slice is no volume"),
        ([make_radiograph("1.2.1")], "CXR: the node has no run for this kind of image"),
        (make_chest("1.2.1", Modality="MR"), "MR: Modality is neither CT nor radiograph"),
        (make_chest("1.2.1", PixelData=b"\0\0"), "the file ends before its pixel data does"),
        (make_chest("1.2.1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
    ],
    ids=["no lungs", "one slice", "no run", "MR", "damaged", "scout"],
)
def test_a_study_that_cannot_be_predicted_has_its_reason(
    folders: Folders, receive: Receive, objects: list[pydicom.Dataset], reason: str
):
    outcome = receive(*objects)
    assert outcome.cases == []
    assert reason in outcome.reason
    assert "holds no image" not in outcome.reason
    assert not list(folders.results.glob("*/severity.json"))


def test_no_reason_says_what_is_written_in_a_header(
    receive: Receive, predictor: StudyPredictor, monkeypatch: pytest.MonkeyPatch
):
    def fail(*arguments: object) -> None:
        raise ValueError(f"unknown units of {NAME}")

    monkeypatch.setattr(segmentation, "predict_one", fail)
    assert receive(*make_chest("1.2.1")).reason == "ValueError"
    monkeypatch.undo()
    monkeypatch.setattr(new_scan, "write_dicom_results", fail)
    assert receive(*make_chest("1.2.2")).reason == "no DICOM objects: ValueError"
    assert receive(*make_chest("1.2.3", Modality=NAME)).reason.startswith("another kind of image: ")


def test_a_study_that_has_grown_is_predicted_again_with_other_uids_and_one_that_has_not_is_kept(
    folders: Folders, receive: Receive
):
    smaller = receive(*make_chest("1.2.1", range(SLICES - 2)))
    before = read_uids(folders, smaller)
    whole = receive(*make_chest("1.2.1", range(SLICES - 2, SLICES)))
    after = read_uids(folders, whole)
    assert not before & after
    (page,) = folders.results.glob(f"*/{PAGE}")
    written = page.stat().st_mtime_ns
    kept = receive(make_radiograph("1.2.1"))
    assert page.stat().st_mtime_ns == written
    assert read_uids(folders, kept) == after


@pytest.mark.slow
def test_what_a_killed_node_left_of_a_case_is_predicted_anew(
    folders: Folders, receive: Receive, predictor: StudyPredictor
):
    first = receive(*make_chest("1.2.1"))
    uids = read_uids(folders, first)
    folder = folders.results / first.cases[0].case_id
    (folder / "severity.json").write_text("{}")
    again = predictor(Job(first.study, SLICES))
    (before,), (after,) = first.cases, again.cases
    assert (after.files, after.objects) == (before.files, before.objects)
    assert after.severity["lung_ml"] == before.severity["lung_ml"]
    assert read_uids(folders, again) == uids


@pytest.mark.slow
def test_a_later_study_of_a_patient_names_its_prior_and_two_studies_of_one_series_uid_do_not_meet(
    folders: Folders, receive: Receive
):
    first = receive(*make_chest("1.2.1"))
    tags = {"StudyDate": "20200310", "AcquisitionDate": "20200310", "SeriesInstanceUID": "1.2.1.1"}
    later = receive(*make_chest("1.2.2", **tags))
    assert later.cases[0].prior == first.cases[0].case_id
    assert later.cases[0].case_id != first.cases[0].case_id
    assert len(list(folders.results.glob("*/severity.json"))) == 2

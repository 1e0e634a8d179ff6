"""What is old is removed, what is needed stays, and what comes back is predicted as a whole."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.service.database import Database
from kicc_ml.service.intake import Folders, Intake
from kicc_ml.service.queue import CaseResult, Job, StudyLimits, StudyOutcome, StudyQueue
from kicc_ml.service.retention import ALL, DAY_S, PIXELS, Retention
from kicc_ml.service.settings import RetentionSettings
from kicc_ml.service.worklist import StudyEntry, read_studies
from tests.support.plain_slices import slice_dataset

IMAGES = [slice_dataset(np.zeros((4, 4), np.uint16), SOPInstanceUID=f"1.2.{number}") for number in range(3)]
STUDY = str(IMAGES[0].StudyInstanceUID)
SETTINGS = RetentionSettings(received_days=2, results_days=10)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "node")
    made.make()
    return made


@pytest.fixture
def queue(folders: Folders) -> StudyQueue:
    return StudyQueue(Database(folders.root / "node.sqlite"))


@pytest.fixture
def retention(folders: Folders, queue: StudyQueue) -> Retention:
    return Retention(queue.database, folders, SETTINGS)


@pytest.fixture
def receive(folders: Folders, queue: StudyQueue) -> Callable[..., Job]:
    """Receives images of one study, and takes it for prediction."""
    intake = Intake(queue, folders, StudyLimits(3, 10), 0)

    def take(*numbers: int) -> Job:
        for number in numbers:
            IMAGES[number].save_as(folders.incoming / "x.dcm")
            assert intake.take(folders.incoming / "x.dcm")[0] == 0
        queue.close_complete(0, None)
        job = queue.take()
        assert job is not None
        return job

    return take


def finish(queue: StudyQueue, folders: Folders, job: Job) -> None:
    (folders.results / "case").mkdir(exist_ok=True)
    (folders.results / "case" / "severity.json").touch()
    result = CaseResult("case", "files", "CT", {}, objects={"9.9": "case/dicom/report.dcm"})
    queue.finish(job, StudyOutcome(job.study, [result]), deliver=False)


def age(queue: StudyQueue, days: float) -> None:
    with queue.database.transaction() as connection:
        connection.execute("UPDATE study SET ended = ? WHERE ended IS NOT NULL", (time.time() - days * DAY_S,))


def read(queue: StudyQueue) -> StudyEntry:
    (entry,) = read_studies(queue)
    return entry


def list_pixels(folders: Folders) -> list[Path]:
    return list(folders.received.glob("*/*.dcm"))


def test_pixels_go_first_and_then_the_study_with_its_results(
    retention: Retention, queue: StudyQueue, folders: Folders, receive: Callable[..., Job]
):
    finish(queue, folders, receive(0, 1))
    retention.remove_old()
    assert len(list_pixels(folders)) == 2
    age(queue, 3)
    retention.remove_old()
    assert not list_pixels(folders)
    assert (read(queue).has_pixels, len(read(queue).results)) == (False, 1)
    assert (folders.results / "case").is_dir()
    age(queue, 11)
    retention.remove_old()
    assert read_studies(queue) == []
    assert not list(folders.results.iterdir())
    assert not list(folders.received.glob("[0-9]*"))


def read_deletions(folders: Folders) -> list[str]:
    """What the audit log says of what was deleted."""
    lines = [json.loads(line) for line in folders.audit_log.read_text().splitlines()]
    assert {one["EventIdentification"]["EventID"]["csd-code"] for one in lines} <= {"110105"}
    assert {one["ParticipantObjectIdentification"][0]["ParticipantObjectID"] for one in lines} <= {STUDY}
    return [one["EventIdentification"]["EventOutcomeDescription"] for one in lines]


def test_what_is_removed_is_noted_and_where_the_disk_is_full_it_is_noted_as_soon_as_there_is_room(
    retention: Retention,
    queue: StudyQueue,
    folders: Folders,
    receive: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
):
    def write_if_there_is_room(descriptor: int, line: bytes) -> int:
        return write(descriptor, line[: 20 if list_pixels(folders) else None])

    finish(queue, folders, receive(0, 1))
    write = os.write
    monkeypatch.setattr(os, "write", write_if_there_is_room)
    age(queue, 3)
    retention.remove_old()
    assert not list_pixels(folders)
    assert read_deletions(folders) == [PIXELS]
    age(queue, 11)
    for _ in range(2):
        retention.remove_old()
    assert read_deletions(folders) == [PIXELS, ALL]


def test_a_study_that_is_not_ended_keeps_everything_however_old_it_is(
    retention: Retention, queue: StudyQueue, folders: Folders, receive: Callable[..., Job]
):
    job = receive(0)
    with queue.database.transaction() as connection:
        connection.execute("UPDATE study SET received = 0, changed = 0")
    retention.remove_old()
    assert len(list_pixels(folders)) == 1
    result = CaseResult("case", "files", "CT", {}, objects={"9.9": "case/dicom/report.dcm"})
    queue.finish(job, StudyOutcome(job.study, [result]), deliver=True)
    retention.remove_old()
    assert read(queue).state == "delivering"
    assert len(list_pixels(folders)) == 1


def test_a_part_of_a_study_whose_other_pixels_are_gone_is_not_predicted_and_the_whole_is(
    retention: Retention, queue: StudyQueue, folders: Folders, receive: Callable[..., Job]
):
    finish(queue, folders, receive(0, 1))
    age(queue, 3)
    retention.remove_old()
    late = receive(2)
    assert (late.instances, late.lost) == (1, 2)
    queue.finish(late, StudyOutcome(late.study, [], "have it sent again"), deliver=False)
    assert (read(queue).state, len(read(queue).results)) == ("refused", 1)  # the earlier result stays
    again = receive(0, 1)
    assert (again.instances, again.lost) == (3, 0)


def test_a_start_removes_what_a_killed_node_left_and_nothing_else(
    retention: Retention, queue: StudyQueue, folders: Folders, receive: Callable[..., Job]
):
    finish(queue, folders, receive(0))
    (folders.received / "77").mkdir()
    (folders.results / "half").mkdir()
    retention.remove_unknown()
    assert [path.name for path in folders.results.iterdir()] == ["case"]
    assert not (folders.received / "77").exists()
    assert retention.list_known_files() == {read(queue).study: {path.name for path in list_pixels(folders)}}
    assert len(list_pixels(folders)) == 1

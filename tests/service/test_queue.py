"""The queue of a hospital node loses no study and doubles none, whenever the node or a worker ends."""

import sqlite3
import time
from pathlib import Path

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.service.database import SCHEMA, Database
from kicc_ml.service.queue import (
    MAX_STARTS,
    CaseResult,
    Job,
    OtherContent,
    Overfull,
    StudyLimits,
    StudyOutcome,
    StudyQueue,
)

MANY = StudyLimits(instances=100, in_flight=100)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "node.sqlite")


@pytest.fixture
def queue(database: Database) -> StudyQueue:
    return StudyQueue(database)


def receive(queue: StudyQueue, uid: str, sops: tuple[str, ...] = ("1.1",), limits: StudyLimits = MANY) -> int:
    study = queue.find_or_add(uid, {}, limits)
    for sop in sops:
        queue.add_instance(study, sop, f"{sop}.dcm", 10)
    return study


def take(queue: StudyQueue) -> Job:
    queue.close_complete(0, None)
    job = queue.take()
    assert job is not None
    return job


def read_state(database: Database, study: int) -> tuple[str, str]:
    (row,) = database.read("SELECT state, reason FROM study WHERE id = ?", (study,))
    return row["state"], row["reason"]


def make_outcome(study: int, objects: dict[str, str] | None = None) -> StudyOutcome:
    return StudyOutcome(study, [CaseResult("a", "digest", "CT", {"severity_score": 3}, objects=objects or {})])


def test_a_study_is_complete_after_a_quiet_time_or_a_number_of_instances(database: Database, queue: StudyQueue):
    first = receive(queue, "1", ("1.1", "1.2"))
    assert queue.close_complete(3600, 3) == 0
    queue.add_instance(first, "1.3", "3.dcm", 10)
    second = receive(queue, "2")
    assert queue.close_complete(3600, 3) == 1
    assert read_state(database, first)[0] == "waiting"
    assert read_state(database, second)[0] == "receiving"
    assert queue.close_complete(0, 3) == 1


def test_an_instance_that_comes_twice_is_kept_once_and_does_not_begin_its_study_again(
    database: Database, queue: StudyQueue
):
    study = receive(queue, "1")
    queue.finish(take(queue), make_outcome(study), deliver=False)
    assert queue.has_instance("1", "1.1", "")
    assert not queue.add_instance(study, "1.1", "again.dcm", 10)
    assert read_state(database, study)[0] == "done"


def test_an_instance_that_comes_as_another_is_refused_also_when_two_come_at_once_and_after_its_pixels_went(
    database: Database, queue: StudyQueue
):
    study = queue.find_or_add("1", {}, MANY)
    assert queue.add_instance(study, "1.1", "a.dcm", 10, "digest")
    for file in ("a.dcm", ""):  # "": as retention leaves it
        with database.transaction() as connection:
            connection.execute("UPDATE instance SET file = ?", (file,))
        with pytest.raises(OtherContent, match="another object has this UID"):
            queue.has_instance("1", "1.1", "other")
        with pytest.raises(OtherContent, match="another object has this UID"):  # of a second association
            queue.add_instance(study, "1.1", "b.dcm", 10, "other")
        assert queue.has_instance("1", "1.1", "digest") == bool(file)
    assert queue.add_instance(study, "1.1", "c.dcm", 10, "digest")


def make_schema_of_version_1() -> str:
    """The tables as they were: without the columns and the index that later versions have."""
    later = ("  digest TEXT", "  instances INTEGER", "  rank REAL", "CREATE INDEX study_by_rank")
    lines = [line for line in SCHEMA.splitlines() if not line.startswith(later)]
    return "\n".join(lines).replace("has_pixels INTEGER NOT NULL DEFAULT 1,", "has_pixels INTEGER NOT NULL DEFAULT 1")


def test_a_database_of_version_1_goes_on_with_its_worklist_and_knows_no_digests_of_its_instances(tmp_path: Path):
    with sqlite3.connect(tmp_path / "db") as old:
        old.executescript(make_schema_of_version_1() + "PRAGMA user_version = 1;")
        for case, severity in (("a", '{"severity_score": 6}'), ("b", '{"severity_score": 18}'), ("c", "{}")):
            old.execute("INSERT INTO result VALUES (?, 1, '', 'CT', ?, '[]', '')", (case, severity))
        old.execute("INSERT INTO study (uid, state, received, changed) VALUES ('1', 'receiving', 0, 0)")
        old.execute("INSERT INTO instance VALUES (1, '1.1', 'a.dcm', 10)")
    database = Database(tmp_path / "db")
    assert StudyQueue(database).has_instance("1", "1.1", "digest")
    assert [tuple(row) for row in database.read("SELECT instances, rank FROM study")] == [(1, 0.75)]
    database.close()
    assert StudyQueue(Database(tmp_path / "db")).has_instance("1", "1.1", "digest")


def test_an_own_result_that_the_archive_sends_back_is_known(queue: StudyQueue):
    study = receive(queue, "1")
    queue.finish(take(queue), make_outcome(study, {"9.9": "a/dicom/report.dcm"}), deliver=True)
    assert queue.has_instance("1", "9.9", "")
    assert not queue.has_instance("1", "9.8", "")


def test_an_image_with_the_uid_of_a_result_of_another_study_is_not_taken_for_that_result(queue: StudyQueue):
    study = receive(queue, "1")
    queue.finish(take(queue), make_outcome(study, {"9.9": "a/dicom/report.dcm"}), deliver=True)
    assert not queue.has_instance("2", "9.9", "")


def test_results_with_the_uids_of_those_of_another_study_are_a_conflict_with_a_reason(
    database: Database, queue: StudyQueue
):
    first, second = receive(queue, "1"), receive(queue, "2")
    for job in (take(queue), take(queue)):
        case = CaseResult(f"case {job.study}", "", "CT", {}, objects={"9.9": "report.dcm", f"9.{job.study}": "map.dcm"})
        queue.finish(job, StudyOutcome(job.study, [case]), deliver=True)
    assert read_state(database, first) == ("delivering", "")
    state, reason = read_state(database, second)
    assert state == "failed"
    assert f"UIDs of results of study {first} " in reason
    rows = database.read("SELECT sop, study FROM delivery ORDER BY sop")
    assert [(row["sop"], row["study"]) for row in rows] == [("9.1", first), ("9.2", second), ("9.9", first)]
    remove(database, first)
    assert queue.retry(second)
    again = take(queue)
    queue.finish(again, StudyOutcome(second, [case]), deliver=True)
    assert read_state(database, second) == ("delivering", "")


def remove(database: Database, study: int) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM study WHERE id = ?", (study,))


def test_what_comes_while_a_study_is_predicted_is_predicted_after_it(database: Database, queue: StudyQueue):
    study = receive(queue, "1")
    job = take(queue)
    queue.add_instance(study, "1.2", "late.dcm", 10)
    assert read_state(database, study)[0] == "predicting"
    queue.finish(job, make_outcome(study), deliver=False)
    assert read_state(database, study)[0] == "receiving"
    again = take(queue)
    assert (again.study, again.instances, again.known) == (study, 2, {"a": "digest"})


def test_a_killed_node_takes_its_studies_up_again_and_not_for_ever(tmp_path: Path):
    study = receive(StudyQueue(Database(tmp_path / "db")), "1")
    for _ in range(MAX_STARTS):
        database = Database(tmp_path / "db")  # as after a kill: the one before is not closed
        queue = StudyQueue(database)
        queue.recover()
        assert take(queue).study == study
    queue.recover()
    assert read_state(database, study)[0] == "failed"


def test_a_crash_costs_the_one_study_and_the_second_sets_it_aside(database: Database, queue: StudyQueue):
    bad, good = receive(queue, "1"), receive(queue, "2")
    assert take(queue).study == bad
    queue.count_crash(bad, "the worker was killed")
    assert take(queue).study == good  # the one that crashed comes last
    assert take(queue).study == bad
    queue.count_crash(bad, "the worker was killed")
    assert read_state(database, bad) == ("failed", "the worker was killed")
    assert queue.take() is None
    assert queue.retry(bad)
    assert take(queue).study == bad


def test_objects_are_due_once_however_often_their_study_is_predicted(database: Database, queue: StudyQueue):
    study = receive(queue, "1")
    for late in ("1.2", "1.3"):
        queue.finish(take(queue), make_outcome(study, {"9.9": "a/dicom/report.dcm"}), deliver=True)
        with database.transaction() as connection:
            connection.execute("UPDATE delivery SET delivered = ?", (time.time(),))
        queue.add_instance(study, late, f"{late}.dcm", 10)
    assert len(database.read("SELECT * FROM delivery WHERE delivered IS NOT NULL")) == 1


def test_a_study_without_a_result_is_refused_with_its_reason(database: Database, queue: StudyQueue):
    study = receive(queue, "1")
    queue.finish(take(queue), StudyOutcome(study, [], "no chest"), deliver=True)
    assert read_state(database, study) == ("refused", "no chest")


def test_more_than_the_limits_is_refused(queue: StudyQueue):
    limits = StudyLimits(instances=2, in_flight=2)
    receive(queue, "1", ("1.1", "1.2"), limits)
    with pytest.raises(Overfull, match="2 instances"):
        queue.find_or_add("1", {}, limits)
    receive(queue, "2", limits=limits)
    with pytest.raises(Overfull, match="2 studies"):
        queue.find_or_add("3", {}, limits)


def test_a_postponed_study_waits_and_is_not_blamed(database: Database, queue: StudyQueue):
    study = receive(queue, "1")
    take(queue)
    queue.postpone(study, "the disk is full", 3600)
    assert queue.take() is None
    assert read_state(database, study) == ("waiting", "the disk is full")


def test_a_transaction_that_fails_changes_nothing(database: Database, queue: StudyQueue):
    receive(queue, "1")
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as connection:  # noqa: PT012
        connection.execute("UPDATE study SET state = 'done'")
        connection.execute("INSERT INTO instance VALUES (99, '1', '1', 1, '')")
    assert queue.count_states()["receiving"] == 1


def test_a_damaged_or_foreign_database_is_named(tmp_path: Path):
    (tmp_path / "bad").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="bad is damaged"):
        Database(tmp_path / "bad")
    with sqlite3.connect(tmp_path / "new") as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="another version"):
        Database(tmp_path / "new")

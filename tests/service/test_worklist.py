"""The worklist says of each study what the queue holds of it."""

from pathlib import Path

import pytest

from kicc_ml.service.database import Database
from kicc_ml.service.queue import CaseResult, StudyLimits, StudyOutcome, StudyQueue
from kicc_ml.service.worklist import read_studies

LIMITS = StudyLimits(instances=10, in_flight=10)


def test_a_study_is_listed_with_its_state_its_results_and_its_delivery(tmp_path: Path):
    queue = StudyQueue(Database(tmp_path / "node.sqlite"))
    first = queue.find_or_add("1.2", {"Name": "김 하나"}, LIMITS)
    queue.add_instance(first, "1.2.1", "a.dcm", 10)
    queue.close_complete(0, None)
    job = queue.take()
    assert job is not None
    result = CaseResult("a", "digest", "CT", {"severity_score": 3.0}, ["outside"], "b", {"9.9": "a/dicom/report.dcm"})
    queue.finish(job, StudyOutcome(first, [result], ""), deliver=True)
    second = queue.find_or_add("1.3", {}, LIMITS)
    latest, entry = read_studies(queue)
    assert (latest.study, latest.state, latest.instances, latest.results) == (second, "receiving", 0, [])
    assert (entry.study, entry.uid, entry.state, entry.identity) == (first, "1.2", "delivering", {"Name": "김 하나"})
    assert (entry.instances, entry.delivered, entry.undelivered, entry.delivery_error) == (1, 0, 1, "")
    (shown,) = entry.results
    assert (shown.case_id, shown.severity, shown.flags, shown.prior) == ("a", {"severity_score": 3.0}, ["outside"], "b")
    assert read_studies(queue, first) == [entry]
    assert read_studies(queue, 99) == []


def test_instances_of_studies_that_did_not_change_are_not_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    queue, counted, asked = StudyQueue(Database(tmp_path / "node.sqlite")), {}, []
    studies = [queue.find_or_add(f"1.{number}", {}, LIMITS) for number in range(3)]
    for study in studies:
        queue.add_instance(study, f"9.{study}", "a.dcm", 10)
    read = queue.database.read

    def read_and_note(query: str, values: tuple = ()) -> list:
        asked.append(values if "FROM instance" in query else ())
        return read(query, values)

    read_studies(queue, None, counted)
    monkeypatch.setattr(queue.database, "read", read_and_note)
    assert [entry.instances for entry in read_studies(queue, None, counted)] == [1, 1, 1]
    assert set(asked) == {()}
    queue.add_instance(studies[1], "9.9", "b.dcm", 10)
    with queue.database.transaction() as connection:
        connection.execute("DELETE FROM study WHERE id = ?", (studies[2],))
    found = {entry.study: entry.instances for entry in read_studies(queue, None, counted)}
    assert found == {studies[0]: 1, studies[1]: 2} == {entry.study: entry.instances for entry in read_studies(queue)}
    assert {values for values in asked[: asked.index((studies[1],)) + 1] if values} == {(studies[1],)}
    assert set(counted) == {studies[0], studies[1]}

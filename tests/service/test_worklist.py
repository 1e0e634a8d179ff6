"""The worklist says of each study what the queue holds of it."""

from pathlib import Path

from kicc_ml.service.database import Database
from kicc_ml.service.queue import CaseResult, StudyLimits, StudyOutcome, StudyQueue
from kicc_ml.service.worklist import Search, read_studies, read_worst

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


def test_a_page_of_the_worklist_has_so_many_studies_and_the_pages_have_each_study_once(tmp_path: Path):
    queue = StudyQueue(Database(tmp_path / "node.sqlite"))
    scores = [4.0, 17.0, None, 24.0, 0.0, 11.0, 17.0]
    for number, score in enumerate(scores):
        study = queue.find_or_add(f"1.{number}", {}, LIMITS)
        queue.add_instance(study, f"1.{number}.1", "a.dcm", 10)
        queue.close_complete(0, None)
        job = queue.take()
        assert job is not None
        outcome = StudyOutcome(study, [CaseResult(f"case-{number}", "", "CT", {"severity_score": score})])
        queue.finish(job, outcome, deliver=False)
    pages = [read_worst(queue, Search(), first, 3) for first in (0, 3, 6, 9)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    shown = [entry.results[0].severity["severity_score"] for page in pages for entry in page]
    assert shown == [24, 17, 17, 11, 4, 0, None]
    assert len({entry.study for page in pages for entry in page}) == len(scores)


def test_only_the_studies_of_a_page_are_looked_into(tmp_path: Path):
    queue = StudyQueue(Database(tmp_path / "node.sqlite"))
    for number in range(400):
        queue.add_instance(queue.find_or_add(f"1.{number}", {}, StudyLimits(10, 1000)), "1.1", "a.dcm", 10)
    steps = []
    for most in (5, 400):
        done: list[int] = []
        with queue.database.transaction() as connection:
            connection.set_progress_handler(lambda done=done: done.append(1), 50)
        assert len(read_worst(queue, Search(), 0, most)) == most
        steps.append(len(done))
    assert steps[0] * 10 < steps[1]


def test_an_image_that_comes_again_is_counted_once(tmp_path: Path):
    queue = StudyQueue(Database(tmp_path / "node.sqlite"))
    study = queue.find_or_add("1.2", {}, LIMITS)
    for sop in ("1.2.1", "1.2.1", "1.2.2"):
        queue.add_instance(study, sop, "a.dcm", 10)
    with queue.database.transaction() as connection:
        connection.execute("UPDATE instance SET file = ''")  # as when its time is over
    queue.add_instance(study, "1.2.1", "b.dcm", 10)
    assert read_studies(queue)[0].instances == 2

"""A worker predicts in a process of its own, whose end costs the one study."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.service.database import Database
from kicc_ml.service.intake import Folders, Intake
from kicc_ml.service.queue import StudyLimits, StudyQueue
from kicc_ml.service.worker_process import Predict
from kicc_ml.service.workers import Worker
from kicc_ml.service.worklist import StudyEntry, read_studies
from tests.support.commands import ROOT
from tests.support.fake_node import FakePredictor
from tests.support.loopback_pacs import wait_until
from tests.support.plain_slices import write

#: Longer than any study here takes; a test that says so has another.
JOB_S = 600.0


class Refuses:
    """Runs that cannot be loaded."""

    def __call__(self) -> Predict:
        raise UserError("run holds no finished fold")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "node")
    made.make()
    return made


@pytest.fixture
def queue(folders: Folders) -> StudyQueue:
    return StudyQueue(Database(folders.root / "node.sqlite"))


@pytest.fixture
def receive(folders: Folders, queue: StudyQueue) -> Callable[[str], int]:
    """Receives one image of a patient, as a study of its own; returns the number of the study."""
    intake = Intake(queue, folders, StudyLimits(10, 10), 0)

    def take(patient: str) -> int:
        uid = f"1.2.{len(read_studies(queue)) + 1}"
        path = write(folders.incoming / "x.dcm", np.zeros((4, 4), np.uint16), PatientID=patient, StudyInstanceUID=uid)
        assert intake.take(path)[0] == 0
        queue.close_complete(0, None)
        return read_studies(queue)[0].study

    return take


@pytest.fixture
def worker(folders: Folders, queue: StudyQueue) -> Iterator[Worker]:
    made = Worker(queue, FakePredictor(folders), folders.root / ".worker.lock", JOB_S, False, Event())
    made.start()
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop.set()
    thread.join()


def read(queue: StudyQueue, study: int) -> StudyEntry:
    (entry,) = read_studies(queue, study)
    return entry


def wait_for_end(queue: StudyQueue, *studies: int) -> None:
    wait_until(lambda: all(read(queue, study).ended for study in studies))


def test_a_study_that_ends_badly_costs_that_study_and_keeps_its_reason(
    worker: Worker, queue: StudyQueue, receive: Callable[[str], int]
):
    crash, fault, refused, full, good = map(receive, ("CRASH", "FAULT", "REFUSED", "FULL", "A-1"))
    wait_for_end(queue, crash, fault, refused, good)
    states = {study: read(queue, study).state for study in (crash, fault, refused, full, good)}
    assert states == {crash: "failed", fault: "failed", refused: "refused", full: "waiting", good: "done"}
    assert "ended by SIGKILL" in read(queue, crash).reason
    assert read(queue, fault).reason == "ZeroDivisionError"  # its message could quote a header
    assert "no lungs were found" in read(queue, refused).reason
    assert "No space left" in read(queue, full).reason
    (result,) = read(queue, good).results
    assert result.severity == {"n": 1}


@pytest.mark.slow
def test_a_study_that_takes_too_long_is_set_aside_and_the_next_is_predicted(
    worker: Worker, queue: StudyQueue, receive: Callable[[str], int]
):
    worker.job_s = 3.0
    hang, good = receive("HANG"), receive("A-1")
    wait_for_end(queue, hang, good)
    assert read(queue, hang).state == "failed"
    assert "longer than" in read(queue, hang).reason
    assert read(queue, good).state == "done"


@pytest.mark.slow
def test_a_study_that_is_being_predicted_when_the_node_ends_waits_for_its_return_and_is_not_blamed(
    worker: Worker, queue: StudyQueue, receive: Callable[[str], int]
):
    study = receive("HANG")
    wait_until(lambda: read(queue, study).state == "predicting")
    worker.stop.set()
    wait_until(lambda: read(queue, study).state == "waiting")
    (row,) = queue.database.read("SELECT starts, crashes FROM study")
    assert (row["starts"], row["crashes"]) == (0, 0)
    wait_until(lambda: worker.process_id is None)


@pytest.mark.slow
def test_a_process_that_ended_while_it_was_idle_is_replaced(
    worker: Worker, queue: StudyQueue, receive: Callable[[str], int]
):
    assert worker.process_id is not None
    os.kill(worker.process_id, signal.SIGKILL)
    study = receive("A-1")
    wait_for_end(queue, study)
    assert read(queue, study).state == "done"


def test_runs_that_cannot_be_loaded_are_said_before_anything_is_predicted(folders: Folders, queue: StudyQueue):
    with pytest.raises(UserError, match="no finished fold"):
        Worker(queue, Refuses(), folders.root / ".worker.lock", JOB_S, False, Event()).start()


@pytest.mark.slow
def test_a_worker_ends_with_a_node_that_is_killed(tmp_path: Path):
    script = (
        "import sys; from threading import Event; from pathlib import Path\n"
        "from kicc_ml.service.intake import Folders; from kicc_ml.service.workers import Worker\n"
        "from tests.support.fake_node import FakePredictor\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    worker = Worker(None, FakePredictor(Folders(folder)), folder / 'lock', 60, False, Event())\n"
        "    worker.start(); print(worker.process_id, flush=True); Event().wait()\n"
    )
    (tmp_path / "node.py").write_text(script)
    command = [sys.executable, str(tmp_path / "node.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}) as node:
        assert node.stdout is not None
        number = int(node.stdout.readline())
        node.kill()
    wait_until(lambda: not Path(f"/proc/{number}").exists() or _is_zombie(number))


def _is_zombie(number: int) -> bool:
    """Whether a process has ended and only waits to be noticed, where process 1 adopts orphans without a look."""
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

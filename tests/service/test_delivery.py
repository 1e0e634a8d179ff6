"""Results reach the PACS once each, whatever it does meanwhile."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from kicc_ml.dicom.web import transport
from kicc_ml.service import delivery as service_delivery
from kicc_ml.service.database import Database
from kicc_ml.service.delivery import Delivery
from kicc_ml.service.intake import Folders
from kicc_ml.service.outbox import Outbox
from kicc_ml.service.queue import CaseResult, StudyLimits, StudyOutcome, StudyQueue
from kicc_ml.service.settings import DicomSettings, PacsSettings
from kicc_ml.service.web.removal import remove_study
from kicc_ml.service.worklist import StudyEntry, read_studies
from tests.support.local_service import Service, say
from tests.support.loopback_pacs import NODE, TITLE, LoopbackPacs, find_free_port, wait_until
from tests.support.orthanc import PASSWORD, USER, Orthanc
from tests.support.plain_slices import write

SOPS = ("1.9.1", "1.9.2", "1.9.3")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "node")
    made.make()
    return made


@pytest.fixture
def queue(folders: Folders) -> StudyQueue:
    return StudyQueue(Database(folders.root / "node.sqlite"))


@pytest.fixture(scope="module")
def running_pacs() -> Iterator[LoopbackPacs]:
    with LoopbackPacs(find_free_port()).running() as pacs:
        yield pacs


@pytest.fixture
def pacs(running_pacs: LoopbackPacs) -> LoopbackPacs:
    running_pacs.stored.clear()
    running_pacs.asked.clear()
    running_pacs.answer = lambda sop: 0
    return running_pacs


@pytest.fixture
def delivery(folders: Folders, queue: StudyQueue, pacs: LoopbackPacs) -> Delivery:
    """Without pauses; a test that says so has others."""
    settings = PacsSettings(TITLE, "127.0.0.1", pacs.port, first_pause_s=0.0)
    return Delivery(Outbox(queue.database), folders, DicomSettings(NODE), settings, Event())


@pytest.fixture
def predict(folders: Folders, queue: StudyQueue) -> Callable[..., None]:
    """Lets a study of another instance be predicted, with objects of these UIDs."""

    def make(*sops: str) -> None:
        study = queue.find_or_add("1.2", {}, StudyLimits(50, 50))
        queue.add_instance(study, f"1.2.{len(sops)}.{sops[0]}", "x.dcm", 1)
        queue.close_complete(0, None)
        job = queue.take()
        assert job is not None
        objects = {sop: f"case/dicom/{number}.dcm" for number, sop in enumerate(sops)}
        for sop, path in objects.items():
            write(folders.results / path, np.zeros((4, 4), np.uint16), SOPInstanceUID=sop)
        queue.finish(job, StudyOutcome(study, [CaseResult("case", "", "CT", {}, objects=objects)]), deliver=True)

    return make


def read(queue: StudyQueue) -> StudyEntry:
    (entry,) = read_studies(queue)
    return entry


def test_each_object_is_delivered_once_and_the_study_is_done_with_the_last(
    delivery: Delivery, queue: StudyQueue, pacs: LoopbackPacs, folders: Folders, predict: Callable[..., None]
):
    predict(*SOPS)
    assert read(queue).state == "delivering"
    assert delivery.deliver_due() == 3
    assert delivery.deliver_due() == 0
    assert pacs.stored == dict.fromkeys(SOPS, 1)
    assert (read(queue).state, read(queue).delivered, read(queue).undelivered) == ("done", 3, 0)
    assert not list(folders.incoming.iterdir())


def test_a_pacs_that_is_down_gets_all_when_it_comes_back(
    delivery: Delivery, queue: StudyQueue, predict: Callable[..., None]
):
    later = LoopbackPacs(find_free_port())
    delivery = replace(delivery, pacs=replace(delivery.pacs, port=later.port))
    predict(*SOPS)
    delivery.deliver_due()
    assert (read(queue).state, read(queue).undelivered) == ("delivering", 3)
    assert "does not answer" in read(queue).delivery_error
    with later.running():
        delivery.deliver_due()
    assert later.stored == dict.fromkeys(SOPS, 1)
    assert (read(queue).state, read(queue).delivery_error) == ("done", "")


@pytest.mark.parametrize("status", [0xA700, 0xC000, None])
def test_what_a_pacs_does_not_take_holds_nothing_else_up_and_is_tried_again(
    delivery: Delivery, queue: StudyQueue, pacs: LoopbackPacs, predict: Callable[..., None], status: int | None
):
    predict(*SOPS)
    patient = replace(delivery, pacs=replace(delivery.pacs, first_pause_s=3600.0))
    pacs.answer = lambda sop: status if sop == SOPS[0] else 0
    while patient.deliver_due():
        pass
    assert pacs.stored == dict.fromkeys(SOPS[1:], 1)
    assert pacs.asked[SOPS[0]] == 1
    assert ("A700" in read(queue).delivery_error) == (status == 0xA700)
    pacs.answer = lambda sop: 0
    with queue.database.transaction() as connection:
        connection.execute("UPDATE delivery SET due = 0")
    delivery.deliver_due()
    assert pacs.stored == dict.fromkeys(SOPS, 1)


def test_an_object_that_the_pacs_had_before_counts_as_delivered(
    delivery: Delivery, queue: StudyQueue, pacs: LoopbackPacs, predict: Callable[..., None]
):
    predict(*SOPS)
    pacs.answer = lambda sop: 0x0111
    delivery.deliver_due()
    assert read(queue).state == "done"


def test_pauses_double_up_to_the_longest(queue: StudyQueue, predict: Callable[..., None]):
    predict(SOPS[0])
    outbox = Outbox(queue.database)
    pauses = []
    for _ in range(5):
        with queue.database.transaction() as connection:
            connection.execute("UPDATE delivery SET due = 0")
        (parcel,) = outbox.list_due(9)
        before = outbox_due(queue)
        outbox.postpone(parcel, "down", 10.0, 100.0)
        pauses.append(outbox_due(queue) - before)
    first, *later = [round(pause - pauses[0], -1) for pause in pauses]
    assert (first, later) == (0, [10, 30, 70, 90])


def outbox_due(queue: StudyQueue) -> float:
    (row,) = queue.database.read("SELECT due FROM delivery")
    return float(row["due"])


def test_an_object_that_was_replaced_by_another_is_not_delivered_under_its_uid(
    delivery: Delivery, queue: StudyQueue, pacs: LoopbackPacs, folders: Folders, predict: Callable[..., None]
):
    predict(*SOPS)
    write(folders.results / "case/dicom/0.dcm", np.zeros((4, 4), np.uint16), SOPInstanceUID="1.9.9")
    os.remove(folders.results / "case/dicom/1.dcm")
    delivery.deliver_due()
    assert pacs.asked == {SOPS[2]: 1}


def test_a_study_that_has_grown_delivers_its_new_objects_alone(
    delivery: Delivery, queue: StudyQueue, pacs: LoopbackPacs, predict: Callable[..., None]
):
    predict(*SOPS[:2])
    delivery.deliver_due()
    predict(*SOPS[1:])
    delivery.deliver_due()
    assert pacs.stored == dict.fromkeys(SOPS, 1)
    assert read(queue).state == "done"


def test_objects_of_a_study_that_is_deleted_while_others_are_sent_do_not_reach_the_pacs(
    delivery: Delivery, queue: StudyQueue, pacs: LoopbackPacs, folders: Folders, predict: Callable[..., None]
):
    def delete(sop: str) -> int:
        assert remove_study(queue, folders, 1, ["delivering"])
        return 0

    predict(*SOPS)
    pacs.answer = delete
    delivery.deliver_due()
    assert sum(pacs.asked.values()) == 1
    assert not list(folders.incoming.iterdir())


def test_undelivered_objects_of_what_a_study_was_before_are_not_delivered_any_more(
    delivery: Delivery, queue: StudyQueue, pacs: LoopbackPacs, predict: Callable[..., None]
):
    predict("1.8.1", "1.8.2")
    predict(*SOPS)
    delivery.deliver_due()
    assert pacs.asked == dict.fromkeys(SOPS, 1)


def test_an_unknown_title_is_said_with_the_remedy(delivery: Delivery, queue: StudyQueue, predict: Callable[..., None]):
    predict(SOPS[0])
    strict = LoopbackPacs(find_free_port(), senders=["OTHER"])
    with strict.running():
        replace(delivery, pacs=replace(delivery.pacs, port=strict.port)).deliver_due()
    assert f"rejects {NODE}" in read(queue).delivery_error


def test_a_delivery_that_runs_sends_what_comes_and_ends_when_told(
    delivery: Delivery, queue: StudyQueue, pacs: LoopbackPacs, predict: Callable[..., None]
):
    thread = threading.Thread(target=delivery.run)
    thread.start()
    predict(*SOPS)
    wait_until(lambda: read(queue).state == "done")
    delivery.stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_objects_of_a_study_that_is_deleted_meanwhile_are_not_pushed(
    delivery: Delivery,
    queue: StudyQueue,
    folders: Folders,
    predict: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
):
    pushed = []

    def push_and_delete(url: str, paths: list[Path]) -> None:
        pushed.append(paths)
        assert remove_study(queue, folders, 1, ["delivering"])

    monkeypatch.setattr(service_delivery, "push", push_and_delete)
    predict(*SOPS)
    replace(delivery, pacs=PacsSettings(stow="https://pacs.example/dicom-web")).deliver_due()
    assert len(pushed) == 1


def test_a_service_that_is_busy_and_then_closes_connections_gets_each_object_once(
    delivery: Delivery, queue: StudyQueue, predict: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        trouble = next(troubles, "")
        if trouble == "close":
            raise OSError
        taken.extend([] if trouble else [service.bodies[-1]])
        say(handler, b"busy" if trouble else b"{}", 503 if trouble else 200)

    troubles, taken = iter(["busy"] * 6 + ["close"] * 6), list[bytes]()
    monkeypatch.setattr(transport, "sleep", lambda seconds: None)
    predict(*SOPS)
    service = Service(answer)
    by_stow = replace(delivery, pacs=PacsSettings(stow=service.url, first_pause_s=0.0))
    for _ in range(20):
        by_stow.deliver_due()
    assert (read(queue).state, read(queue).delivered) == ("done", 3)
    assert [[sop.encode() in body for body in taken].count(True) for sop in SOPS] == [1, 1, 1]
    assert next(troubles, "") == ""


@pytest.mark.slow
def test_objects_are_found_in_an_archive_that_takes_them_by_stow(
    delivery: Delivery,
    queue: StudyQueue,
    folders: Folders,
    predict: Callable[..., None],
    orthanc: Orthanc,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    predict(*SOPS)
    by_stow = replace(delivery, pacs=PacsSettings(stow=orthanc.url, first_pause_s=0.0))
    by_stow.deliver_due()
    assert "answers 401" in read(queue).delivery_error
    (tmp_path / "netrc").write_text(f'machine 127.0.0.1 login {USER} password "{PASSWORD}"\n')
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    by_stow.deliver_due()
    assert (read(queue).state, read(queue).delivered) == ("done", 3)
    orthanc.check_it_holds(folders.results.glob("case/dicom/*.dcm"))

"""The audit log has which sender brought which study and who was refused, and nobody fills the disk with it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kicc_ml.service.database import Database
from kicc_ml.service.dicom_node import DicomNode
from kicc_ml.service.intake import Folders, Intake
from kicc_ml.service.queue import StudyLimits, StudyQueue
from kicc_ml.service.settings import DicomSettings
from kicc_ml.service.worklist import read_studies
from tests.support.fake_node import make_study
from tests.support.loopback_pacs import NODE, SENDER, connect, find_free_port, send, wait_until


@pytest.fixture
def node(tmp_path: Path) -> Iterator[DicomNode]:
    folders = Folders(tmp_path / "node")
    folders.make()
    queue = StudyQueue(Database(folders.root / "node.sqlite"))
    settings = DicomSettings(NODE, port=find_free_port(), senders=[SENDER], associations=2)
    with DicomNode(settings, Intake(queue, folders, StudyLimits(2, 50), 0)).running() as running:
        yield running


def read_events(node: DicomNode, code: str) -> list[dict[str, Any]]:
    """The events of a code."""
    path = node.intake.folders.audit_log
    lines = path.read_text().splitlines() if path.exists() else []
    return [one for one in map(json.loads, lines) if one["EventIdentification"]["EventID"]["csd-code"] == code]


def test_each_study_is_noted_with_its_sender_when_it_begins_and_with_its_objects_at_the_end(node: DicomNode):
    studies = [make_study(1), make_study(2)]
    send(node.settings.port, *studies[0], *studies[1])
    wait_until(lambda: read_events(node, "110104"))
    begun, (ended,) = read_events(node, "110102"), read_events(node, "110104")
    uids = [[one["ParticipantObjectID"] for one in event["ParticipantObjectIdentification"]] for event in begun]
    assert uids == [["1.2.1"], ["1.2.2"]]
    assert [one["ParticipantObjectID"] for one in ended["ParticipantObjectIdentification"]] == ["1.2.1", "1.2.2"]
    assert ended["EventIdentification"]["EventOutcomeDescription"] == "4 objects were stored"
    for event in (*begun, ended):
        (sender,) = event["ActiveParticipant"]
        assert (sender["UserID"], sender["NetworkAccessPointID"]) == (SENDER, "127.0.0.1")
        assert sender["RoleIDCode"][0]["csd-code"] == "110153"


def test_an_object_is_not_confirmed_before_it_can_be_noted_and_then_it_is_there_once(node: DicomNode):
    study, log = make_study(1), node.intake.folders.audit_log
    log.mkdir()  # as where it cannot be written
    assert send(node.settings.port, *study) == [0xA700, 0xA700]
    log.rmdir()
    assert send(node.settings.port, *study) == [0, 0]
    assert [entry.instances for entry in read_studies(node.intake.queue)] == [2]


def test_objects_that_were_not_stored_are_one_line_of_their_association(node: DicomNode):
    assert send(node.settings.port, *make_study(1, images=5)).count(0) == 2
    wait_until(lambda: len(read_events(node, "110104")) == 2)
    refused = read_events(node, "110104")[1]["EventIdentification"]
    assert (refused["EventOutcomeIndicator"], refused["EventOutcomeDescription"]) == ("4", "3 objects were not stored")


@pytest.mark.parametrize(
    ("calling", "called", "why"),
    [("OTHER", NODE, "calling AE title is none of dicom.senders"), (SENDER, "X", "called AE title is not dicom.title")],
)
def test_a_title_that_is_refused_is_noted_once_a_minute(node: DicomNode, calling: str, called: str, why: str):
    for _ in range(6):
        assert connect(node.settings.port, calling, called).is_rejected
    wait_until(lambda: read_events(node, "110113"))
    (event,) = read_events(node, "110113")
    assert event["EventIdentification"]["EventTypeCode"][0]["csd-code"] == "110126"
    assert event["EventIdentification"]["EventOutcomeIndicator"] == "4"
    assert why in event["EventIdentification"]["EventOutcomeDescription"]
    assert event["ActiveParticipant"][0]["UserID"] == calling


def test_an_association_above_the_agreed_number_is_noted(node: DicomNode):
    kept = [connect(node.settings.port) for _ in range(2)]
    assert connect(node.settings.port).is_rejected
    wait_until(lambda: read_events(node, "110113"))
    (event,) = read_events(node, "110113")
    assert "more associations than dicom.associations" in event["EventIdentification"]["EventOutcomeDescription"]
    for one in kept:
        one.release()

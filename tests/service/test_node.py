"""A node as a whole, with a prediction that is a fake: what is sent to it comes back as results in the PACS."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.service.node import open_node
from kicc_ml.service.settings import (
    DicomSettings,
    PacsSettings,
    RetentionSettings,
    SiteSettings,
    StudySettings,
    WorkerSettings,
)
from kicc_ml.service.worklist import read_studies
from tests.support.fake_node import FakePredictor, list_result_uids, make_study, running_node
from tests.support.loopback_pacs import (
    NODE,
    SENDER,
    TITLE,
    LoopbackPacs,
    find_free_port,
    is_listening,
    send,
    wait_until,
)


def make_settings(folder: Path, pacs_port: int, min_free_gib: float = 0.0) -> SiteSettings:
    return SiteSettings(
        folder / "node",
        dicom=DicomSettings(NODE, port=find_free_port(), senders=[SENDER]),
        study=StudySettings(quiet_s=0.5),
        worker=WorkerSettings(job_minutes=1),
        pacs=PacsSettings(TITLE, "127.0.0.1", pacs_port, first_pause_s=0.1),
        retention=RetentionSettings(min_free_gib=min_free_gib),
    )


@pytest.fixture
def pacs() -> Iterator[LoopbackPacs]:
    with LoopbackPacs(find_free_port()).running() as running:
        yield running


def test_what_is_sent_comes_back_once_also_when_it_grows_or_is_refused(tmp_path: Path, pacs: LoopbackPacs):
    whole = make_study(1, images=3)
    settings = make_settings(tmp_path, pacs.port)
    with running_node(settings) as node:
        send(settings.dicom.port, *whole[:2], *make_study(2, PatientID="REFUSED"))
        wait_until(lambda: all(entry.ended for entry in read_studies(node.queue)))
        first = set(list_result_uids(whole[:2]))
        assert set(pacs.stored) == first
        send(settings.dicom.port, *whole)
        wait_until(lambda: len(pacs.stored) == 4)
        wait_until(lambda: all(entry.ended for entry in read_studies(node.queue)))
        states = {entry.uid: (entry.state, entry.reason, entry.instances) for entry in read_studies(node.queue)}
    assert pacs.stored == dict.fromkeys(first | set(list_result_uids(whole)), 1)
    assert states == {"1.2.1": ("done", "", 3), "1.2.2": ("refused", "no lungs were found", 2)}
    noted = [json.loads(line)["EventIdentification"] for line in node.folders.audit_log.read_text().splitlines()]
    kinds = [one["EventTypeCode"][0]["csd-code"] for one in noted if one["EventID"]["csd-code"] == "110100"]
    assert kinds == ["110120", "110121"]  # the node started and stopped


def test_a_folder_of_something_else_and_that_of_a_running_node_are_refused(tmp_path: Path):
    settings = make_settings(tmp_path, 1)
    settings.folder.mkdir()
    (settings.folder / "thesis.docx").touch()
    with pytest.raises(UserError, match="other things than a node"), open_node(settings, Event()):
        pass
    (settings.folder / "thesis.docx").unlink()
    with open_node(settings, Event()):
        assert settings.folder.stat().st_mode & 0o077 == 0
        with pytest.raises(UserError, match="is being written by process"), open_node(settings, Event()):
            pass


def test_a_page_that_cannot_be_served_ends_the_node_with_its_sentence(tmp_path: Path):
    def serve() -> None:
        raise UserError("web.port 8080 cannot be used")

    settings = make_settings(tmp_path, 1)
    with open_node(settings, Event()) as node, pytest.raises(UserError, match="8080 cannot be used"):
        node.run([FakePredictor(node.folders)], serve)
    assert not is_listening(settings.dicom.port)

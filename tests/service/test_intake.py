"""A hospital node takes in what known senders store, refuses the rest politely, and writes nowhere else."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from kicc_ml.service.database import Database
from kicc_ml.service.dicom_node import DicomNode
from kicc_ml.service.intake import Folders, Intake
from kicc_ml.service.queue import StudyLimits, StudyQueue
from kicc_ml.service.settings import DicomSettings
from kicc_ml.service.web.removal import remove_study
from tests.support.loopback_pacs import connect, find_free_port, send
from tests.support.plain_slices import write
from tests.support.tree import snapshot

IMAGE = np.zeros((6, 8), np.uint16)


@pytest.fixture
def make_intake(tmp_path: Path) -> Callable[..., Intake]:
    def make(instances: int = 50, in_flight: int = 50, min_free_bytes: int = 0) -> Intake:
        folders = Folders(tmp_path / "node")
        folders.make()
        queue = StudyQueue(Database(folders.root / "node.sqlite"))
        return Intake(queue, folders, StudyLimits(instances, in_flight), min_free_bytes)

    return make


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def settings(port: int) -> DicomSettings:
    return DicomSettings(title="NODE", port=port, senders=["SCANNER"], associations=2, object_mib=1)


@pytest.fixture
def node(settings: DicomSettings, make_intake: Callable[..., Intake]) -> Iterator[DicomNode]:
    with DicomNode(settings, make_intake()).running() as running:
        yield running


def make_slice(folder: Path, **tags: object) -> pydicom.Dataset:
    return pydicom.dcmread(write(folder / "slice.dcm", IMAGE, **tags))


def list_received(node: DicomNode) -> list[Path]:
    return sorted(node.intake.folders.received.glob("*/*.dcm"))


def test_what_is_stored_lies_on_the_disk_as_it_was_sent(node: DicomNode, port: int, tmp_path: Path):
    made = make_slice(tmp_path)
    assert send(port, made, made) == [0, 0]
    (path,) = list_received(node)
    assert pydicom.dcmread(path) == made
    assert not list(node.intake.folders.incoming.iterdir())


def test_another_object_of_a_known_uid_is_refused_with_a_reason_and_the_same_is_not(
    node: DicomNode, port: int, tmp_path: Path
):
    made, changed = make_slice(tmp_path), make_slice(tmp_path, SOPInstanceUID="1.2.9")
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    assert send(port, made, made) == [0, 0]
    changed.PixelData = bytes(len(made.PixelData) - 2) + b"\1\0"
    association = connect(port, objects=[changed])
    answer = association.send_c_store(changed)
    association.release()
    assert answer.Status == 0xC001
    assert answer.ErrorComment.startswith("another object has this UID here; delete the study")
    (path,) = list_received(node)
    assert pydicom.dcmread(path) == made
    assert not list(node.intake.folders.incoming.iterdir())


def test_an_object_is_the_same_whoever_wrote_the_meta_information_of_its_file(
    make_intake: Callable[..., Intake], tmp_path: Path
):
    intake, made = make_intake(), make_slice(tmp_path, SOPInstanceUID="1.2.9")
    for writer in ("MRIDIAN", "A LONGER NAME"):
        made.file_meta.ImplementationVersionName = writer
        made.save_as(intake.folders.incoming / "x.dcm")
        assert intake.take(intake.folders.incoming / "x.dcm")[0] == 0
    assert len(list(intake.folders.received.glob("*/*.dcm"))) == 1


def test_an_object_of_a_study_that_is_deleted_while_it_comes_is_refused_and_leaves_nothing(
    make_intake: Callable[..., Intake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    intake, path = make_intake(), write(tmp_path / "node" / "incoming" / "x.dcm", IMAGE)
    find_or_add = StudyQueue.find_or_add

    def delete_then(queue: StudyQueue, *arguments: Any) -> int:
        study = find_or_add(queue, *arguments)
        assert remove_study(queue, intake.folders, study, ["receiving"])
        return study

    monkeypatch.setattr(StudyQueue, "find_or_add", delete_then)
    assert intake.take(path)[:2] == (0xA700, "its study was deleted while it came; send it again")
    assert not list(intake.folders.received.glob("[0-9]*"))
    monkeypatch.undo()
    assert intake.take(write(path, IMAGE))[0] == 0


@pytest.mark.parametrize(("calling", "called"), [("OTHER", "NODE"), ("SCANNER", "OTHER")])
def test_an_unknown_title_is_rejected(node: DicomNode, port: int, calling: str, called: str):
    assert connect(port, calling, called).is_rejected


@pytest.mark.parametrize("syntax", [pydicom.uid.DeflatedExplicitVRLittleEndian, pydicom.uid.MPEG2MPML])
def test_deflated_objects_and_what_cannot_be_decoded_are_not_taken(
    node: DicomNode, port: int, tmp_path: Path, syntax: str
):
    made = make_slice(tmp_path)
    made.file_meta.TransferSyntaxUID = syntax
    association = connect(port, objects=[made])
    assert [context.abstract_syntax.name for context in association.rejected_contexts] == ["CT Image Storage"]
    association.release()


def test_an_echo_is_answered(node: DicomNode, port: int):
    association = connect(port)
    assert association.send_c_echo().Status == 0
    association.release()


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("uid", ["../../x", "1.2/../../x", "", "1..\n"])
def test_a_uid_that_is_none_is_refused_and_nothing_is_written(
    make_intake: Callable[..., Intake], tmp_path: Path, name: str, uid: str
):
    intake = make_intake()
    made = make_slice(tmp_path)
    made[name].value = pydicom.uid.UID(uid)
    path = tmp_path / "node" / "incoming" / "x.dcm"
    made.save_as(path)
    before = snapshot(tmp_path, but=[tmp_path / "node" / "node.sqlite"])
    status = intake.take(path).status
    assert status == 0xC000
    assert snapshot(tmp_path, but=[tmp_path / "node" / "node.sqlite"]).keys() == before.keys()


def test_bytes_that_are_not_dicom_are_refused(make_intake: Callable[..., Intake], tmp_path: Path):
    intake = make_intake()
    (intake.folders.incoming / "x.dcm").write_bytes(bytes(range(256)) * 9)
    assert intake.take(intake.folders.incoming / "x.dcm")[0] == 0xC000


def test_an_object_that_is_not_the_announced_one_is_refused(make_intake: Callable[..., Intake], tmp_path: Path):
    path = write(tmp_path / "node" / "x.dcm", IMAGE)
    assert make_intake().take(path, sop="1.2.3")[0] == 0xA900


def test_a_nearly_full_disk_and_a_full_queue_refuse_politely(
    settings: DicomSettings, make_intake: Callable[..., Intake], port: int, tmp_path: Path
):
    made = make_slice(tmp_path)
    with DicomNode(settings, make_intake(min_free_bytes=2**60)).running():
        assert send(port, made) == [0xA700]
    with DicomNode(settings, make_intake(in_flight=0)).running() as node:
        assert send(port, made) == [0xA700]
        assert not list_received(node)
    with DicomNode(settings, make_intake()).running():
        assert send(port, made) == [0]


def test_a_file_that_was_not_noted_before_a_kill_is_removed(make_intake: Callable[..., Intake], tmp_path: Path):
    intake = make_intake()
    path = write(tmp_path / "node" / "incoming" / "x.dcm", IMAGE)
    assert intake.take(path)[0] == 0
    (noted,) = intake.folders.received.glob("*/*.dcm")
    (noted.parent / "orphan.dcm").write_bytes(b"")
    intake.remove_unknown_files({int(noted.parent.name): {noted.name}})
    assert list(intake.folders.received.glob("*/*.dcm")) == [noted]


def test_a_pdu_of_four_gigabytes_is_not_waited_for(node: DicomNode, port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.sendall(struct.pack(">BBL", 1, 0, 2**32 - 1) + bytes(100))
        with suppress(ConnectionResetError):
            assert peer.recv(100) == b""  # closed, although more was announced
    assert connect(port).is_established


def test_an_object_above_the_limit_ends_the_association_and_leaves_nothing(node: DicomNode, port: int, tmp_path: Path):
    made = make_slice(tmp_path)
    made.PixelData = bytes(3 * 2**20)
    association = connect(port)
    with pytest.raises((RuntimeError, AssertionError)):
        assert association.send_c_store(made).get("Status") is not None
    assert not list_received(node)
    assert send(port, make_slice(tmp_path)) == [0]

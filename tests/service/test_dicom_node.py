"""What senders do to the DICOM port leaves nothing on the disk, and takes no more threads than were agreed."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pynetdicom import association as library
from pynetdicom.association import Association

from kicc_ml.service.database import Database
from kicc_ml.service.dicom_node import DicomNode
from kicc_ml.service.intake import Folders, Intake
from kicc_ml.service.queue import StudyLimits, StudyQueue
from kicc_ml.service.settings import DicomSettings
from tests.support.loopback_pacs import begin_to_store, connect, find_free_port, list_parts, send, wait_until
from tests.support.plain_slices import slice_dataset

#: At most twice as many connections are taken as associations.
ASSOCIATIONS = 2
LARGE = slice_dataset(np.zeros((1024, 1024), np.uint16))


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def make_node(port: int, tmp_path: Path) -> Callable[..., DicomNode]:
    def make(min_free_bytes: int = 0, object_mib: int = 8) -> DicomNode:
        folders = Folders(tmp_path / "node")
        folders.make()
        queue = StudyQueue(Database(folders.root / "node.sqlite"))
        settings = DicomSettings(
            "NODE", port=port, senders=["SCANNER"], associations=ASSOCIATIONS, object_mib=object_mib
        )
        return DicomNode(settings, Intake(queue, folders, StudyLimits(50, 50), min_free_bytes))

    return make


@pytest.fixture
def node(make_node: Callable[..., DicomNode]) -> Iterator[DicomNode]:
    with make_node().running() as running:
        yield running


def list_incoming(node: DicomNode) -> list[Path]:
    return list(node.intake.folders.incoming.iterdir())


def list_open_and_removed() -> list[str]:
    """Files that this process has open although they are removed: their disk is not free."""
    links = (Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))
    return [target for link in links if link.is_symlink() and (target := os.readlink(link)).endswith(".dcm (deleted)")]


def abort(association: Any) -> None:
    association.abort()


def cut(association: Any) -> None:
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("end", [abort, cut])
def test_an_object_that_was_cut_off_leaves_nothing_on_the_disk(node: DicomNode, port: int, end: Callable[[Any], None]):
    association = connect(port, objects=[LARGE])
    begin_to_store(association, LARGE)
    wait_until(lambda: list_incoming(node))
    end(association)
    wait_until(lambda: not list_incoming(node), 90)
    assert list_open_and_removed() == []


def test_a_command_within_an_object_leaves_no_second_file(node: DicomNode, port: int):
    association = connect(port, objects=[LARGE])
    for part in [*list_parts(association, LARGE)[:3], *list_parts(association, LARGE)[:3]]:
        association.dul.send_pdu(part)
    wait_until(lambda: len(list_incoming(node)) == 2)
    association.abort()
    wait_until(lambda: not list_incoming(node), 90)


def test_an_object_for_which_there_is_no_room_is_not_waited_for(make_node: Callable[..., DicomNode], port: int):
    with make_node(min_free_bytes=2**60).running() as node:
        association = connect(port, objects=[LARGE])
        begin_to_store(association, LARGE)
        wait_until(lambda: association.is_aborted, 90)
        wait_until(lambda: not list_incoming(node), 90)
        assert send(port, slice_dataset(np.zeros((4, 4), np.uint16))) == [0xA700]  # a small one is told


def test_an_object_above_the_limit_leaves_nothing(make_node: Callable[..., DicomNode], port: int):
    with make_node(object_mib=1).running() as node:
        association = connect(port, objects=[LARGE])
        begin_to_store(association, LARGE)
        wait_until(lambda: association.is_aborted, 90)
        wait_until(lambda: not list_incoming(node), 90)


def test_files_of_objects_that_do_not_grow_are_removed_and_those_of_others_stay(node: DicomNode):
    incoming = node.intake.folders.incoming
    old = time.time() - node.settings.association_idle_s - 60
    for name, changed in (("association-a.dcm", old), ("association-b.dcm", time.time()), ("aa.dcm", old)):
        (incoming / name).touch()
        os.utime(incoming / name, (changed, changed))
    node.close_stuck()
    assert sorted(path.name for path in incoming.iterdir()) == ["aa.dcm", "association-b.dcm"]


def test_of_two_hundred_connections_at_once_only_the_agreed_number_is_served(
    node: DicomNode, port: int, monkeypatch: pytest.MonkeyPatch
):
    served = []
    monkeypatch.setattr(library, "Association", lambda *arguments: served.append(arguments) or Association(*arguments))
    peers = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(200)]
    wait_until(lambda: sum(is_closed(peer) for peer in peers) == len(peers) - 2 * ASSOCIATIONS)
    assert len(served) == 2 * ASSOCIATIONS
    for peer in peers:
        peer.close()
    wait_until(lambda: connect(port).is_established)


def is_closed(peer: socket.socket) -> bool:
    """Whether the other side has closed a connection."""
    peer.setblocking(False)
    try:
        return peer.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def send_half_a_pdu(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(struct.pack(">BBL", 1, 0, 1000) + bytes(500))


def send_nothing(port: int) -> None:
    socket.create_connection(("127.0.0.1", port)).close()


def send_another_pdu(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(struct.pack(">BBL", 9, 0, 1000) + bytes(1000))


def be_rejected(port: int) -> None:
    connect(port, "OTHER")


def be_aborted(port: int) -> None:
    connect(port).abort()


@pytest.mark.parametrize("end", [send_nothing, send_half_a_pdu, send_another_pdu, be_rejected, be_aborted])
def test_a_connection_gives_its_place_back_however_it_ends(node: DicomNode, port: int, end: Callable[[int], None]):
    for _ in range(2 * ASSOCIATIONS + 1):
        end(port)
    wait_until(lambda: connect(port).is_established, 60)


def test_the_objects_of_an_association_that_was_let_in_are_kept(node: DicomNode, port: int):
    small = slice_dataset(np.zeros((4, 4), np.uint16))
    assert send(port, LARGE, small) == [0, 0]
    kept = [pydicom.dcmread(path) for path in node.intake.folders.received.glob("*/*.dcm")]
    assert {one.SOPInstanceUID for one in kept} == {LARGE.SOPInstanceUID, small.SOPInstanceUID}
    assert not list_incoming(node)

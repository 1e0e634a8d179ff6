"""Whatever hostile senders do, a node goes on, within its memory and its folder, and takes in what is good.

``KICC_HOSTILE=10000`` sends so many mutated PDUs and as many mutated objects; without it they are a few hundred.
"""

import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pynetdicom.dsutils import encode

from kicc_ml.service.database import Database
from kicc_ml.service.queue import StudyQueue
from kicc_ml.service.worklist import StudyEntry, read_studies
from tests.support.commands import ROOT
from tests.support.fake_node import make_study
from tests.support.hostile_senders import drip, mutate, record_pdus, send_bytes, store_encoded
from tests.support.loopback_pacs import NODE, SENDER, connect, find_free_port, is_listening, send, wait_until
from tests.support.plain_slices import slice_dataset
from tests.support.tree import snapshot

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache_in_a_temporary_folder")]

MUTATED = int(os.environ.get("KICC_HOSTILE", "300"))
MAX_INSTANCES, IDLE_S, ASSOCIATIONS = 50, 15, 8
MOST_BYTES = 2 * 2**30
SITE = f"""
folder: hospital/node
dicom:
  {{{{title: {NODE}, port: {{port}}, senders: [{SENDER}], object_mib: 8, association_idle_s: {IDLE_S},
    associations: {ASSOCIATIONS}}}}}
study: {{{{quiet_s: 1, max_instances: {MAX_INSTANCES}, max_in_flight: 100000}}}}
retention: {{{{min_free_gib: 0}}}}
web: {{{{port: 0}}}}
"""
#: Of good studies, beyond those that a test sends.
NUMBERS = count(1000)
IMAGE = slice_dataset(np.zeros((16, 16), np.uint16), StudyInstanceUID="1.2.8", SOPInstanceUID="1.2.8.1")


@dataclass(frozen=True)
class RunningNode:
    """A node in a process of its own, in ``folder/hospital/node``."""

    folder: Path
    port: int
    process: subprocess.Popen

    @property
    def most_bytes(self) -> int:
        """The memory that the node has had at most, its workers not counted."""
        (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(line) * 1024

    def count_threads(self) -> int:
        """Count the threads of the node."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def read(self) -> dict[str, StudyEntry]:
        """The studies by UID."""
        database = Database(self.folder / "hospital" / "node" / "node.sqlite")
        try:
            return {entry.uid: entry for entry in read_studies(StudyQueue(database))}
        finally:
            database.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder, port = tmp_path_factory.mktemp("hostile"), find_free_port()
    (folder / "site.yaml").write_text(SITE.format(port=port))
    (folder / "hospital").mkdir()
    command = [sys.executable, "-m", "tests.support.fake_node", str(folder / "site.yaml"), "0"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: is_listening(port))
            yield RunningNode(folder, port, process)
        finally:
            process.kill()


@pytest.fixture
def node(running: RunningNode, request: pytest.FixtureRequest) -> Iterator[RunningNode]:
    """The node of all tests; after each it is as alive as before, and has written into its folder alone."""
    kept = [running.folder / "hospital" / "node", running.folder / "log"]
    before = snapshot(running.folder, but=kept)
    yield running
    good = make_study(next(NUMBERS))
    wait_until(lambda: is_listening(running.port))
    assert send(running.port, *good) == [0] * len(good)
    wait_until(lambda: running.read()[good[0].StudyInstanceUID].state == "done")
    wait_until(lambda: not list((running.folder / "hospital" / "node" / "incoming").iterdir()))
    assert snapshot(running.folder, but=kept) == before
    received = running.folder / "hospital" / "node" / "received"
    names = {str(path.relative_to(received)) for path in received.rglob("*.dcm")}
    assert all(re.fullmatch(r"\d+/[0-9a-f]{16}\.dcm", name) for name in names)
    assert running.process.poll() is None
    assert "Exception in thread" not in (running.folder / "log").read_text()
    assert running.most_bytes < MOST_BYTES
    print(f"{request.node.name}: the node had {running.most_bytes / 2**20:.0f} MiB at most")


def test_mutated_pdus(node: RunningNode):
    pdus = record_pdus(node.port, IMAGE)

    def send_mutated(seed: int) -> None:
        drawn = random.Random(seed)
        at = drawn.randrange(len(pdus))
        with suppress(OSError):
            send_bytes(node.port, [*pdus[:at], mutate(drawn, pdus[at]), *pdus[at + 1 :]])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send_mutated, range(MUTATED)))


@pytest.fixture
def from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are sent as they are."""
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)


@pytest.mark.usefixtures("from_disk")
def test_mutated_objects(node: RunningNode, tmp_path: Path):
    drawn = random.Random(7)
    statuses: dict[int | None, int] = {}
    association = connect(node.port, objects=[IMAGE])
    for number in range(MUTATED):
        made = slice_dataset(np.zeros((16, 16), np.uint16), StudyInstanceUID=f"1.2.7.{number % 40}")
        while not association.is_established:
            association = connect(node.port, objects=[IMAGE])
        whole = encode(made, False, True)
        assert whole is not None
        status = store_encoded(association, tmp_path / "mutated.dcm", made, mutate(drawn, whole))
        statuses[status] = statuses.get(status, 0) + 1
    association.release()
    print(f"statuses: { {hex(one) if one is not None else None: total for one, total in statuses.items()} }")
    assert {0x0000, 0xC000} <= statuses.keys()


@pytest.mark.usefixtures("from_disk")
@pytest.mark.parametrize("uid", ["../../outside", "/tmp/outside", "1.2/../../../outside", ".."])
def test_uids_that_are_paths(node: RunningNode, tmp_path: Path, uid: str):
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        made = slice_dataset(np.zeros((16, 16), np.uint16), StudyInstanceUID="1.2.6")
        made[name].value = pydicom.uid.UID(uid)
        association = connect(node.port, objects=[made])
        encoded = encode(made, False, True)
        assert encoded is not None
        assert store_encoded(association, tmp_path / "sent.dcm", made, encoded) in (0xC000, 0xA900, None)
        association.abort()


def test_unknown_titles(node: RunningNode):
    assert connect(node.port, calling="STRANGER").is_rejected
    assert connect(node.port, called="ANOTHER").is_rejected


def test_slow_senders(node: RunningNode):
    pdus = record_pdus(node.port, IMAGE)
    with ThreadPoolExecutor(8) as pool:
        waited = list(pool.map(lambda _: drip(node.port, pdus[0], 0.5, 20 * IDLE_S), range(8)))
    assert max(waited) < 20 * IDLE_S


def test_two_hundred_associations_at_once(node: RunningNode):
    pdus = record_pdus(node.port, IMAGE)
    peers = [socket.create_connection(("127.0.0.1", node.port), timeout=60) for _ in range(200)]
    for peer in peers:
        with suppress(OSError):
            peer.sendall(pdus[0])
    wait_until(lambda: node.count_threads() > 3 * ASSOCIATIONS)
    threads = [node.count_threads() for _ in range(200) if not time.sleep(0.01)]
    print(f"{max(threads)} threads with 200 connections")
    assert max(threads) < 100  # three for each of twice as many connections, and those of the node
    for peer in peers:
        peer.close()


def test_a_study_of_too_many_instances(node: RunningNode):
    statuses = send(node.port, *make_study(5, 2 * MAX_INSTANCES))
    assert statuses == [0] * MAX_INSTANCES + [0xA700] * MAX_INSTANCES
    assert node.read()["1.2.5"].instances == MAX_INSTANCES

"""A node that is killed at any moment, again and again, loses nothing and doubles nothing."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pydicom
import pytest

from kicc_ml.service.database import Database
from kicc_ml.service.queue import StudyQueue
from kicc_ml.service.worklist import StudyEntry, read_studies
from tests.support.commands import ROOT
from tests.support.fake_node import list_result_uids, make_study
from tests.support.loopback_pacs import (
    NODE,
    SENDER,
    TITLE,
    LoopbackPacs,
    connect,
    find_free_port,
    is_listening,
    wait_until,
)

pytestmark = pytest.mark.slow

STUDIES, IMAGES, KILLS = 12, 6, 20
#: What the PACS does while a node lives: it is down, is out of resources, closes the association, or takes all.
MOODS = ("down", 0xA700, None, 0)
SITE = """
folder: node
dicom: {{title: {node}, port: {port}, senders: [{sender}]}}
study: {{quiet_s: 1.0}}
worker: {{devices: [cpu, cpu]}}
pacs: {{title: {pacs}, host: 127.0.0.1, port: {pacs_port}, first_pause_s: 0.1, longest_pause_s: 1.0}}
retention: {{min_free_gib: 0}}
web: {{port: 0}}
"""


@contextmanager
def start_node(config: Path) -> Iterator[subprocess.Popen]:
    """Start a node; it is killed without notice at the end of the block."""
    command = [sys.executable, "-m", "tests.support.fake_node", str(config), "0.3"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def send_until_stored(port: int, images: list[pydicom.Dataset], most_s: float) -> list[pydicom.Dataset]:
    """Send as a scanner does: what was not confirmed is sent again. Returns what is left after ``most_s``."""
    left = list(images)
    deadline = time.monotonic() + most_s
    while left and time.monotonic() < deadline:
        association = connect(port)
        while left and association.is_established and time.monotonic() < deadline:
            try:
                if association.send_c_store(left[0]).get("Status") == 0:
                    left.pop(0)
            except (RuntimeError, ValueError):
                break
        if association.is_established:
            association.release()
        else:
            time.sleep(0.1)
    return left


def read(config: Path) -> list[StudyEntry]:
    database = Database(config.parent / "node" / "node.sqlite")
    try:
        return read_studies(StudyQueue(database))
    finally:
        database.close()


@pytest.mark.usefixtures("cache_in_a_temporary_folder")
def test_a_node_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path):
    drawn = random.Random(5)
    studies = [make_study(number, IMAGES) for number in range(1, STUDIES + 1)]
    left = [image for study in studies for image in study]
    port, pacs = find_free_port(), LoopbackPacs(find_free_port())
    config = tmp_path / "site.yaml"
    config.write_text(SITE.format(node=NODE, port=port, sender=SENDER, pacs=TITLE, pacs_port=pacs.port))
    refused = 0
    for kill in range(KILLS):
        mood = MOODS[kill * len(MOODS) // KILLS]
        pacs.answer = lambda sop, mood=mood: mood  # type: ignore[misc]
        with nullcontext() if mood == "down" else pacs.running(), start_node(config):
            if kill % 4:  # else it is killed while it starts, on a slow machine
                wait_until(lambda: is_listening(port))
            left = send_until_stored(port, left, drawn.uniform(1, 8))
            while mood in (0xA700, None) and kill % 4 == 1 and sum(pacs.asked.values()) == refused:
                left = send_until_stored(port, left, 1)
                time.sleep(0.1)
        refused = sum(pacs.asked.values()) - sum(pacs.stored.values())
    assert refused
    with pacs.running(), start_node(config):
        left = send_until_stored(port, left, 120)
        assert not left
        wait_until(lambda: all(entry.state == "done" for entry in read(config)) and len(read(config)) == STUDIES, 120)
    assert all(entry.instances == IMAGES and len(entry.results) == 1 for entry in read(config))
    assert {uid for study in studies for uid in list_result_uids(study)} <= set(pacs.stored)
    parts = [study[:count] for study in studies for count in range(1, IMAGES + 1)]
    assert set(pacs.stored) <= {uid for part in parts for uid in list_result_uids(part)}
    # a kill between the answer of the PACS and the note of it: the same object again, by its UID
    assert sum(pacs.stored.values()) - len(pacs.stored) <= KILLS

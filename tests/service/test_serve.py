"""``kicc-ml serve`` as a hospital runs it: what scanners send comes back as results in the PACS."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest

from kicc_ml.dicom.index.build import index_repository
from kicc_ml.service.database import Database
from kicc_ml.service.queue import StudyQueue
from kicc_ml.service.worklist import StudyEntry, read_studies
from tests.support.chest_study import COLUMNS, ROWS, make_chest
from tests.support.commands import KICC_ML, ROOT, finished, run, train
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
from tests.support.structured_reports import list_values

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache_in_a_temporary_folder")]

#: So many steps that lungs are found; the lesions need not be.
STEPS = ("trainer.max_time=null", "++trainer.max_steps=120", "split=all")
RUNS = {
    "ct": ("experiment=lesion_ct", "network.channels=[4,8,16]", "network.strides=[2,2]", *STEPS),
    "cxr": (
        "experiment=lesion_cxr",
        "data.canonical.size=64",
        "network.channels=[8,16]",
        "network.strides=[2]",
        *STEPS,
    ),
}
HOSPITAL = "daegu-1"
#: Soft tissue in every pixel, which is refused whatever a network has learnt.
NO_AIR = np.full((ROWS, COLUMNS), 1064, np.uint16).tobytes()
SITE = """
folder: node
dicom: {{title: {node}, port: {port}, senders: [{sender}]}}
study: {{quiet_s: 30}}
pacs: {{title: {pacs}, host: 127.0.0.1, port: {pacs_port}, first_pause_s: 0.5, longest_pause_s: 5}}
retention: {{min_free_gib: 0}}
web: {{port: 0}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hospital")


@pytest.fixture(scope="module")
def repository(folder: Path) -> Path:
    size = ("--patients", 12, "--sites", 2, "--matrix", 64, "--slices", 24, "--seed", 3)
    assert run(*KICC_ML, "synthesize", "--preset", "demo", *size, folder / "repository").returncode == 0
    return folder / "repository"


@pytest.fixture(scope="module")
def runs(repository: Path, folder: Path) -> list[Path]:
    for name, settings in RUNS.items():
        finished(train(repository, folder / name, *settings))
    return [folder / name for name in RUNS]


@pytest.fixture(scope="module")
def sent(repository: Path, folder: Path) -> Path:
    """Three CTs and two radiographs of one hospital."""
    found = [series for series in index_repository(repository) if series.site == HOSPITAL and series.usable]
    for modality, count in (("CT", 3), ("CXR", 2)):
        for series in [one for one in found if one.modality == modality][:count]:
            for number, path in enumerate(series.files):
                copy = folder / "sent" / series.uid / f"{number}.dcm"
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
    return folder / "sent"


@pytest.fixture(scope="module")
def studies(sent: Path) -> list[list[pydicom.Dataset]]:
    """What is sent, a study of a body that fills the picture, and one that is damaged."""
    by_study: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted(sent.glob("*/*.dcm")):
        image = pydicom.dcmread(path)
        by_study.setdefault(str(image.StudyInstanceUID), []).append(image)
    return [*by_study.values(), make_chest("1.2.1", PixelData=NO_AIR), make_chest("1.2.2", PixelData=b"\0\0")]


@pytest.fixture(scope="module")
def predicted(sent: Path, runs: list[Path], folder: Path) -> dict[str, pydicom.Dataset]:
    """What ``kicc-ml predict`` makes of the same images, by SOP instance UID."""
    for one in runs:
        out = folder / f"predicted-{one.name}"
        result = run(*KICC_ML, "predict", "-i", sent, "-o", out, "--run", one, "--dicom")
        assert result.returncode in (0, 3), result.stderr
    made = [pydicom.dcmread(path) for path in folder.glob("predicted-*/*/dicom/*.dcm")]
    return {str(one.SOPInstanceUID): one for one in made}


@contextmanager
def serve(config: Path, runs: list[Path]) -> Iterator[subprocess.Popen]:
    """The command, killed at the end if it still runs."""
    words = [*KICC_ML, "serve", "--config", config, *(word for one in runs for word in ("--run", one))]
    with (config.parent / "log").open("ab") as log:
        process = subprocess.Popen(
            [str(word) for word in words], cwd=ROOT, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read(config: Path) -> list[StudyEntry]:
    database = Database(config.parent / "node" / "node.sqlite")
    try:
        return read_studies(StudyQueue(database))
    finally:
        database.close()


def test_studies_sent_over_two_associations_come_back_as_predict_makes_them(
    tmp_path: Path,
    runs: list[Path],
    studies: list[list[pydicom.Dataset]],
    predicted: dict[str, pydicom.Dataset],
):
    port, config = find_free_port(), tmp_path / "site.yaml"
    (tmp_path / "pacs").mkdir()
    pacs = LoopbackPacs(find_free_port(), folder=tmp_path / "pacs")
    config.write_text(SITE.format(node=NODE, port=port, sender=SENDER, pacs=TITLE, pacs_port=pacs.port))
    halves = [[image for study in studies[start::2] for image in study] for start in (0, 1)]
    with serve(config, runs) as node, ThreadPoolExecutor(2) as pool:
        wait_until(lambda: is_listening(port))
        statuses = list(pool.map(lambda images: send(port, *images), halves))
        assert {status for half in statuses for status in half} == {0}
        wait_until(lambda: all(entry.state in ("delivering", "refused") for entry in read(config)), 1200)
        with pacs.running():  # it was down until now
            wait_until(lambda: all(entry.ended for entry in read(config)), 600)
        node.send_signal(signal.SIGTERM)
        assert node.wait(120) == 0
    entries = {entry.uid: entry for entry in read(config)}
    assert len(entries) == len(studies)
    assert pacs.stored == dict.fromkeys(predicted, 1)
    for uid, made in predicted.items():
        there = pydicom.dcmread(tmp_path / "pacs" / f"{uid}.dcm")
        if made.Modality == "SEG":
            assert there.PixelData == made.PixelData
        if made.Modality == "SR":
            assert list_values(there) == list_values(made)
    assert {str(made.StudyInstanceUID) for made in predicted.values()} == {
        uid for uid, entry in entries.items() if entry.state == "done"
    }
    assert {entry.modality for one in entries.values() for entry in one.results} == {"CT", "CXR"}
    assert (entries["1.2.1"].state, entries["1.2.2"].state) == ("refused", "refused")
    assert "not Hounsfield units of a chest" in entries["1.2.1"].reason
    assert "ends before its pixel data" in entries["1.2.2"].reason
    assert all(entry.reason for entry in entries.values() if entry.state == "refused")

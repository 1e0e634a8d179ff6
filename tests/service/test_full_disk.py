"""A disk that is full stops nothing but the intake, and that only as long as it is full."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kicc_ml.service.settings import DicomSettings, PacsSettings, RetentionSettings, SiteSettings, StudySettings
from kicc_ml.service.worklist import read_studies
from tests.support.fake_node import list_result_uids, make_study, running_node
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

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted here by nobody but root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Take all that is left of a disk."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


def test_a_node_with_a_full_disk_confirms_nothing_and_goes_on_as_soon_as_there_is_room(small_disk: Path):
    first, second = make_study(1), make_study(2)
    with LoopbackPacs(find_free_port()).running() as pacs:
        settings = SiteSettings(
            small_disk / "node",
            dicom=DicomSettings(NODE, port=find_free_port(), senders=[SENDER]),
            study=StudySettings(quiet_s=0.5),
            pacs=PacsSettings(TITLE, "127.0.0.1", pacs.port, first_pause_s=0.1),
            retention=RetentionSettings(min_free_gib=0),
        )
        port = settings.dicom.port
        with running_node(settings) as node:
            assert send(port, *first) == [0, 0]
            wait_until(lambda: [entry.state for entry in read_studies(node.queue)] == ["done"])
            fill(small_disk / "other")
            for _ in range(3):
                assert set(send(port, *second)) <= {0xA700, None}
            assert is_listening(port)
            wait_until(lambda: not list(node.folders.incoming.iterdir()))
            (small_disk / "other").unlink()
            assert send(port, *second) == [0, 0]
            wait_until(lambda: [entry.state for entry in read_studies(node.queue)] == ["done", "done"])
    assert pacs.stored == dict.fromkeys([*list_result_uids(first), *list_result_uids(second)], 1)

"""One writer at a time, and a killed one holds nobody up."""

import os
import socket
from pathlib import Path

import pytest

from kicc_ml.core.locks import Busy, hold
from tests.support.lock_holder import other_process


def test_the_second_comer_is_told_who_holds_the_lock(tmp_path: Path):
    process = other_process(tmp_path / ".lock")
    try:
        with pytest.raises(Busy, match=f"the fold is being written by process {process.pid} on {socket.gethostname()}"):  # noqa: SIM117
            with hold(tmp_path / ".lock", "the fold"):
                pass
    finally:
        process.kill()
        process.wait()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path):
    process = other_process(tmp_path / ".lock")
    process.kill()
    process.wait()
    with hold(tmp_path / ".lock", "the fold"):
        assert (tmp_path / ".lock").is_file()


def test_a_lock_is_released_with_its_block(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), hold(tmp_path / ".lock", "the fold"):
            raise ZeroDivisionError


@pytest.mark.parametrize("content", [b"", b"filelock/2\npid=12"])
@pytest.mark.parametrize("wait", [False, True])
def test_a_lock_of_a_process_killed_before_it_was_written_is_taken_over(tmp_path: Path, content: bytes, wait: bool):
    (tmp_path / ".lock").write_bytes(content)
    with hold(tmp_path / ".lock", "the folder", wait=wait):
        assert f"pid={os.getpid()}\n" in (tmp_path / ".lock").read_text()
    assert not (tmp_path / ".lock").exists()

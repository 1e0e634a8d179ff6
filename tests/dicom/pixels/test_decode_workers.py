"""A decoder that crashes, hangs or grows costs one file, and the next is decoded."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
from pydicom.uid import (
    RLELossless,
)

from kicc_ml.dicom.pixels.codestream import Codestream, describe_codestream
from kicc_ml.dicom.pixels.decode_pool import DecodingError, decode_in_worker
from kicc_ml.dicom.pixels.read import NotAnImage, read_image
from tests.support.compressed_files import VALUES, compressed, signed_file


def decoding_workers() -> list[psutil.Process]:
    """The processes that decode for this one."""
    return [one for one in psutil.Process().children() if any("decode_worker" in word for word in one.cmdline())]


def crash_the_one_asked(workers: list[psutil.Process]) -> None:
    """Wait until a suspended worker has a request in its pipe, end it as a fault in its code would; wake the others."""
    pipes = [os.open(f"/proc/{one.pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK) for one in workers]
    asked = None
    while asked is None:
        time.sleep(0.005)
        asked = next((one for one, pipe in zip(workers, pipes, strict=True) if bytes_waiting(pipe)), None)
    asked.send_signal(signal.SIGSEGV)
    for one in workers:
        one.resume()
    for pipe in pipes:
        os.close(pipe)


def bytes_waiting(pipe: int) -> int:
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


class TestWorkers:
    """Decoding in processes apart."""

    stream = b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 11, 16, 4, 4, 1)

    def sound(self, folder: Path) -> Path:
        return compressed(signed_file(folder / "sound"), RLELossless)

    def test_a_worker_that_dies_costs_one_file(self, tmp_path: Path):
        path = self.sound(tmp_path)
        read_image(path)
        workers = decoding_workers()
        for worker in workers:
            worker.suspend()  # so that none has answered before it dies
        killer = threading.Thread(target=crash_the_one_asked, args=(workers,), daemon=True)
        killer.start()
        with pytest.raises(NotAnImage, match="the decoder ended with status -11"):
            read_image(path)
        killer.join()
        np.testing.assert_array_equal(read_image(path).stored, VALUES)

    def test_a_decoder_that_hangs_is_ended(self, monkeypatch: pytest.MonkeyPatch):
        with pytest.raises(subprocess.CalledProcessError) as ended:
            self.run_worker("import time; decoders.DECODERS['rle'] = lambda s, c: time.sleep(60); w.SECONDS = 0.2")
        assert ended.value.returncode == -signal.SIGALRM

    def test_a_decoder_that_wants_too_much_memory_is_refused_it(self):
        reply = self.run_worker("decoders.DECODERS['rle'] = lambda s, c: np.ones(2**40, np.uint8)")
        assert b"MemoryError" in reply

    def run_worker(self, prelude: str) -> bytes:
        """A worker with one decoder replaced, asked once."""
        code = f"import numpy as np; from kicc_ml.dicom.pixels import decoders, decode_worker as w; {prelude}; w.main()"
        request = b'{"process": "rle", "rows": 4, "columns": 4, "components": 1, "precision": 16, "length": 0}\n'
        command = [sys.executable, "-c", code]
        return subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True, timeout=30).stdout

    def test_they_work_within_processes_of_joblib(self, tmp_path: Path):
        path = self.sound(tmp_path)
        for stored in joblib.Parallel(2)(joblib.delayed(lambda p: read_image(p).stored)(path) for _ in range(4)):
            np.testing.assert_array_equal(stored, VALUES)

    def test_they_work_within_forked_processes_that_may_have_no_children(self, tmp_path: Path):
        path = self.sound(tmp_path)
        read_image(path)  # the parent has workers, which a fork must not share
        from torch.utils.data import DataLoader

        loader = DataLoader(_Files([path] * 4), num_workers=2, batch_size=None)
        for stored in loader:
            np.testing.assert_array_equal(stored, VALUES)

    def test_they_import_neither_torch_nor_monai(self):
        heavy = {"torch", "monai", "SimpleITK", "pydicom"}
        code = f"import sys, kicc_ml.dicom.pixels.decode_worker; print({heavy} & set(sys.modules))"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"

    def test_what_is_no_picture_is_an_error_and_the_worker_lives_on(self):
        for _ in range(2):
            with pytest.raises(DecodingError):
                decode_in_worker(self.stream, Codestream("jpeg_lossless", 4, 4, 1, 16))


class _Files:
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_image(self.paths[index]).stored


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc1" + struct.pack(">HBHHB", 11, 12, 5, 6, 1), ("jpeg", 5, 6, 1, 12, None)),
        (b"\xff\xd8\xff\xff\xc3" + struct.pack(">HBHHB", 11, 16, 5, 6, 1), ("jpeg_lossless", 5, 6, 1, 16, None)),
        (b"\xff\xd8\xff\xf7" + struct.pack(">HBHHB", 11, 8, 5, 6, 3), ("jpeg_ls", 5, 6, 3, 8, None)),
        (
            b"\xff\x4f\xff\x51" + struct.pack(">HH8IHB", 41, 0, 16, 15, 10, 10, 16, 15, 0, 0, 1, 0x80 | 11),
            ("jpeg_2000", 5, 6, 1, 12, True),
        ),
        (struct.pack("<16I", 2, 64, 100, *[0] * 13), ("rle", 0, 0, 1, 16, None)),
    ],
)
def test_markers_are_read_as_the_standards_lay_them_out(stream: bytes, expected: tuple):
    assert describe_codestream(stream) == Codestream(*expected)


@pytest.mark.parametrize(
    "stream", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\x02", b"\xff\x4f\xff\x51\0", b"text of some kind"]
)
def test_what_has_no_known_markers_is_no_picture(stream: bytes):
    assert describe_codestream(stream) is None

"""Decode compressed frames in separate processes, which are reused. A process that crashes costs one file only.

The processes are plain child processes with pipes, because those of Python's library do not fit: ``multiprocessing``
cannot start processes within the data loading workers of torch and joblib, and its executors lose all running tasks
when one process dies.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, cast

import numpy as np

from kicc_ml.dicom.pixels.codestream import Codestream
from kicc_ml.dicom.pixels.decode_worker import MAX_MEMORY_BYTES, MAX_SECONDS, REPLY

#: Types of values that a decoder may return.
VALUE_TYPES = {b"u1": np.uint8, b"i1": np.int8, b"u2": np.uint16, b"i2": np.int16, b"u4": np.uint32, b"i4": np.int32}
MAX_MESSAGE_BYTES = 500
#: Size of a pipe: a slice of 512 x 512 passes without waiting. It is the maximum for an ordinary user.
PIPE_BYTES = 2**20
#: Each process has one thread. It keeps the memory of a picture for the next one: a slice of JPEG Lossless then takes
#: 3.7 ms instead of 5.8 ms (with glibc; other C libraries ignore these variables).
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**26),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
}
PACKAGE_PARENT = str(Path(__file__).resolve().parents[3])


class DecodingError(Exception):
    """A frame could not be decoded, or ended the decoding process; the message says how."""


def decode_in_worker(stream: bytes, coded: Codestream) -> np.ndarray:
    """Decode one frame in another process. Several threads can call this at the same time.

    Args:
        stream: the compressed frame.
        coded: its description.

    Returns:
        the values as coded, ``[row, column]``, or ``[row, column, component]`` for a colour picture.

    Raises:
        DecodingError: the frame cannot be decoded.
    """
    with _borrow_worker() as worker:
        return worker.decode(stream, coded)


class _Worker:
    """One decoding process; :mod:`kicc_ml.dicom.pixels.decode_worker` describes its requests and replies."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, (PACKAGE_PARENT, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kicc_ml.dicom.pixels.decode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=PIPE_BYTES,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": path},
            start_new_session=True,  # an interrupt is for whoever waits here
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._replies = cast(IO[bytes], self._process.stdout)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, stream: bytes, coded: Codestream) -> np.ndarray:
        try:
            self._requests.write(json.dumps(asdict(coded) | {"length": len(stream)}).encode() + b"\n")
            self._requests.write(stream)
            self._requests.flush()
            done, type_code, size = REPLY.unpack(self._read(REPLY.size))
            if not done:
                raise DecodingError(bytes(self._read(min(size, MAX_MESSAGE_BYTES))).decode("utf-8", "replace"))
            return self._read_values(type_code, size, coded)
        except (OSError, EOFError) as error:
            raise DecodingError(self._end_and_describe()) from error

    def _read_values(self, type_code: bytes, size: int, coded: Codestream) -> np.ndarray:
        shape = (coded.rows, coded.columns, coded.components)[: 3 if coded.components > 1 else 2]
        kind = np.dtype(VALUE_TYPES.get(type_code, np.uint8))
        if type_code not in VALUE_TYPES or size != np.prod(shape) * kind.itemsize:
            self.end()  # what else it has to say cannot be understood
            raise DecodingError(f"{size} bytes of type {type_code!r} for a picture of {shape}")
        values = np.empty(shape, kind)
        self._read_into(values.data.cast("B"))
        return values

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        self._read_into(memoryview(data))
        return data

    def _read_into(self, view: memoryview) -> None:
        got = 0
        while got < len(view):
            count = self._replies.readinto(view[got:])  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            got += count

    def _end_and_describe(self) -> str:
        self.end()
        return (
            f"the decoder ended with status {self._process.wait()} "
            f"(at most {MAX_SECONDS} s and {MAX_MEMORY_BYTES // 2**20} MiB are allowed)"
        )

    def end(self) -> None:
        for pipe in (self._requests, self._replies):
            with suppress(OSError):  # what was not yet written goes nowhere
                pipe.close()
        self._process.kill()
        self._process.wait()


class _Pool:
    def __init__(self) -> None:
        self.free: list[_Worker] = []
        self.lock = threading.Lock()


_pool = _Pool()


@contextmanager
def _borrow_worker() -> Iterator[_Worker]:
    with _pool.lock:
        worker = _pool.free.pop() if _pool.free else None
    if worker is None or not worker.is_alive:
        worker = _Worker()
    try:
        yield worker
    except DecodingError:
        raise
    except BaseException:  # interrupted half way: the next reply would be of this request
        worker.end()
        raise
    finally:
        if worker.is_alive:
            with _pool.lock:
                _pool.free.append(worker)


def _forget_workers() -> None:
    """Forget the workers in a forked process, because they belong to its parent."""
    global _pool
    _pool = _Pool()


def _end_all() -> None:
    while _pool.free:
        _pool.free.pop().end()


os.register_at_fork(after_in_child=_forget_workers)
atexit.register(_end_all)

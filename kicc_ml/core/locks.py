"""Locks that allow one writer at a time for a fold, a stored volume, a cache or a results folder, also over NFS.

A lock is a file with host, process and a heartbeat (filelock's lease). A lock whose process has ended is taken over: at
once on the same machine, and after ``LEASE_S`` without a heartbeat for another machine.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from kicc_ml.core.errors import UserError, make_target_error

#: Seconds without a heartbeat after which the lock of another machine is taken over.
LEASE_S = 60.0
#: Seconds to wait for a lock of another process on this machine before its holder is named in an error.
PATIENCE_S = 1.0


class Busy(UserError):
    """Another process holds the lock; the message says which."""


@contextmanager
def hold(lock: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold ``lock`` while the block runs.

    Args:
        lock: the lock file, usually a hidden file (``.lock``) in the folder that it guards; the folder must exist.
        what: name of what is guarded, for the error message, for example ``"fold daegu-1 of runs/lesion_ct"``.
        wait: wait for the other process instead of raising.

    Raises:
        Busy: another living process holds it.
        TargetError: the lock file cannot be written.
    """
    lease = SoftFileLease(lock, lease_duration=LEASE_S)
    try:
        _acquire(lease, lock, wait)
    except Timeout:
        raise Busy(
            f"{what} is being written by {describe_holder(lock)}; wait for it, or stop it and start again"
        ) from None
    except OSError as error:
        raise make_target_error(lock, error) from error
    try:
        yield
    finally:
        lease.release()


def _acquire(lease: SoftFileLease, lock: Path, wait: bool) -> None:
    try:
        lease.acquire(timeout=PATIENCE_S)
    except Timeout:
        if _remove_unwritten(lock):
            _acquire(lease, lock, wait)
        elif wait:
            lease.acquire()
        elif _read_fields(lock).get("host", socket.gethostname()) == socket.gethostname():
            raise
        else:
            lease.acquire(timeout=LEASE_S + PATIENCE_S)  # a machine that died does not say so


def _remove_unwritten(lock: Path) -> bool:
    """Remove a lock file that names no process and machine, and tell whether the lock can be tried again.

    Such a file is left by a process that was killed, or met a full disk, between making the file and writing it.
    """
    before = _read_state(lock)
    if {"pid", "host"} <= set(_read_fields(lock)):
        return False
    time.sleep(PATIENCE_S)  # a living process would have written it meanwhile
    if _read_state(lock) == before:
        lock.unlink(missing_ok=True)
    return True


def _read_state(lock: Path) -> tuple[int, int, int] | None:
    try:
        status = lock.stat()
    except OSError:  # released meanwhile
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def describe_holder(lock: Path) -> str:
    """Describe who holds a lock: the process and its machine."""
    fields = _read_fields(lock)
    return f"process {fields.get('pid', 'unknown')} on {fields.get('host', 'an unknown machine')}"


def _read_fields(lock: Path) -> dict[str, str]:
    try:
        lines = lock.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # released meanwhile
        return {}
    return {key: value for key, found, value in (line.partition("=") for line in lines) if found}

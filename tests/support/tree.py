"""What lies below a folder, so that a test sees whatever was written, changed or removed."""

import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

#: Kind, size, time of the last change in nanoseconds, permissions and digest; of folders only kind and permissions,
#: since the rest changes with what lies in them.
State = tuple[str, int, int, int, str]
#: By path, in bytes: names on a disk need not be UTF-8.
Snapshot = Mapping[bytes, State]


def snapshot(folder: Path, *, but: Collection[Path] = ()) -> Snapshot:
    """Every entry below ``folder``; what lies below a path of ``but`` is left out."""
    left_out = {os.fsencode(path) for path in but}
    found: dict[bytes, State] = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        folders[:] = [name for name in folders if os.path.join(place, name) not in left_out]
        for name in (*folders, *files):
            path = os.path.join(place, name)
            if path not in left_out:
                found[path] = _state(path)
    return found


def _state(path: bytes) -> State:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return ("folder" if stat.S_ISDIR(status.st_mode) else "other"), 0, 0, mode, ""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "file", status.st_size, status.st_mtime_ns, mode, digest


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """What was written, changed or removed between two snapshots."""
    gone = [f"removed: {os.fsdecode(path)!r}" for path in sorted(before.keys() - after.keys())]
    new = [f"written: {os.fsdecode(path)!r}" for path in sorted(after.keys() - before.keys())]
    both = sorted(before.keys() & after.keys())
    return gone + new + [f"changed: {os.fsdecode(path)!r}" for path in both if before[path] != after[path]]


def digests(root: Path) -> dict[str, str]:
    """Relative path -> digest, of every file below ``root``."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}

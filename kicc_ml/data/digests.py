"""Content digests of source files, stored so that not every fold reads every file."""

import json
import logging
import os
import stat
from hashlib import blake2b, file_digest
from pathlib import Path
from types import TracebackType
from typing import Any

from kicc_ml.core.errors import TargetError
from kicc_ml.core.files import PRIVATE_FILE, write_text

logger = logging.getLogger(__name__)

#: The number of bytes of the hash that replaces a path in the list.
PATH_BYTES = 16


class Digests:
    """BLAKE2b digests of files, stored in ``<root>/digests.json``, which only its owner may read.

    A path is stored as a hash only, because folders may have the names of patients. A stored digest is valid only while
    size, modification time and change time of the file are the same; nobody can set the change time back by hand.
    Invalid entries of the list are dropped. If several processes write the list, the last one wins; then the others
    must read some files again, which does no other harm.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / "digests.json"
        self._known: dict[str, list] = {}
        self._changed = False

    def __enter__(self) -> "Digests":
        try:
            written = json.loads(self._path.read_text(encoding="utf-8"))
            is_private = stat.S_IMODE(self._path.stat().st_mode) == PRIVATE_FILE
        except (OSError, ValueError, RecursionError):
            return self
        entries = written if isinstance(written, dict) else {}
        self._known = {key: entry for key, entry in entries.items() if _is_entry(key, entry)}
        self._changed = self._known != written or not is_private
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._changed:
            self._save()

    def of(self, path: Path) -> str:
        """Compute the digest of a file's bytes, in hexadecimal."""
        state = os.stat(path)
        seen = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        key = blake2b(os.fsencode(path.absolute()), digest_size=PATH_BYTES).hexdigest()
        known = self._known.get(key)
        if known and known[:3] == seen:
            return str(known[3])
        with open(path, "rb") as file:
            digest = file_digest(file, blake2b).hexdigest()
        self._known[key] = [*seen, digest]
        self._changed = True
        return digest

    def _save(self) -> None:
        try:
            write_text(self._path, json.dumps(self._known), private=True)
        except TargetError as error:  # the list only saves time; a store that cannot be written reports that itself
            logger.debug("digests are not remembered: %s", error)


def _is_entry(key: str, entry: Any) -> bool:
    """Tell whether an entry is the hash of a path with a size, two times and a digest."""
    if not (isinstance(entry, list) and len(entry) == 4 and len(key) == 2 * PATH_BYTES):
        return False
    *state, digest = entry
    return (
        all(type(number) is int for number in state) and isinstance(digest, str) and set(key) <= set("0123456789abcdef")
    )

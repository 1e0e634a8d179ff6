"""Content digests of source files, remembered so that seventeen folds do not read everything each time."""

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

#: Bytes of the hash that stands for a path in the list.
PATH_BYTES = 16


class Digests:
    """BLAKE2b of files, kept in ``<root>/digests.json``, which only its owner may read.

    A path is written down as its hash alone, since folders may be called after patients. A remembered digest counts
    only while size, modification and change time of the file are the same; the change time cannot be set back by
    hand. What in the list is none of this is dropped. Several processes may write the list: the last one wins,
    which costs the others a second reading and nothing else.
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
        """Digest of a file's bytes, in hexadecimal."""
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
        except TargetError as error:  # the list only saves time; a store that cannot be written says so itself
            logger.debug("digests are not remembered: %s", error)


def _is_entry(key: str, entry: Any) -> bool:
    """Whether this is the hash of a path with size, two times and a digest."""
    if not (isinstance(entry, list) and len(entry) == 4 and len(key) == 2 * PATH_BYTES):
        return False
    *state, digest = entry
    return (
        all(type(number) is int for number in state) and isinstance(digest, str) and set(key) <= set("0123456789abcdef")
    )

"""Content digests of source files, remembered so that seventeen folds do not read everything each time."""

import json
import logging
import os
from hashlib import blake2b, file_digest
from pathlib import Path
from types import TracebackType

from kicc_ml.core.errors import TargetError
from kicc_ml.core.files import write_text

logger = logging.getLogger(__name__)


class Digests:
    """BLAKE2b of files, kept in ``<root>/digests.json``.

    A remembered digest counts only while size, modification and change time of the file are the same; the
    change time cannot be set back by hand. Several processes may write the list: the last one wins, which
    costs the others a second reading and nothing else.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / "digests.json"
        self._known: dict[str, list] = {}
        self._changed = False

    def __enter__(self) -> "Digests":
        try:
            self._known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._known = {}
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
        known = self._known.get(str(path.absolute()))
        if known and known[:3] == seen:
            return str(known[3])
        with open(path, "rb") as file:
            digest = file_digest(file, blake2b).hexdigest()
        self._known[str(path.absolute())] = [*seen, digest]
        self._changed = True
        return digest

    def _save(self) -> None:
        try:
            write_text(self._path, json.dumps(self._known), private=True)
        except TargetError as error:  # the list only saves time; a store that cannot be written says so itself
            logger.debug("digests are not remembered: %s", error)

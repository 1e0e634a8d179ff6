"""Objects on their way in by DICOM: the library writes each into a file, and none outlives its association."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pynetdicom import _config, dimse_messages

#: How the names of these files begin. Others in the folder belong to those who made them.
PREFIX = "association-"


class Arrivals:
    """The files of objects that arrive. Each is remembered by the thread that reads its association."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[threading.Thread, list[Any]] = {}

    @contextmanager
    def on_disk(self) -> Iterator[None]:
        """Let the library write objects into the folder as they come, instead of keeping them in memory."""
        before, _config.STORE_RECV_CHUNKED_DATASET = _config.STORE_RECV_CHUNKED_DATASET, True
        make_file = dimse_messages.NamedTemporaryFile  # it offers no other way to say where, or to know which
        dimse_messages.NamedTemporaryFile = self._make_file  # type: ignore[assignment]
        try:
            yield
        finally:
            _config.STORE_RECV_CHUNKED_DATASET, dimse_messages.NamedTemporaryFile = before, make_file
            for reader in list(self._files):
                self.remove(reader)

    def _make_file(self, **arguments: Any) -> Any:
        reader = threading.current_thread()
        file = NamedTemporaryFile(dir=self._folder, prefix=PREFIX, **arguments)  # noqa: SIM115  # the library closes it
        self._files[reader] = [*(one for one in self._files.get(reader, ()) if not one.closed), file]
        return file

    def remove(self, reader: threading.Thread) -> None:
        """Remove what is left of the objects of an association that is over.

        Args:
            reader: the thread that read it.
        """
        for file in self._files.pop(reader, ()):
            with suppress(OSError):  # what it still holds in memory does not fit a full disk
                file.close()  # the disk is free only when nobody has it open
            Path(file.name).unlink(missing_ok=True)

    def remove_old(self, idle_s: float) -> None:
        """Remove files that have not changed for a time.

        Args:
            idle_s: longer than any association brings nothing over.
        """
        for path in self._folder.glob(f"{PREFIX}*"):
            try:
                if time.time() - path.stat().st_mtime > idle_s:
                    path.unlink()
            except FileNotFoundError:  # taken in meanwhile
                continue

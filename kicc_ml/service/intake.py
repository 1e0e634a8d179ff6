"""Take received objects in: each lies on the disk and in the queue before its sender hears that it was stored.

Names of folders and files are numbers of this node, never anything from an object.
"""

import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from kicc_ml.core.errors import TargetError, UserError, is_full
from kicc_ml.core.files import make_folder, write_bytes
from kicc_ml.core.pseudonym import KEY_NAME, load_repository_key
from kicc_ml.dicom.header.patient_identity import read_patient_identity
from kicc_ml.dicom.header.received_object import ObjectIdentity, hash_content, read_object_identity
from kicc_ml.service.queue import OtherContent, Overfull, StudyLimits, StudyQueue


class Status(IntEnum):
    """What a sender is told (PS3.4 B.2.3)."""

    STORED = 0x0000
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    NOT_UNDERSTOOD = 0xC000
    OTHER_CONTENT = 0xC001


class Answer(NamedTuple):
    """What a sender is told of an object, the reason of a refusal, and the study of an object that was stored."""

    status: Status
    reason: str = ""
    study: str = ""


@dataclass(frozen=True)
class Folders:
    """The folders of a node, all below one that only its user can enter."""

    root: Path

    @property
    def received(self) -> Path:
        """Of objects that were received, a folder for each study."""
        return self.root / "received"

    @property
    def incoming(self) -> Path:
        """Of objects that are not yet whole."""
        return self.root / "incoming"

    @property
    def results(self) -> Path:
        """Of what was predicted."""
        return self.root / "results"

    @property
    def audit_log(self) -> Path:
        """Of who did what."""
        return self.root / "audit.jsonl"

    def make(self) -> None:
        """Make all folders, and empty that of objects that never became whole."""
        make_folder(self.root, private=True)
        shutil.rmtree(self.incoming, ignore_errors=True)
        for folder in (self.received, self.incoming, self.results):
            make_folder(folder, private=True)


@dataclass(frozen=True)
class Intake:
    """Takes objects into ``folders``, as long as ``min_free_bytes`` of the disk stay free.

    ``identified``: name and number of the patient are kept for the worklist.
    """

    queue: StudyQueue
    folders: Folders
    limits: StudyLimits
    min_free_bytes: int
    identified: bool = False

    @property
    def has_room(self) -> bool:
        """Return whether more than ``min_free_bytes`` of the disk are free."""
        return shutil.disk_usage(self.folders.root).free > self.min_free_bytes

    @contextmanager
    def temporary_file(self) -> Iterator[Path]:
        """Yield a path for an object that is arriving; what is left there at the end is removed."""
        path = self.folders.incoming / f"{secrets.token_hex(8)}.dcm"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def take(self, path: Path, sop: str = "", sop_class: str = "") -> Answer:
        """Take the object in the file ``path``, which is moved away where it is kept.

        Args:
            path: a DICOM file in ``folders.incoming``, or on the same disk.
            sop: the SOP instance UID by which the sender announced it; "" if it was not announced.
            sop_class: the SOP class by which it was announced.

        Returns:
            the answer for the sender.
        """
        if not self.has_room:
            return Answer(Status.OUT_OF_RESOURCES, "the disk of the node is nearly full")
        try:
            found = read_object_identity(path)
            if (sop or found.sop, sop_class or found.sop_class) != (found.sop, found.sop_class):
                return Answer(Status.MISMATCH, "the object is not the one that was announced")
            digest = hash_content(path)
            if not self.queue.has_instance(found.study, found.sop, digest):
                self._keep(path, found, digest)
        except UserError as error:
            is_ours = isinstance(error, TargetError) or is_full(error)
            return Answer(Status.OUT_OF_RESOURCES if is_ours else Status.NOT_UNDERSTOOD, str(error))
        except Overfull as full:
            return Answer(Status.OUT_OF_RESOURCES, str(full))
        except OtherContent as other:
            return Answer(Status.OTHER_CONTENT, str(other))
        except sqlite3.IntegrityError:
            return Answer(Status.OUT_OF_RESOURCES, "its study was deleted while it came; send it again")
        except (OSError, sqlite3.Error) as error:
            return Answer(Status.OUT_OF_RESOURCES, f"the object cannot be written ({error})")
        return Answer(Status.STORED, study=found.study)

    def _keep(self, path: Path, found: ObjectIdentity, digest: str) -> None:
        identity = read_patient_identity(path) if self.identified else {}
        study = self.queue.find_or_add(found.study, identity, self.limits)
        folder = self.folders.received / str(study)
        if not (folder / KEY_NAME).is_file():  # all studies have the pseudonyms of one key
            make_folder(folder, private=True)
            write_bytes(folder / KEY_NAME, load_repository_key(self.folders.received), private=True)
        name = f"{secrets.token_hex(8)}.dcm"
        size = path.stat().st_size
        _sync(path)
        os.replace(path, folder / name)
        is_noted = False
        try:
            _sync(folder)
            is_noted = self.queue.add_instance(study, found.sop, name, size, digest)
        except sqlite3.IntegrityError:
            self._remove_if_deleted(study)
            raise
        finally:
            if not is_noted:
                (folder / name).unlink(missing_ok=True)

    def _remove_if_deleted(self, study: int) -> None:
        """Remove the folder that was made again for a study which was deleted meanwhile."""
        if not self.queue.database.read("SELECT 1 FROM study WHERE id = ?", (study,)):
            shutil.rmtree(self.folders.received / str(study), ignore_errors=True)

    def remove_unknown_files(self, known: dict[int, set[str]]) -> None:
        """Remove files that a killed node had written and not yet noted: their senders were told nothing."""
        for folder in self.folders.received.iterdir():
            names = known.get(int(folder.name), set()) if folder.name.isdecimal() else set()
            for path in folder.glob("*.dcm"):
                if path.name not in names:
                    path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

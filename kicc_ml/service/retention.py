"""What is removed when its time is over: first the received pixels of a study, then its results and all of it."""

import logging
import shutil
import time
from dataclasses import dataclass

from kicc_ml.core.errors import TargetError
from kicc_ml.service.audit import AuditLog, Event
from kicc_ml.service.database import Database
from kicc_ml.service.intake import Folders
from kicc_ml.service.queue import ENDED
from kicc_ml.service.settings import RetentionSettings

logger = logging.getLogger(__name__)

DAY_S = 24 * 3600.0
#: What is said of it in the audit log.
PIXELS = "the received images were removed, since their time was over"
ALL = "all of the study was removed, since its time was over"
ENDED_BEFORE = f"state IN {ENDED} AND ended < ?"


@dataclass(frozen=True)
class Retention:
    """Removes what nobody needs any more. The database is changed first: what is left of a kill goes at the next start.

    A study that is received, predicted or delivered keeps everything.
    """

    database: Database
    folders: Folders
    settings: RetentionSettings

    def remove_old(self) -> None:
        """Remove the pixels and the results of ended studies whose time is over."""
        received_days, results_days = self.settings.received_days, self.settings.results_days
        before = time.time() - DAY_S * received_days
        for study in self._list_ended("has_pixels AND ", before):
            self._remove_pixels(study, before)
        before = time.time() - DAY_S * max(received_days, results_days)
        for study in self._list_ended("", before):
            self._remove_study(study, before)

    def remove_unknown(self) -> None:
        """Remove files of studies and results that the database does not know, or knows no more."""
        known = {row["id"] for row in self.database.read("SELECT id FROM study")}
        for folder in self.folders.received.iterdir():
            if folder.name.isdecimal() and int(folder.name) not in known:
                shutil.rmtree(folder)
        cases = {row["case_id"] for row in self.database.read("SELECT case_id FROM result")}
        for folder in self.folders.results.iterdir():
            if folder.is_dir() and folder.name not in cases:
                shutil.rmtree(folder)

    def list_known_files(self) -> dict[int, set[str]]:
        """List the names of the files of each study."""
        known: dict[int, set[str]] = {}
        for row in self.database.read("SELECT study, file FROM instance WHERE file <> ''"):
            known.setdefault(row["study"], set()).add(row["file"])
        return known

    def _list_ended(self, condition: str, before: float) -> list[int]:
        rows = self.database.read(f"SELECT id FROM study WHERE {condition}{ENDED_BEFORE}", (before,))
        return [row["id"] for row in rows]

    def _remove_pixels(self, study: int, before: float) -> None:
        with self.database.transaction() as connection:
            changed = connection.execute(
                f"UPDATE study SET has_pixels = 0 WHERE id = ? AND {ENDED_BEFORE} RETURNING uid", (study, before)
            ).fetchone()
            if changed is None:  # more of it came meanwhile
                return
            is_noted = self._note(changed["uid"], PIXELS)
            rows = connection.execute("SELECT file FROM instance WHERE study = ? AND file <> ''", (study,)).fetchall()
            connection.execute("UPDATE instance SET file = '' WHERE study = ?", (study,))
        for row in rows:
            (self.folders.received / str(study) / row["file"]).unlink(missing_ok=True)
        if not is_noted:
            self._note(changed["uid"], PIXELS)

    def _remove_study(self, study: int, before: float) -> None:
        with self.database.transaction() as connection:
            rows = connection.execute("SELECT case_id FROM result WHERE study = ?", (study,)).fetchall()
            query = f"DELETE FROM study WHERE id = ? AND {ENDED_BEFORE} RETURNING uid"
            gone = connection.execute(query, (study, before)).fetchone()
            if gone is None:
                return
            is_noted = self._note(gone["uid"], ALL)
        for row in rows:
            shutil.rmtree(self.folders.results / row["case_id"], ignore_errors=True)
        shutil.rmtree(self.folders.received / str(study), ignore_errors=True)
        if not is_noted:
            self._note(gone["uid"], ALL)

    def _note(self, uid: str, what: str) -> bool:
        """Note that something is removed; False where the disk is too full, and only the removal makes room."""
        try:
            AuditLog(self.folders.audit_log).note_own(Event("110105", "D", studies=[uid], said=what))
        except TargetError as error:
            logger.warning("%s", error)
            return False
        return True

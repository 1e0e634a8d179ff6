"""The queue of studies: each goes from ``receiving`` to ``done``, ``refused`` or ``failed``, over kills and restarts.

``receiving`` > ``waiting`` > ``predicting`` > ``delivering`` > ``done``. ``refused``: no image of it can be predicted.
``failed``: its prediction crashed or took too long, twice, or its results have the UIDs of those of another study. Both
keep their reason.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kicc_ml.service.database import RANK, Database

State = Literal["receiving", "waiting", "predicting", "delivering", "done", "refused", "failed"]
STATES: tuple[State, ...] = ("receiving", "waiting", "predicting", "delivering", "done", "refused", "failed")
IN_FLIGHT: tuple[State, ...] = ("receiving", "waiting", "predicting")
ENDED: tuple[State, ...] = ("done", "refused", "failed")
#: A study whose prediction crashed its worker is tried once more; its neighbours are not to blame.
MAX_CRASHES = 2
#: A study is begun so often by a node that ends before the prediction does: it may be what ends the node.
MAX_STARTS = 10
#: Instances of a study whose files are here.
HERE = "instance WHERE study = ? AND file <> ''"


@dataclass(frozen=True)
class StudyLimits:
    """How much is taken: ``instances`` of one study, and ``in_flight`` studies that are not yet predicted."""

    instances: int
    in_flight: int


@dataclass(frozen=True)
class Job:
    """A study to predict, of so many ``instances``. ``known`` has the digest of the files of each finished result.

    ``lost`` is the number of further instances whose files were removed when their time was over.
    """

    study: int
    instances: int
    lost: int = 0
    known: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseResult:
    """The result of one scan; ``objects`` has the path below the folder of results by SOP instance UID."""

    case_id: str
    files: str
    modality: str
    severity: Mapping[str, Any]
    flags: Sequence[str] = ()
    prior: str = ""
    objects: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyOutcome:
    """What became of a study; without ``cases`` it was refused, for the ``reason``."""

    study: int
    cases: Sequence[CaseResult]
    reason: str = ""


class Overfull(Exception):
    """The node takes no more of this study, or no further study; the message says why."""


class OtherContent(Exception):
    """An object has the UIDs of one that was received before, and is another; the message says what can be done."""


class StudyQueue:
    """The studies of a node. All times are seconds since 1970."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find_or_add(self, uid: str, identity: Mapping[str, str], limits: StudyLimits) -> int:
        """Return the number of a study, and begin it where it is not known.

        Raises:
            Overfull: it would be one study, or one instance, too many.
        """
        with self.database.transaction() as connection:
            row = connection.execute("SELECT id FROM study WHERE uid = ?", (uid,)).fetchone()
            if row is not None:
                self._refuse_too_many_instances(connection, row["id"], limits)
                return int(row["id"])
            if _count(connection, "study WHERE state IN ('receiving', 'waiting', 'predicting')") >= limits.in_flight:
                raise Overfull(f"{limits.in_flight} studies wait to be predicted")
            now = time.time()
            added = connection.execute(
                "INSERT INTO study (uid, state, identity, received, changed) VALUES (?, 'receiving', ?, ?, ?)",
                (uid, json.dumps(dict(identity), ensure_ascii=False), now, now),
            )
            assert added.lastrowid is not None
            return added.lastrowid

    def _refuse_too_many_instances(self, connection: sqlite3.Connection, study: int, limits: StudyLimits) -> None:
        if _count(connection, HERE, study) >= limits.instances:
            raise Overfull(f"a study may have {limits.instances} instances")

    def has_instance(self, study_uid: str, sop: str, digest: str) -> bool:
        """Whether the file of an instance is here, or it is a result that was made here and comes back.

        Raises:
            OtherContent: the instance was received before with another digest.
        """
        instances = "SELECT file, digest FROM instance JOIN study ON study.id = study WHERE uid = ? AND sop = ?"
        for row in self.database.read(instances, (study_uid, sop)):
            _refuse_other_content(row, digest)
            return bool(row["file"])
        results = "SELECT 1 FROM delivery JOIN study ON study.id = study WHERE uid = ? AND sop = ?"
        return bool(self.database.read(results, (study_uid, sop)))

    def add_instance(self, study: int, sop: str, file: str, size: int, digest: str = "") -> bool:
        """Note an instance that lies in the folder of its study; False where its file is here already.

        A study that is waiting or had ended is received again: what came late is predicted too.

        Raises:
            OtherContent: the instance was received before with another digest.
            sqlite3.IntegrityError: the study was deleted meanwhile.
        """
        with self.database.transaction() as connection:
            query = "SELECT digest FROM instance WHERE study = ? AND sop = ?"
            known = connection.execute(query, (study, sop)).fetchone()
            _refuse_other_content(known, digest)
            added = connection.execute(
                "INSERT INTO instance (study, sop, file, bytes, digest) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET file = excluded.file, bytes = excluded.bytes, digest = excluded.digest "
                "WHERE file = ''",
                (study, sop, file, size, digest),
            )
            if not added.rowcount:
                return False
            connection.execute(
                "UPDATE study SET changed = ?, instances = instances + ?, has_pixels = 1, ended = NULL, due = 0, "
                "state = CASE state WHEN 'predicting' THEN state ELSE 'receiving' END WHERE id = ?",
                (time.time(), known is None, study),
            )
            return True

    def close_complete(self, quiet_s: float, instances: int | None) -> int:
        """Let studies wait for a worker to which nothing was added for ``quiet_s``, or which have ``instances``."""
        enough = "OR (SELECT COUNT(*) FROM instance WHERE study = study.id AND file <> '') >= ?" if instances else ""
        values = (time.time() - quiet_s, *((instances,) if instances else ()))
        with self.database.transaction() as connection:
            # no crash of an earlier prediction counts against what has come since
            return connection.execute(
                "UPDATE study SET state = 'waiting', reason = '', starts = 0, crashes = 0 "
                f"WHERE state = 'receiving' AND (changed <= ? {enough})",
                values,
            ).rowcount

    def take(self) -> Job | None:
        """Take the study that waits longest; those that were begun before come last."""
        with self.database.transaction() as connection:
            row = connection.execute(
                "SELECT id FROM study WHERE state = 'waiting' AND due <= ? ORDER BY starts + crashes, changed, id "
                "LIMIT 1",
                (time.time(),),
            ).fetchone()
            if row is None:
                return None
            connection.execute("UPDATE study SET state = 'predicting', starts = starts + 1 WHERE id = ?", (row["id"],))
            known = connection.execute("SELECT case_id, files FROM result WHERE study = ?", (row["id"],)).fetchall()
            instances = _count(connection, HERE, row["id"])
            lost = _count(connection, "instance WHERE study = ?", row["id"]) - instances
            return Job(row["id"], instances, lost, {one["case_id"]: one["files"] for one in known})

    def finish(self, job: Job, outcome: StudyOutcome, *, deliver: bool) -> None:
        """Keep what became of a study, and its objects for delivery; it is received again where more came meanwhile.

        Results of what the study was before take their leave, unless it could not be predicted as a whole.
        """
        with self.database.transaction() as connection:
            if not job.lost:
                connection.execute("DELETE FROM result WHERE study = ?", (job.study,))
                connection.execute("DELETE FROM delivery WHERE study = ? AND delivered IS NULL", (job.study,))
            others = sorted(
                {n for case in outcome.cases for n in self._keep_case(connection, outcome.study, case, deliver)}
            )
            open_objects = _count(connection, "delivery WHERE study = ? AND delivered IS NULL", outcome.study)
            state = "delivering" if open_objects else "done" if outcome.cases else "refused"
            if others:
                state = "failed"
            if _count(connection, HERE, outcome.study) != job.instances:
                state = "receiving"
            connection.execute(
                f"UPDATE study SET state = ?, reason = ?, starts = 0, ended = ?, rank = {RANK} WHERE id = ?",
                (state, _join_reasons(outcome.reason, others), time.time() if state in ENDED else None, outcome.study),
            )

    def _keep_case(self, connection: sqlite3.Connection, study: int, case: CaseResult, deliver: bool) -> set[int]:
        """Keep a result, and its objects for delivery; returns the other studies that have objects of their UIDs."""
        severity, flags = json.dumps(dict(case.severity)), json.dumps(list(case.flags), ensure_ascii=False)
        connection.execute(
            "INSERT OR REPLACE INTO result (case_id, study, files, modality, severity, flags, prior) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (case.case_id, study, case.files, case.modality, severity, flags, case.prior),
        )
        others = set()
        for sop, path in case.objects.items() if deliver else ():
            row = connection.execute("SELECT study FROM delivery WHERE sop = ?", (sop,)).fetchone()
            if row is None:
                connection.execute("INSERT INTO delivery (sop, study, path) VALUES (?, ?, ?)", (sop, study, path))
            elif row["study"] != study:
                others.add(int(row["study"]))
        return others

    def postpone(self, study: int, reason: str, pause_s: float) -> None:
        """Let a study wait again that could not be predicted for no fault of its own, such as a full disk."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE study SET state = 'waiting', starts = 0, reason = ?, due = ? WHERE id = ?",
                (reason, time.time() + pause_s, study),
            )

    def count_crash(self, study: int, reason: str) -> None:
        """Count that the worker ended while it predicted a study, which is set aside after ``MAX_CRASHES``."""
        with self.database.transaction() as connection:
            connection.execute("UPDATE study SET crashes = crashes + 1, starts = 0 WHERE id = ?", (study,))
            self._wait_or_fail(connection, study, reason)

    def recover(self) -> int:
        """Let the studies wait again that were being predicted when the node ended; returns how many they were."""
        with self.database.transaction() as connection:
            rows = connection.execute("SELECT id FROM study WHERE state = 'predicting'").fetchall()
            for row in rows:
                self._wait_or_fail(connection, row["id"], "the node ended again and again while it was predicted")
            return len(rows)

    def _wait_or_fail(self, connection: sqlite3.Connection, study: int, reason: str) -> None:
        connection.execute(
            "UPDATE study SET state = CASE WHEN crashes >= ? OR starts >= ? THEN 'failed' ELSE 'waiting' END, "
            "ended = CASE WHEN crashes >= ? OR starts >= ? THEN ? END, reason = ? WHERE id = ?",
            (MAX_CRASHES, MAX_STARTS) * 2 + (time.time(), reason, study),
        )

    def retry(self, study: int) -> bool:
        """Let a study that was refused or failed wait again, as long as its pixels are here; False where it cannot."""
        with self.database.transaction() as connection:
            return bool(
                connection.execute(
                    "UPDATE study SET state = 'waiting', reason = '', starts = 0, crashes = 0, due = 0, ended = NULL "
                    "WHERE id = ? AND state IN ('refused', 'failed') AND has_pixels",
                    (study,),
                ).rowcount
            )

    def count_states(self) -> dict[State, int]:
        """Count the studies of each state."""
        found = {row["state"]: row["n"] for row in self.database.read("SELECT state, COUNT(*) n FROM study GROUP BY 1")}
        return {state: found.get(state, 0) for state in STATES}


def _refuse_other_content(known: sqlite3.Row | None, digest: str) -> None:
    if known is not None and known["digest"] not in ("", digest):  # "": of a database that did not keep it yet
        raise OtherContent("another object has this UID here; delete the study, then send the whole of it again")


def _join_reasons(reason: str, others: Sequence[int]) -> str:
    if not others:
        return reason
    conflict = (
        f"some of its results have the UIDs of results of study {', '.join(map(str, others))} and are not delivered; "
        "delete that study, then have this one predicted again"
    )
    return f"{reason}; {conflict}" if reason else conflict


def _count(connection: sqlite3.Connection, what: str, *values: Any) -> int:
    return int(connection.execute(f"SELECT COUNT(*) FROM {what}", values).fetchone()[0])

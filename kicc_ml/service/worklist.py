"""What the node knows of its studies, for eyes: each study with its state, its results and its delivery."""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kicc_ml.service.database import Database
from kicc_ml.service.queue import CaseResult, State, StudyQueue
from kicc_ml.service.severity_rank import read_stored_severity

#: Of the studies that ``{}`` selects, so that nothing is counted of the others.
STUDIES = """
SELECT study.*,
  (SELECT COUNT(*) FROM delivery WHERE study = study.id AND delivered IS NOT NULL) AS delivered,
  (SELECT COUNT(*) FROM delivery WHERE study = study.id AND delivered IS NULL) AS undelivered,
  (SELECT error FROM delivery WHERE study = study.id AND delivered IS NULL ORDER BY tries DESC LIMIT 1) AS error
FROM (SELECT * FROM study {0}) AS study {1}
"""
LATEST_FIRST = "ORDER BY changed DESC, id DESC"
#: By the share of the highest score, then by the time of the latest image; those without a score come last.
WORST_FIRST = "ORDER BY rank DESC, changed DESC, id DESC"
#: What is searched of a study, in lines; its identity as well where it may be.
SHOWN = (
    "id || char(10) || reason || char(10) || "
    "COALESCE((SELECT group_concat(modality, char(10)) FROM result WHERE study = study.id), '')"
)
IDENTITY = "COALESCE((SELECT group_concat(value, char(10)) FROM json_each(identity)), '')"


@dataclass(frozen=True)
class StudyEntry:
    """A study of the node. All times are seconds since 1970; ``changed`` is that of its latest instance.

    ``identity`` has label to value, as of :mod:`kicc_ml.dicom.header.patient_identity`; it is empty where the node is
    not identified. ``delivery_error`` says why an object could not be delivered yet.
    """

    study: int
    uid: str
    state: State
    reason: str
    identity: Mapping[str, str]
    received: float
    changed: float
    ended: float | None
    instances: int
    has_pixels: bool
    results: Sequence[CaseResult]
    delivered: int
    undelivered: int
    delivery_error: str


@dataclass(frozen=True)
class Search:
    """Which studies are wanted: ``words`` that all stand somewhere in what is shown, and a ``state``; "" for any.

    ``identified``: the identity of the patient is searched too.
    """

    words: Sequence[str] = ()
    state: str = ""
    identified: bool = False

    def make_condition(self) -> tuple[str, tuple[str, ...]]:
        """Make the condition in SQL, and its values."""
        shown = f"{SHOWN} || char(10) || {IDENTITY}" if self.identified else SHOWN
        conditions = ["state = ?"] * bool(self.state) + [f"instr(casefold({shown}), ?)"] * len(self.words)
        values = (*([self.state] if self.state else []), *(word.casefold() for word in self.words))
        return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values


def read_studies(queue: StudyQueue, study: int | None = None) -> list[StudyEntry]:
    """Read the studies of a node with their results, the latest first.

    Args:
        queue: the queue.
        study: the number of the one study that is read; None for all.

    Returns:
        the studies; of one that is not known, none.
    """
    condition, values = ("", ()) if study is None else ("WHERE id = ?", (study,))
    return _read(queue.database, f"{condition} {LATEST_FIRST}", values, LATEST_FIRST)


def read_worst(queue: StudyQueue, search: Search, first: int, most: int) -> list[StudyEntry]:
    """Read a page of the worklist, the worst studies first.

    Args:
        queue: the queue.
        search: which studies are wanted.
        first: how many of them are left out at the begin.
        most: how many are read.

    Returns:
        the studies.
    """
    condition, values = search.make_condition()
    return _read(queue.database, f"{condition} {WORST_FIRST} LIMIT ? OFFSET ?", (*values, most, first), WORST_FIRST)


def count_studies(queue: StudyQueue, search: Search) -> int:
    """Count the studies that are searched for."""
    condition, values = search.make_condition()
    (row,) = queue.database.read(f"SELECT COUNT(*) AS found FROM study {condition}", values)
    return int(row["found"])


def read_neighbours(queue: StudyQueue, case_ids: Collection[str]) -> dict[int, list[CaseResult]]:
    """Read all results of the studies that these results belong to, by study and in the order of their case ids."""
    cases = ", ".join("?" * len(case_ids))
    return _read_results(queue.database, f"(SELECT study FROM result WHERE case_id IN ({cases}))", tuple(case_ids))


def _read(database: Database, selected: str, values: tuple[Any, ...], order: str) -> list[StudyEntry]:
    rows = database.read(STUDIES.format(selected, order), values)
    results = _read_results(database, f"(SELECT id FROM study {selected})", values)
    return [_make_entry(row, results.get(row["id"], [])) for row in rows]


def _read_results(database: Database, studies: str, values: tuple[Any, ...]) -> dict[int, list[CaseResult]]:
    results: dict[int, list[CaseResult]] = {}
    for row in database.read(f"SELECT * FROM result WHERE study IN {studies} ORDER BY case_id", values):
        results.setdefault(row["study"], []).append(_make_result(row))
    return results


def _make_result(row: sqlite3.Row) -> CaseResult:
    severity, flags = read_stored_severity(row["severity"]), json.loads(row["flags"])
    return CaseResult(row["case_id"], row["files"], row["modality"], severity, flags, row["prior"])


def _make_entry(row: sqlite3.Row, results: Sequence[CaseResult]) -> StudyEntry:
    return StudyEntry(
        study=row["id"],
        uid=row["uid"],
        state=row["state"],
        reason=row["reason"],
        identity=json.loads(row["identity"]),
        received=row["received"],
        changed=row["changed"],
        ended=row["ended"],
        instances=row["instances"],
        has_pixels=bool(row["has_pixels"]),
        results=results,
        delivered=row["delivered"],
        undelivered=row["undelivered"],
        delivery_error=row["error"] or "",
    )

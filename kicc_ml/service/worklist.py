"""What the node knows of its studies, for eyes: each study with its state, its results and its delivery."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kicc_ml.service.queue import CaseResult, State, StudyQueue

STUDIES = """
SELECT study.*,
  (SELECT COUNT(*) FROM delivery WHERE study = study.id AND delivered IS NOT NULL) AS delivered,
  (SELECT COUNT(*) FROM delivery WHERE study = study.id AND delivered IS NULL) AS undelivered,
  (SELECT error FROM delivery WHERE study = study.id AND delivered IS NULL ORDER BY tries DESC LIMIT 1) AS error
FROM study
"""


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


def read_studies(
    queue: StudyQueue, study: int | None = None, counted: dict[int, tuple[float, int]] | None = None
) -> list[StudyEntry]:
    """Read the studies of a node with their results, the latest first.

    Args:
        queue: the queue.
        study: the number of the one study that is read; None for all.
        counted: when each study was changed that was read before, and the number of its instances; kept up to date.
            They are the most rows of the database by far: those of a study that did not change are not counted again.

    Returns:
        the studies; of one that is not known, none.
    """
    of_one, values = ("", ()) if study is None else ("WHERE study.id = ? ", (study,))
    rows = queue.database.read(f"{STUDIES} {of_one}ORDER BY changed DESC, id DESC", values)
    results: dict[int, list[CaseResult]] = {}
    for row in queue.database.read(f"SELECT result.* FROM result JOIN study ON study.id = study {of_one}", values):
        results.setdefault(row["study"], []).append(_make_result(row))
    counts = _count_instances(queue, rows, {} if counted is None else counted)
    return [_make_entry(row, counts[row["id"]], results.get(row["id"], [])) for row in rows]


def _count_instances(
    queue: StudyQueue, rows: Sequence[sqlite3.Row], counted: dict[int, tuple[float, int]]
) -> dict[int, int]:
    for row in rows:
        if counted.get(row["id"], (None, 0))[0] != row["changed"]:
            (found,) = queue.database.read("SELECT COUNT(*) AS n FROM instance WHERE study = ?", (row["id"],))
            counted[row["id"]] = row["changed"], found["n"]
    for gone in counted.keys() - {row["id"] for row in rows}:
        del counted[gone]
    return {study: count for study, (_, count) in counted.items()}


def _make_result(row: sqlite3.Row) -> CaseResult:
    severity = json.loads(row["severity"], parse_constant=lambda _: None)  # no answer in JSON could hold NaN
    flags = json.loads(row["flags"])
    return CaseResult(row["case_id"], row["files"], row["modality"], severity, flags, row["prior"])


def _make_entry(row: sqlite3.Row, instances: int, results: Sequence[CaseResult]) -> StudyEntry:
    return StudyEntry(
        study=row["id"],
        uid=row["uid"],
        state=row["state"],
        reason=row["reason"],
        identity=json.loads(row["identity"]),
        received=row["received"],
        changed=row["changed"],
        ended=row["ended"],
        instances=instances,
        has_pixels=bool(row["has_pixels"]),
        results=results,
        delivered=row["delivered"],
        undelivered=row["undelivered"],
        delivery_error=row["error"] or "",
    )

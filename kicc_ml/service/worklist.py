"""What the node knows of its studies, for eyes: each study with its state, its results and its delivery."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kicc_ml.service.queue import CaseResult, State, StudyQueue

STUDIES = """
SELECT study.*, (SELECT COUNT(*) FROM instance WHERE study = study.id) AS instances,
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


def read_studies(queue: StudyQueue, study: int | None = None) -> list[StudyEntry]:
    """Read the studies of a node with their results, the latest first.

    Args:
        queue: the queue.
        study: the number of the one study that is read; None for all.

    Returns:
        the studies; of one that is not known, none.
    """
    of_one, values = ("", ()) if study is None else ("WHERE study.id = ? ", (study,))
    rows = queue.database.read(f"{STUDIES} {of_one}ORDER BY changed DESC, id DESC", values)
    results: dict[int, list[CaseResult]] = {}
    for row in queue.database.read(f"SELECT result.* FROM result JOIN study ON study.id = study {of_one}", values):
        results.setdefault(row["study"], []).append(_make_result(row))
    return [_make_entry(row, results.get(row["id"], [])) for row in rows]


def _make_result(row: sqlite3.Row) -> CaseResult:
    severity, flags = json.loads(row["severity"]), json.loads(row["flags"])
    return CaseResult(row["case_id"], row["files"], row["modality"], severity, flags, row["prior"])


def _make_entry(row: sqlite3.Row, results: Sequence[CaseResult]) -> StudyEntry:
    return StudyEntry(
        **{"study": row["id"], "uid": row["uid"], "state": row["state"], "reason": row["reason"]},
        identity=json.loads(row["identity"]),
        **{"received": row["received"], "changed": row["changed"], "ended": row["ended"]},
        **{"instances": row["instances"], "has_pixels": bool(row["has_pixels"]), "results": results},
        **{"delivered": row["delivered"], "undelivered": row["undelivered"], "delivery_error": row["error"] or ""},
    )

"""``cohort.json`` of a run: digests of its cases as they were read, to detect a changed cohort.

A run folder is shared, so it holds no value of a patient. A plain digest of clinical values could be reversed by trying
all possible values. Therefore digests of clinical values use the key of the repository's pseudonyms, which stays with
the consortium. A cohort without such a key has no digests of clinical values.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.received import read_json_object
from kicc_ml.core.shown import format_count
from kicc_ml.core.types import Case, Series
from kicc_ml.runs.folder import COHORT

#: Digests by case id, then by part of the case, under the name that messages use for the part.
Record = Mapping[str, Mapping[str, str]]
#: The number of cases that a message names; the other cases are only counted.
SHOWN_CASES = 5
DIGITS = 12
#: The remedy for a record that cannot be read.
WITHOUT = "remove it: whether the cohort has changed is then not told"
MISSING, NEW = "not there any more", "new"


def record_of(cases: Sequence[Case], key: bytes | None) -> dict[str, dict[str, str]]:
    """Compute digests of each case, by case id and then by part of the case.

    Args:
        cases: the cases of the cohort.
        key: the key of the repository's pseudonyms. Without it there is no digest of clinical values and endpoints.
    """
    return {case.case_id: _parts_of(case, key) for case in cases}


def read_record(run: Path) -> Record | None:
    """Read the digests in a run folder; None if it has none, as in runs of earlier versions.

    Raises:
        UserError: the file is damaged.
    """
    path = run / COHORT
    if not path.is_file():
        return None
    kept = read_json_object(path, WITHOUT)
    if not all(
        isinstance(parts, dict) and all(isinstance(one, str) for one in parts.values()) for parts in kept.values()
    ):
        raise UserError(
            f"{path} cannot be read: it holds no digests of cases; remove it: a changed cohort is then not told"
        )
    return kept


def differences(before: Record, now: Record) -> dict[str, str]:
    """Describe the differences between two records, by case id. A part that only one of them has counts as equal."""
    found = {case_id: MISSING for case_id in before if case_id not in now}
    found |= {case_id: NEW for case_id in now if case_id not in before}
    for case_id in before.keys() & now.keys():
        pairs = {part: (before[case_id][part], now[case_id].get(part)) for part in before[case_id]}
        if changed := [part for part, (old, new) in pairs.items() if new is not None and old != new]:
            found[case_id] = ", ".join(changed)
    return dict(sorted(found.items()))


def describe_differences(found: Mapping[str, str], count: int) -> str:
    """Describe how many of ``count`` cases differ, and the differences of the first ones."""
    shown = [f"{case_id} ({what})" for case_id, what in list(found.items())[:SHOWN_CASES]]
    more = [f"and {len(found) - SHOWN_CASES} more"] if len(found) > SHOWN_CASES else []
    return f"{len(found)} of {format_count(count, 'case')} differ: {', '.join([*shown, *more])}"


def _parts_of(case: Case, key: bytes | None) -> dict[str, str]:
    parts = {
        "person": _digest(case.person),
        "CT": _digest(_image(case.ct)),
        "radiograph": _digest(_image(case.cxr)),
        "later images": _digest([_image(series) for series in case.further]),
        "masks": _digest([sorted(case.masks), sorted(case.cxr_masks), sorted(case.mask_labels.items())]),
    }
    if key is not None:
        parts["clinical values"] = _keyed(key, case.case_id, case.clinical)
        parts["endpoints"] = _keyed(key, case.case_id, case.endpoints)
    return parts


def _image(series: Series | None) -> list[Any]:
    if series is None:
        return []
    grid = [series.rows, series.columns, series.slices, series.spacing_mm]
    return [series.uid, len(series.files), *grid, series.units, series.verdict, series.reasons]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:DIGITS]


def _keyed(key: bytes, case_id: str, values: Mapping[str, float]) -> str:
    """Compute the digest of values under the key. The case id is included, so equal values have different digests."""
    known = {name: float(value) for name, value in sorted(values.items()) if not isnan(value)}
    return make_pseudonym(key, "values of a case", case_id, json.dumps(known))

"""The order of the worklist: the score of a result as a share of the highest one, so that CT and radiograph compare."""

import json
from collections.abc import Mapping
from typing import Any

#: Highest score of a CT (Wang 2020) and of a radiograph (Wong 2020).
MOST_SCORE, MOST_EXTENT = 24, 8


def find_score(modality: str, severity: Mapping[str, Any]) -> tuple[float | None, int]:
    """Find the score of a result: the severity score of a CT, the geographic extent of a radiograph.

    Args:
        modality: CT or CXR.
        severity: columns of ``predictions.csv``.

    Returns:
        the score, None without one, and its highest value.
    """
    if severity.get("severity_score") is not None:
        return severity["severity_score"], MOST_SCORE
    extent = severity.get("geographic_extent")
    return extent, MOST_SCORE if extent is None and modality == "CT" else MOST_EXTENT


def compute_rank(modality: str, severity: Mapping[str, Any]) -> float:
    """Compute the share of the highest score, from 0 to 1; -1 without a score."""
    score, most = find_score(modality, severity)
    return -1.0 if score is None else score / most


def read_stored_severity(stored: str) -> Mapping[str, Any]:
    """Read the columns as the database keeps them; what is no number is None, since no answer in JSON could hold it."""
    severity: Mapping[str, Any] = json.loads(stored, parse_constant=lambda _: None)
    return severity


def rank_stored_result(modality: str, stored: str) -> float:
    """Compute the rank of a row of the table ``result``; :mod:`kicc_ml.service.database` makes it a function of SQL."""
    return compute_rank(modality, read_stored_severity(stored))

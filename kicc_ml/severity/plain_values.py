"""Convert a severity map to JSON, to a row of a table, or to features of outcome models, and read the JSON again."""

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from kicc_ml.core.task_scores import COLUMN
from kicc_ml.core.types import Modality, SeverityMap
from kicc_ml.severity.image_features import FEATURES

#: Columns of a table that hold a severity map, in this order, and the field of the map that each of them holds.
FIELD_OF_COLUMN: Mapping[str, str] = {
    "severity_score": "score",
    "percent_involved": "percent_involved",
    "percent_consolidated": "percent_consolidated",
    "lung_ml": "lung_ml",
    "lesion_ml": "lesion_ml",
    "lesion_g": "lesion_g",
    "uncertain_percent": "uncertain_percent",
    "geographic_extent": "geographic_extent",
}
#: Columns of a predicted case: its severity, then the image features that are compared with other hospitals.
CASE_COLUMNS = tuple(dict.fromkeys([*FIELD_OF_COLUMN, *FEATURES]))
#: Prefix of the features of an outcome model that were measured on a CT.
CT_FEATURE = "ct_"
#: Suffix of a column that holds the value of the reference masks.
REFERENCE = "_truth"
#: In the JSON, beside the fields of the map: the seconds that each stage of the prediction took.
SECONDS = "timing_s"
#: Fields that hold a value for each zone or lung, and fields that hold sentences. All others hold one number.
BY_PART, SENTENCES = ("zone_percent", "zone_score", "lung_percent", "own_scores"), ("reasons",)


def severity_to_json(severity: SeverityMap, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return the values of ``severity.json``: the fields of the map, and the seconds by stage."""
    return asdict(severity) | {"reasons": list(severity.reasons), SECONDS: dict(seconds)}


def severity_from_json(values: Mapping[str, Any]) -> tuple[SeverityMap, dict[str, float]]:
    """Return the map and the seconds by stage that :func:`severity_to_json` wrote; the seconds may be empty.

    Raises:
        ValueError: a field is missing, unknown, or holds a value of the wrong kind. The message names the field.
    """
    fields = {name: value for name, value in values.items() if name != SECONDS}
    seconds = values.get(SECONDS, {})
    if unknown := sorted(set(fields) - set(SeverityMap.__dataclass_fields__)):
        raise ValueError(f"{unknown[0]} is unknown")
    if wrong := [name for name, value in fields.items() if not _fits(name, value)]:
        raise ValueError(f"{wrong[0]} is not what it should be")
    if not isinstance(seconds, dict) or not all(is_number(value) for value in seconds.values()):
        raise ValueError(f"{SECONDS} is not what it should be")
    try:
        return SeverityMap(**{**fields, "reasons": tuple(fields.get("reasons", ()))}), seconds
    except TypeError as error:  # Python's words for a field that is missing
        raise ValueError(str(error)) from error


def severity_to_row(severity: SeverityMap) -> dict[str, Any]:
    """Return the columns of a table (``predictions.csv``, ``cases.csv``) for one map."""
    return {column: getattr(severity, field) for column, field in FIELD_OF_COLUMN.items()}


def case_to_row(severity: SeverityMap, features: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the columns of a predicted case: its severity, its image features (:data:`FEATURES`), its own scores.

    The volume of the lungs is in the first two, computed from the same masks.
    """
    return {**severity_to_row(severity), **features, **own_scores_to_row(severity)}


def own_scores_to_row(severity: SeverityMap) -> dict[str, float | None]:
    """Return the columns of the scores of the user's own."""
    return {f"{COLUMN}{name}": value for name, value in severity.own_scores.items()}


def severity_to_ct_features(severity: SeverityMap) -> dict[str, float]:
    """Return the known severity values of a CT under the names of the features of outcome models."""
    row = severity_to_row(severity)
    return {f"{CT_FEATURE}{column}": value for column, value in row.items() if value is not None}


def reference_to_row(severity: SeverityMap, modality: Modality) -> dict[str, Any]:
    """Return the columns for the severity of the reference masks, which the predicted severity is compared with."""
    row, graded = severity_to_row(severity), "severity_score" if modality == "CT" else "geographic_extent"
    kept = {column: row[column] for column in (graded, "percent_involved")} | own_scores_to_row(severity)
    return {f"{column}{REFERENCE}": value for column, value in kept.items()}


def _fits(name: str, value: Any) -> bool:
    """Decide whether a value is of the kind that a field of the map holds."""
    if name in SENTENCES:
        return isinstance(value, list) and all(isinstance(sentence, str) for sentence in value)
    if name in BY_PART:
        return isinstance(value, dict) and all(part is None or is_number(part) for part in value.values())
    return value is None or is_number(value)


def is_number(value: Any) -> bool:
    """Decide whether a value that was read is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)

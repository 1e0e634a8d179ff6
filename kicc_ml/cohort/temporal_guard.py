"""Removal of clinical values that were not known at the time of prediction.

A column ``crp_mg_l`` may have a column ``crp_mg_l_date`` with its dates. A value becomes unknown, and is counted, if
its date is later than the day of any guarded endpoint or the last day allowed for an index image. A column without
dates is assumed to be known at admission, which no program can check. Columns whose name contains a treatment or a
later event are never features (:data:`kicc_ml.cohort.clinical_table.LATER_WORDS`).
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta

from kicc_ml.cohort.index_image import IndexRule, last_guarded_day

UNKNOWN = float("nan")


def remove_late_values(
    values: Mapping[str, float], row: Mapping, rule: IndexRule
) -> tuple[dict[str, float], Counter[str]]:
    """Remove the values of a row that were dated too late.

    Args:
        values: the features of the row.
        row: ``admission_date``, endpoints and every ``*_date``, as far as known.
        rule: the guarded endpoints and the windows of index images.

    Returns:
        The features, with NaN for removed values; and the number of removed values, by reason.
    """
    endpoint_day = last_guarded_day(row, rule.guards)
    window_day = last_window_day(row.get("admission_date"), rule)
    obstacles: Counter[str] = Counter()
    kept = dict(values)
    for name, value in values.items():
        if f"{name}_date" not in row or value != value:
            continue
        if why := _obstacle(row[f"{name}_date"], endpoint_day, window_day):
            kept[name] = UNKNOWN
            obstacles[f"values of {name} not used: {why}"] += 1
    return kept, obstacles


def last_window_day(admitted: date | None, rule: IndexRule) -> date | None:
    """Compute the last day allowed for an index image; None if any day is allowed or the admission is unknown."""
    windows = [days for days in (rule.ct_window_days, rule.cxr_window_days) if days is not None]
    if admitted is None or not windows:
        return None
    return admitted + timedelta(days=max(last for _, last in windows))


def _obstacle(day: date | None, endpoint_day: date | None, window_day: date | None) -> str:
    if day is None:
        return "without a date, which the column's others have" if endpoint_day or window_day else ""
    if endpoint_day and day > endpoint_day:
        return "dated after an endpoint"
    return "dated after the window around admission" if window_day and day > window_day else ""

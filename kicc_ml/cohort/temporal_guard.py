"""Which values of a row were there when the prediction is made.

A column ``crp_mg_l`` may have its date beside it, ``crp_mg_l_date``. A value dated later than the day of any guarded
endpoint, or than the last day on which an index image may be taken, is not known when the prediction is made: it
becomes unknown, and is counted. A column without dates is taken as known at admission, which no program can check;
columns that are named like a treatment or like what comes later are no features at all
(:data:`kicc_ml.cohort.clinical_table.LATER_WORDS`).
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta

from kicc_ml.cohort.index_image import IndexRule, last_guarded_day

UNKNOWN = float("nan")


def guarded(values: Mapping[str, float], row: Mapping, rule: IndexRule) -> tuple[dict[str, float], Counter[str]]:
    """The features of a row less those that came too late (now NaN), and why they are not used, counted.

    ``row`` holds ``admission_date``, endpoints and every ``*_date``, as far as they are known.
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
    """The last day on which an index image may be taken; None where any day is allowed or admission is not known."""
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

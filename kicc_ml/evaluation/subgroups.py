"""The metrics of outcome models for groups of patients.

Estimand and design are those of :func:`kicc_ml.evaluation.outcome.score_outcome` for the patients of a group. Two
groups differ only where their intervals do not overlap at all. Many groups are compared, so a group that stands out is
a question and not a finding.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from kicc_ml.core.types import Case
from kicc_ml.evaluation.outcome import score_outcome
from kicc_ml.evaluation.rows import make_binary_outcomes

#: Lower limits of age bands in years, with their names. They are a setting of the report, not published by KICC.
AGE_BANDS = {0: "under 50", 50: "50 to 64", 65: "65 to 79", 80: "80 and over"}

#: Columns of the table of groups that are looked at, in this order, where they are there.
GROUPINGS = ("sex", "age_band", "vendor", "projection", "dose_class")

#: Shown for each group.
SUBGROUP_METRICS = ("auroc", "auroc_pooled", "observed_expected", "brier")


def find_age_band(age_years: float | None) -> str | None:
    """Find the name of the band of an age; None for an unknown age."""
    if age_years is None or pd.isna(age_years):
        return None
    return AGE_BANDS[max(start for start in AGE_BANDS if start <= age_years)]


def make_groups(cases: Iterable[Case]) -> pd.DataFrame:
    """Make a table of ``case_id`` and the ``GROUPINGS`` that any case has; vendor is of the CT, else the radiograph."""
    rows = [
        {
            "case_id": case.case_id,
            "sex": {1.0: "men", 0.0: "women"}.get(case.clinical.get("sex", math.nan)),
            "age_band": find_age_band(case.clinical.get("age_years")),
            "vendor": next((series.vendor for series in (case.ct, case.cxr) if series and series.vendor), None),
            "projection": case.cxr.projection or None if case.cxr else None,
            "dose_class": case.ct.dose_class or None if case.ct else None,
        }
        for case in cases
    ]
    return pd.DataFrame(rows, columns=["case_id", *GROUPINGS]).dropna(axis="columns", how="all")


def score_subgroups(predictions: pd.DataFrame, groups: pd.DataFrame) -> list[dict[str, Any]]:
    """Compute one row per endpoint, model, grouping and group, with ``n events`` and ``SUBGROUP_METRICS``.

    ``groups`` holds ``case_id`` and any of ``GROUPINGS``; a case without a value is in the group ``unknown``. No rows
    without predictions or groupings. A figure that does not exist is None with its reason.
    """
    if predictions.empty or "case_id" not in groups:
        return []
    joined = predictions.merge(groups, on="case_id", how="left", validate="many_to_one")
    return [row for grouping in GROUPINGS if grouping in groups for row in _score_grouping(joined, grouping)]


def _score_grouping(predictions: pd.DataFrame, grouping: str) -> Iterator[dict[str, Any]]:
    named = predictions[grouping].astype(object).where(predictions[grouping].notna(), "unknown")
    order = [*AGE_BANDS.values()] if grouping == "age_band" else []
    for (endpoint, model), table in predictions.assign(group=named).groupby(["endpoint", "model"], sort=False):
        present = sorted(set(table["group"]), key=lambda name: (order.index(name) if name in order else 99, str(name)))
        for group in present:
            rows = make_binary_outcomes(table[table["group"] == group])
            row = {"endpoint": endpoint, "model": model, "grouping": grouping, "group": str(group)}
            row |= {"n": len(rows.label_n), "events": int(rows.label_n.sum())}
            yield row | score_outcome(rows, SUBGROUP_METRICS)

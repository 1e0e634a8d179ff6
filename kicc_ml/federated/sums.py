"""Sums over the patients of a hospital, and what the coordinator computes from the sums of several.

The rule for small counts: a hospital states nothing of a column with fewer than ``LEAST`` known cells. Of a column of
zeros and ones it also states nothing if fewer than ``LEAST`` patients, but at least one, are on either side. What is
withheld is None; it is left out of the numerator and of the denominator of the total, and the total says how many
hospitals withheld it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from kicc_ml.core.types import Case
from kicc_ml.federated.messages import HospitalRefuses

#: The smallest count that a hospital states.
LEAST = 5

#: Items of the cohort's summary that are values of single patients, or no counts of patients.
NOT_COUNTS = ("patients", "sites", "age_mean", "age_min", "age_max")


@dataclass(frozen=True)
class Total:
    """The sums of one column over the hospitals that state it.

    Attributes:
        known: the number of patients with a known value.
        sum: the sum of their values.
        squares: the sum of the squares of their values.
        hospitals: the number of hospitals that state it.
        withheld: the number of hospitals that have the column and withhold it.
    """

    known: int = 0
    sum: float = 0.0
    squares: float = 0.0
    hospitals: int = 0
    withheld: int = 0

    @property
    def mean(self) -> float:
        """The mean of the known values; of zeros and ones, the share of ones."""
        return self.sum / self.known

    @property
    def spread(self) -> float:
        """The sum of squared differences from the mean."""
        return max(0.0, self.squares - self.sum**2 / self.known)

    @property
    def sd(self) -> float:
        """The standard deviation of the sample; 0 for one value."""
        return sqrt(self.spread / (self.known - 1)) if self.known > 1 else 0.0


def sum_column(cells: Sequence[float] | np.ndarray) -> dict[str, float] | None:
    """Sum the known cells of a column: ``{known, sum, squares}``, or None if a count is too small to be stated."""
    known_n = np.asarray(cells, float)
    known_n = known_n[~np.isnan(known_n)]
    counts = [known_n.size]
    if np.isin(known_n, (0.0, 1.0)).all():
        counts += [count for value in (0.0, 1.0) if (count := int((known_n == value).sum()))]
    if min(counts) < LEAST:
        return None
    return {"known": int(known_n.size), "sum": float(known_n.sum()), "squares": float((known_n**2).sum())}


def sum_cases(cases: Sequence[Case]) -> dict[str, Any]:
    """Sum the clinical values and the endpoints of a hospital's patients.

    Args:
        cases: all patients of the hospital.

    Returns:
        ``patients``, and under ``features`` and ``endpoints`` the sums of each column (:func:`sum_column`).

    Raises:
        HospitalRefuses: the hospital has fewer than ``LEAST`` patients.
    """
    if len(cases) < LEAST:
        raise HospitalRefuses(f"a hospital with fewer than {LEAST} patients states no sums")
    tables = {"features": [case.clinical for case in cases], "endpoints": [case.endpoints for case in cases]}
    return {"patients": len(cases)} | {name: _sum_table(rows) for name, rows in tables.items()}


def _sum_table(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    columns = dict.fromkeys(name for row in rows for name in row)
    return {name: sum_column([row.get(name, np.nan) for row in rows]) for name in columns}


def make_table_sums(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Make the counts of Table 1 that a hospital states, from its own summary.

    Args:
        summary: the result of :func:`kicc_ml.cohort.summary.summary` at the hospital.

    Returns:
        for each item ``{known, sum, squares}``, or None if a count is too small to be stated. Items that no column of
        the hospital answers are absent.
    """
    items = {}
    for item, known in summary["known"].items():
        if item in NOT_COUNTS or not known:
            continue
        if item in ("ct_scans", "cxr_images"):  # counts of images, of which a patient may have several
            enough = known >= LEAST and not 0 < summary[item] < LEAST
            items[item] = {"known": known, "sum": summary[item], "squares": 0} if enough else None
        else:
            items[item] = sum_column([1.0] * summary[item] + [0.0] * (known - summary[item]))
    return items


def add_sums(answers: Iterable[Mapping[str, Mapping[str, float] | None]]) -> dict[str, Total]:
    """Add the sums of several hospitals, column by column, in the order in which columns first occur.

    Args:
        answers: for each hospital, its sums by column.
    """
    totals: dict[str, Total] = {}
    for answer in answers:
        for name, own in answer.items():
            totals[name] = _add(totals.get(name, Total()), own)
    return totals


def _add(total: Total, own: Mapping[str, float] | None) -> Total:
    if own is None:
        return Total(total.known, total.sum, total.squares, total.hospitals, total.withheld + 1)
    return Total(
        total.known + int(own["known"]),
        total.sum + own["sum"],
        total.squares + own["squares"],
        total.hospitals + 1,
        total.withheld,
    )


def make_table(items: Mapping[str, Total], features: Mapping[str, Total]) -> pd.DataFrame:
    """Make Table 1 over hospitals: counts and shares of items, mean and standard deviation of values.

    Args:
        items: totals of the items of the cohort's summary.
        features: totals of the clinical values.

    Returns:
        the columns ``characteristic``, ``known``, ``count`` (of items), ``mean`` (of items the share), ``sd`` (of
        values), ``hospitals`` that state it and ``withheld``: hospitals whose counts are too small.
    """
    rows = [
        {
            "characteristic": name,
            "known": total.known,
            "count": round(total.sum) if is_item else None,
            "mean": total.mean if total.known else None,
            "sd": total.sd if total.known and not is_item else None,
            "hospitals": total.hospitals,
            "withheld": total.withheld,
        }
        for is_item, totals in ((True, items), (False, features))
        for name, total in totals.items()
        if is_item or name not in items
    ]
    return pd.DataFrame(rows)

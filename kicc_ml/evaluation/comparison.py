"""Which of two models is better, over the same cases.

Estimand: the difference (one less other) at hospitals like these. Design: both models predicted the same cases under
the same split; hospitals are resampled for both at once, so what they share cancels. At fewer than three hospitals
cases are drawn (areas: DeLong's paired test of the one hospital). "Better" is said only where the 95 % interval of the
difference excludes 0. Several comparisons are corrected by Holm (Scand J Stat 1979;6:65).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from kicc_ml.evaluation.bootstrap import LEAST_SITES, Resampling, degrees_of, resample, spread_of, t_interval
from kicc_ml.evaluation.delong import normal_test, paired_test
from kicc_ml.evaluation.discrimination import evaluable_sites, site_pairs, within_site_auroc
from kicc_ml.evaluation.outcome import WEIGHTED
from kicc_ml.evaluation.rows import Rows, paired_rows

#: Metrics of which less is better.
LESS_IS_BETTER = ("brier",)

#: What models are compared by: ordering within hospitals, and the probabilities themselves.
COMPARED_BY = ("auroc", "brier")


@dataclass(frozen=True)
class Difference:
    """``value`` of one less other with its 95 % interval and p; None with a ``reason``. ``n`` cases were shared."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    over: str = ""
    reason: str = ""

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def paired_difference(one: Rows, other: Rows, metric: str, seed: int = 0) -> Difference:
    """Difference of a metric of :data:`kicc_ml.evaluation.outcome.METRICS`; both rows hold the same cases in order."""
    n = len(one.label_n)
    if reason := one.why_one_class:
        return Difference(None, None, None, None, n, reason=reason)
    if metric == "auroc":
        return _within_site(one, other, seed)
    drawn = resample(one.site_n, seed)
    difference_r = WEIGHTED[metric].over(one, drawn) - WEIGHTED[metric].over(other, drawn)
    return _from_replicates(difference_r, drawn, n)


def mean_difference(one_n: np.ndarray, other_n: np.ndarray, site_n: np.ndarray, seed: int = 0) -> Difference:
    """Difference of the means of a figure per case (Dice, say) of two models over the same cases."""
    if not len(one_n):
        return Difference(None, None, None, None, 0, reason="no case that both have")
    drawn = resample(site_n, seed)
    return _from_replicates(drawn.total(one_n - other_n) / drawn.total(np.ones(len(one_n))), drawn, len(one_n))


def compare_pair(predictions: pd.DataFrame, one: str, other: str, seed: int = 0) -> list[dict[str, Any]]:
    """``one`` against ``other`` by ``COMPARED_BY`` for one endpoint, over the cases that both predicted."""
    first, second = paired_rows(predictions, one, other)
    found = [(metric, paired_difference(first, second, metric, seed)) for metric in COMPARED_BY]
    return [_row(one, other, metric, difference) for metric, difference in found]


def compare(predictions: pd.DataFrame, pairs: Sequence[tuple[str, str]], seed: int = 0) -> list[dict[str, Any]]:
    """All ``pairs`` of models for every endpoint of ``predictions``; ``p_holm`` corrects over the rows of a metric."""
    rows = [
        {"endpoint": endpoint} | row
        for endpoint, table in predictions.groupby("endpoint", sort=False)
        for one, other in pairs
        if {one, other} <= set(table["model"])
        for row in compare_pair(table, one, other, seed)
    ]
    return with_holm(rows)


def compare_segmentations(
    cases: Mapping[str, pd.DataFrame], region: str, metric: str = "dice", seed: int = 0
) -> list[dict[str, Any]]:
    """Every two of several tables of cases by the mean of ``<region>_<metric>``, over the cases that both have.

    A table without that column takes no part.
    """
    column, rows = f"{region}_{metric}", []
    for one, other in combinations([name for name, table in cases.items() if column in table], 2):
        both = cases[one][["case_id", "site", column]].merge(cases[other][["case_id", column]], on="case_id")
        both = both.dropna()
        first_n, second_n = (both[f"{column}_{side}"].to_numpy(float) for side in "xy")
        difference = mean_difference(first_n, second_n, both["site"].to_numpy(str), seed)
        rows.append({"endpoint": region} | _row(one, other, metric, difference))
    return with_holm(rows)


def compare_runs(
    predictions: Mapping[str, pd.DataFrame], cases: Mapping[str, pd.DataFrame], model: str = "network", seed: int = 0
) -> list[dict[str, Any]]:
    """Runs against each other, by name: ``model`` of their predictions, and lesion Dice of their ``cases.csv``.

    A run that has no such rows takes no part in that comparison. Rows as of :func:`compare`; ``p_holm`` is over all
    rows of a measure.
    """
    named = [table[table["model"] == model].assign(model=run) for run, table in predictions.items() if len(table)]
    outcomes = compare(pd.concat(named), list(combinations(predictions, 2)), seed) if named else []
    return [*outcomes, *compare_segmentations(cases, "lesion", seed=seed)]


def with_holm(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add ``p_holm``, corrected over the rows of the same metric that have a p; None where there is none."""
    corrected: dict[int, float] = {}
    for metric in {row["metric"] for row in rows}:
        tested = [place for place, row in enumerate(rows) if row["metric"] == metric and row["p"] is not None]
        if tested:
            p = multipletests([rows[place]["p"] for place in tested], method="holm")[1]
            corrected |= dict(zip(tested, map(float, p), strict=True))
    return [row | {"p_holm": corrected.get(place)} for place, row in enumerate(rows)]


def _within_site(one: Rows, other: Rows, seed: int) -> Difference:
    kept = np.isin(one.site_n, evaluable_sites(one))
    if not kept.any():
        reason = "no hospital has both events and non-events"
        return Difference(None, None, None, None, len(one.label_n), reason=reason)
    one, other = one.at(kept), other.at(kept)
    first, second = site_pairs(one), site_pairs(other)
    if len(first.site_s) < LEAST_SITES:
        return _few_sites(one, other)
    drawn = resample(one.site_n, seed)
    difference_r = within_site_auroc(first, drawn.weight_ru) - within_site_auroc(second, drawn.weight_ru)
    return _from_replicates(difference_r, drawn, len(one.label_n), degrees_of(first.pairs_s))


def _few_sites(one: Rows, other: Rows) -> Difference:
    """Hospitals as strata: DeLong's paired variances, weighed as their pairs."""
    pairs = site_pairs(one)
    tests = [paired_test(one.at(one.site_n == site), other.at(one.site_n == site)) for site in pairs.site_s]
    share_s = pairs.pairs_s / pairs.pairs_s.sum()
    value = float(share_s @ np.array([test.difference for test in tests], float))
    errors = [test.error for test in tests if test.error is not None]
    if len(errors) < len(tests):
        reason = "a hospital with fewer than two events or non-events"
        return Difference(value, None, None, None, len(one.label_n), "cases", reason)
    test = normal_test(value, float(np.linalg.norm(share_s * np.array(errors))))
    return Difference(value, test.low, test.high, test.p, len(one.label_n), "cases", test.reason)


def _from_replicates(difference_r: np.ndarray, drawn: Resampling, n: int, degrees: float | None = None) -> Difference:
    value = float(difference_r[0])
    if not np.isfinite(value):
        return Difference(None, None, None, None, n, reason="probabilities are constant")
    interval = t_interval(difference_r, drawn, degrees=degrees)
    found = Difference(value, interval.low, interval.high, None, n, drawn.over, interval.reason)
    if interval.low is None:
        return found
    spread = spread_of(difference_r[1:][np.isfinite(difference_r[1:])], drawn)
    return replace(found, p=float(2 * stats.t.sf(abs(value) / spread, degrees or drawn.degrees)))


def _row(one: str, other: str, metric: str, difference: Difference) -> dict[str, Any]:
    better = None
    if difference.excludes_zero and difference.value is not None:
        better = one if (difference.value > 0) != (metric in LESS_IS_BETTER) else other
    row: dict[str, Any] = {"model": one, "against": other, "metric": metric, "difference": difference.value}
    row |= {name: getattr(difference, name) for name in ("low", "high", "p", "n", "over")}
    return row | {"better": better or "neither", "reason": difference.reason}

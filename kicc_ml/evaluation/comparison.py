"""Compare two models on the same cases.

Estimand: the difference (one less other) at hospitals like these, or, where there are too few hospitals to say, at
these hospitals (:mod:`kicc_ml.evaluation.three_answers`). Design: both models predicted the same cases under the same
split, so what they share cancels within each hospital. "Better" is said only where the 95 % interval of the difference
excludes 0 and supports the claim (:mod:`kicc_ml.evaluation.supported`). Several comparisons are corrected by Holm
(Scand J Stat 1979;6:65).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from kicc_ml.evaluation.calibration import compute_squared_error
from kicc_ml.evaluation.discrimination import compute_paired_site_pairs
from kicc_ml.evaluation.hospital_effects import (
    compute_difference_effects,
    compute_mean_effects,
    find_sites_with_few_events,
)
from kicc_ml.evaluation.intervals import compute_stratified_estimate, make_estimate
from kicc_ml.evaluation.outcome import ALL_CASES_METRICS
from kicc_ml.evaluation.rows import BinaryOutcomes, make_paired_outcomes
from kicc_ml.evaluation.supported import find_supported_side
from kicc_ml.evaluation.three_answers import QUESTIONS, Answers, make_answers, make_unanswered

#: Metrics for which lower is better.
LESS_IS_BETTER = ("brier",)

#: Metrics by which models are compared: order within hospitals, and the probabilities themselves.
COMPARED_BY = ("auroc", "brier")


@dataclass(frozen=True)
class Difference:
    """Difference between two models over ``n`` shared cases, with 95 % interval and p; None with a ``reason``.

    ``question`` says what it answers; ``answers`` holds each of the three.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    question: str = ""
    reason: str = ""
    answers: dict[str, Any] = field(default_factory=dict)

    @property
    def excludes_zero(self) -> bool:
        """Return whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def compute_paired_difference(one: BinaryOutcomes, other: BinaryOutcomes, metric: str) -> Difference:
    """Compute the difference of a metric of :data:`kicc_ml.evaluation.outcome.METRICS` over the same ordered cases.

    ``auroc`` and ``brier`` have all three answers, the others are made of all cases and speak of these hospitals.
    """
    n = len(one.label_n)
    if reason := one.one_class_reason:
        return _make_undefined(n, reason)
    if metric == "auroc":
        return _compare_within_hospitals(one, other)
    if metric == "brier":
        return compute_mean_difference(
            compute_squared_error(one), compute_squared_error(other), one.site_n, find_sites_with_few_events(one)
        )
    first, second = ALL_CASES_METRICS[metric].compute(one), ALL_CASES_METRICS[metric].compute(other)
    difference = first.value - second.value
    if not np.isfinite(difference):
        return _make_undefined(n, "probabilities are constant")
    influence_n = first.influence_n - second.influence_n
    these = compute_stratified_estimate(difference, influence_n, ALL_CASES_METRICS[metric].make_strata(one))
    interval = these.interval
    return Difference(difference, interval.low, interval.high, these.p, n, QUESTIONS[0], interval.reason)


def compute_mean_difference(
    one_n: np.ndarray, other_n: np.ndarray, site_n: np.ndarray, few: Collection[str] = ()
) -> Difference:
    """Compute the difference of the means of a metric per case (such as Dice) of two models over the same cases.

    Args:
        one_n: values of the first model.
        other_n: values of the second model.
        site_n: hospital of each case.
        few: hospitals that take the pooled variance, in addition to those with few cases.
    """
    if not len(one_n):
        return _make_undefined(0, "no case that both have")
    difference_n = one_n - other_n
    mean = float(difference_n.mean())
    these = compute_stratified_estimate(mean, (difference_n - mean) / difference_n.size, site_n)
    return _make_difference(make_answers(these, compute_mean_effects(difference_n, site_n, few=few)), len(one_n))


def compare_pair(predictions: pd.DataFrame, one: str, other: str) -> list[dict[str, Any]]:
    """Compare ``one`` with ``other`` by ``COMPARED_BY`` for one endpoint, over the cases that both predicted."""
    first, second = make_paired_outcomes(predictions, one, other)
    found = [(metric, compute_paired_difference(first, second, metric)) for metric in COMPARED_BY]
    return [_make_row(one, other, metric, difference) for metric, difference in found]


def compare(predictions: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Compare all ``pairs`` of models for every endpoint. ``p_holm`` is corrected over the rows of a metric."""
    rows = [
        {"endpoint": endpoint} | row
        for endpoint, table in predictions.groupby("endpoint", sort=False)
        for one, other in pairs
        if {one, other} <= set(table["model"])
        for row in compare_pair(table, one, other)
    ]
    return add_holm(rows)


def compare_segmentations(cases: Mapping[str, pd.DataFrame], region: str, metric: str = "dice") -> list[dict[str, Any]]:
    """Compare each pair of case tables by the mean of ``<region>_<metric>``, over the cases that both have.

    A table without that column is left out.
    """
    column, rows = f"{region}_{metric}", []
    for one, other in combinations([name for name, table in cases.items() if column in table], 2):
        both = cases[one][["case_id", "site", column]].merge(cases[other][["case_id", column]], on="case_id")
        both = both.dropna()
        first_n, second_n = (both[f"{column}_{side}"].to_numpy(float) for side in "xy")
        difference = compute_mean_difference(first_n, second_n, both["site"].to_numpy(str))
        rows.append({"endpoint": region} | _make_row(one, other, metric, difference))
    return add_holm(rows)


def compare_runs(
    predictions: Mapping[str, pd.DataFrame], cases: Mapping[str, pd.DataFrame], model: str = "network"
) -> list[dict[str, Any]]:
    """Compare runs with each other: ``model`` of their predictions, and lesion Dice of their ``cases.csv``.

    A run that has no such rows takes no part in that comparison. Rows as of :func:`compare`; ``p_holm`` is over all
    rows of a measure.
    """
    named = [table[table["model"] == model].assign(model=run) for run, table in predictions.items() if len(table)]
    outcomes = compare(pd.concat(named), list(combinations(predictions, 2))) if named else []
    return [*outcomes, *compare_segmentations(cases, "lesion")]


def add_holm(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add ``p_holm``, corrected over the rows of the same metric that have a p; None for rows without p."""
    corrected: dict[int, float] = {}
    for metric in {row["metric"] for row in rows}:
        tested = [place for place, row in enumerate(rows) if row["metric"] == metric and row["p"] is not None]
        if tested:
            p = multipletests([rows[place]["p"] for place in tested], method="holm")[1]
            corrected |= dict(zip(tested, map(float, p), strict=True))
    return [row | {"p_holm": corrected.get(place)} for place, row in enumerate(rows)]


def _compare_within_hospitals(one: BinaryOutcomes, other: BinaryOutcomes) -> Difference:
    pairs = compute_paired_site_pairs(one, other)
    if not pairs.site_s.size:
        return _make_undefined(len(one.label_n), "no hospital has both events and non-events")
    n = int(np.isin(one.site_n, pairs.site_s).sum())
    these = make_estimate(pairs.area, pairs.spread, degrees=pairs.degrees)
    return _make_difference(make_answers(these, compute_difference_effects(pairs)), n)


def _make_difference(answers: Answers, n: int) -> Difference:
    figure = answers.figure(answers.question)
    named = {name: figure[name] for name in QUESTIONS}
    bounds = figure["value"], figure["low"], figure["high"]
    return Difference(*bounds, answers.p, n, answers.question, figure.get("reason", ""), named)


def _make_undefined(n: int, reason: str) -> Difference:
    answers = make_unanswered(reason)
    return Difference(None, None, None, None, n, "", reason, {name: answers[name] for name in QUESTIONS})


def _make_row(one: str, other: str, metric: str, difference: Difference) -> dict[str, Any]:
    better = None
    if difference.excludes_zero and (side := find_supported_side(difference.answers, difference.question, 0.0)):
        better = one if (side > 0) != (metric in LESS_IS_BETTER) else other
    row: dict[str, Any] = {"model": one, "against": other, "metric": metric, "difference": difference.value}
    row |= {name: getattr(difference, name) for name in ("low", "high", "p", "n", "question")}
    return row | {"better": better or "neither", "reason": difference.reason} | difference.answers

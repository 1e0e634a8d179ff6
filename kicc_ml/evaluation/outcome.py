"""The figures of one model for one endpoint, each with the three answers of :mod:`kicc_ml.evaluation.three_answers`.

Average precision, the scaled Brier score and the pooled AUC speak of these hospitals only: they are made of all cases
together. Definitions: :mod:`kicc_ml.evaluation.discrimination`, :mod:`kicc_ml.evaluation.calibration`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kicc_ml.evaluation import calibration, discrimination, hospital_effects
from kicc_ml.evaluation.discrimination import site_pairs
from kicc_ml.evaluation.hospital_effects import Effects
from kicc_ml.evaluation.intervals import Estimate, Influence, Scale, estimate, stratified_estimate
from kicc_ml.evaluation.rows import Rows
from kicc_ml.evaluation.three_answers import answer, unanswered


@dataclass(frozen=True)
class Metric:
    """A figure of all cases, the scale of its interval, and the same of each hospital where that has a meaning.

    ``two_classes``: needs both. ``by_class``: cases are drawn within hospital and class, as DeLong's variance has it.
    """

    of: Callable[[Rows], Influence]
    scale: Scale
    effects: Callable[[Rows], Effects] | None = None
    two_classes: bool = True
    by_class: bool = False

    def strata(self, rows: Rows) -> np.ndarray:
        """What each case is drawn within: its hospital, or that and its class."""
        return np.char.add(rows.site_n, np.where(rows.label_n == 1, "+", "-")) if self.by_class else rows.site_n


def _brier_effects(rows: Rows) -> Effects:
    few = hospital_effects.sites_of_few_events(rows)
    return hospital_effects.mean_effects(calibration.squared_error(rows), rows.site_n, "logit", few)


_SLOPES = partial(hospital_effects.coefficient_effects, with_slope=True)
_INTERCEPTS = partial(hospital_effects.coefficient_effects, with_slope=False)

OF_ALL_CASES: Mapping[str, Metric] = {
    "auroc_pooled": Metric(discrimination.pooled_auroc, "logit", by_class=True),
    "auprc": Metric(discrimination.average_precision, "logit"),
    "brier": Metric(calibration.brier, "logit", _brier_effects, two_classes=False),
    "scaled_brier": Metric(calibration.scaled_brier, "identity"),
    "observed_expected": Metric(calibration.observed_expected, "log", hospital_effects.observed_expected_effects),
    "calibration_slope": Metric(calibration.calibration_slope, "identity", _SLOPES),
    "calibration_intercept": Metric(calibration.calibration_intercept, "identity", _INTERCEPTS),
}

DISCRIMINATION = ("auroc", "auroc_pooled", "auprc")
CALIBRATION = ("brier", "scaled_brier", "observed_expected", "calibration_slope", "calibration_intercept")
METRICS = (*DISCRIMINATION, *CALIBRATION)


def score(rows: Rows, metrics: Sequence[str] = METRICS) -> dict[str, dict[str, Any]]:
    """``metrics`` of one model for one endpoint: ``{value, low, high, question, n, events, sites}`` and three answers.

    For ``auroc`` the counts are those of the hospitals that contribute pairs, and ``few`` names those under the rule
    for few events. What cannot be computed is None with ``reason``; with one class that is all but the Brier score.
    """
    if not len(rows.label_n):
        return {name: unanswered(rows.why_one_class) for name in metrics}
    return {
        name: _counts(rows) | (_within_hospitals(rows) if name == "auroc" else _of_all_cases(OF_ALL_CASES[name], rows))
        for name in metrics
    }


def overall(metric: Metric, rows: Rows) -> Estimate | None:
    """The figure of all cases with its variance, hospitals being strata; None where it does not exist."""
    found = metric.of(rows)
    if not np.isfinite(found.value):
        return None
    return stratified_estimate(found.value, found.influence_n, metric.strata(rows), metric.scale)


def _within_hospitals(rows: Rows) -> dict[str, Any]:
    pairs = site_pairs(rows)
    if not pairs.site_s.size:
        return unanswered(rows.why_one_class or "no hospital has both events and non-events")
    effects = hospital_effects.area_effects(pairs)
    answers = answer(estimate(pairs.area, pairs.spread, "logit", pairs.degrees), effects)
    counts = _counts(rows.at(np.isin(rows.site_n, pairs.site_s)))
    return answers.figure(answers.question) | counts | {"few": [str(site) for site in pairs.site_s[pairs.few_s]]}


def _of_all_cases(metric: Metric, rows: Rows) -> dict[str, Any]:
    if metric.two_classes and rows.why_one_class:
        return unanswered(rows.why_one_class)
    these = overall(metric, rows)
    if these is None:
        return unanswered("probabilities are constant or separate the labels perfectly")
    if metric.effects is None:
        found = these.interval
        bounds = {"low": found.low, "high": found.high} | ({"reason": found.reason} if found.reason else {})
        return {"value": these.figure, **bounds, "question": "these_hospitals"}
    return answer(these, metric.effects(rows)).figure("these_hospitals")


def _counts(rows: Rows) -> dict[str, int]:
    return {
        "n": len(rows.label_n),
        "events": int(rows.label_n.sum()),
        "sites": int(np.unique(rows.site_n).size),
    }

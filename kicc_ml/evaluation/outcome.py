"""The metrics of one model for one endpoint, each with the three answers of :mod:`kicc_ml.evaluation.three_answers`.

Average precision, the scaled Brier score and the pooled AUC speak of these hospitals only: they are made of all cases
together. Definitions: :mod:`kicc_ml.evaluation.discrimination`, :mod:`kicc_ml.evaluation.calibration`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kicc_ml.evaluation import calibration, discrimination, hospital_effects
from kicc_ml.evaluation.discrimination import compute_site_pairs
from kicc_ml.evaluation.hospital_effects import Effects
from kicc_ml.evaluation.intervals import Estimate, Influence, Scale, compute_stratified_estimate, make_estimate
from kicc_ml.evaluation.rows import BinaryOutcomes
from kicc_ml.evaluation.three_answers import make_answers, make_unanswered

#: Why an AUC of 0 or 1 has no interval.
ORDERED_ALIKE = "all pairs ordered alike"


@dataclass(frozen=True)
class Metric:
    """A metric of all cases, the scale of its interval, and the same metric of each hospital if that is meaningful.

    ``two_classes``: needs both. ``by_class``: cases are drawn within hospital and class, as DeLong's variance has it.
    """

    compute: Callable[[BinaryOutcomes], Influence]
    scale: Scale
    effects: Callable[[BinaryOutcomes], Effects] | None = None
    two_classes: bool = True
    by_class: bool = False

    def make_strata(self, rows: BinaryOutcomes) -> np.ndarray:
        """Make the stratum of each case: its hospital, or its hospital and class."""
        return np.char.add(rows.site_n, np.where(rows.label_n == 1, "+", "-")) if self.by_class else rows.site_n


def _compute_brier_effects(rows: BinaryOutcomes) -> Effects:
    few = hospital_effects.find_sites_with_few_events(rows)
    return hospital_effects.compute_mean_effects(calibration.compute_squared_error(rows), rows.site_n, "logit", few)


ALL_CASES_METRICS: Mapping[str, Metric] = {
    "auroc_pooled": Metric(discrimination.compute_pooled_auroc, "logit", by_class=True),
    "auprc": Metric(discrimination.compute_average_precision, "logit"),
    "brier": Metric(calibration.compute_brier, "logit", _compute_brier_effects, two_classes=False),
    "scaled_brier": Metric(calibration.compute_scaled_brier, "identity"),
    "observed_expected": Metric(
        calibration.compute_observed_expected, "log", hospital_effects.compute_observed_expected_effects
    ),
    "calibration_slope": Metric(
        calibration.compute_calibration_slope, "identity", hospital_effects.compute_slope_effects
    ),
    "calibration_intercept": Metric(
        calibration.compute_calibration_intercept, "identity", hospital_effects.compute_intercept_effects
    ),
}

DISCRIMINATION = ("auroc", "auroc_pooled", "auprc")
CALIBRATION = ("brier", "scaled_brier", "observed_expected", "calibration_slope", "calibration_intercept")
METRICS = (*DISCRIMINATION, *CALIBRATION)


def score_outcome(rows: BinaryOutcomes, metrics: Sequence[str] = METRICS) -> dict[str, dict[str, Any]]:
    """``metrics`` of one model for one endpoint: ``{value, low, high, question, n, events, sites}`` and three answers.

    For ``auroc`` the counts are those of the hospitals that contribute pairs, and ``few`` names those under the rule
    for few events. What cannot be computed is None with ``reason``; with one class that is all but the Brier score.
    """
    if not len(rows.label_n):
        return {name: make_unanswered(rows.one_class_reason) for name in metrics}
    return {
        name: _count_cases(rows)
        | (_score_within_hospitals(rows) if name == "auroc" else _score_all_cases(ALL_CASES_METRICS[name], rows))
        for name in metrics
    }


def estimate_overall(metric: Metric, rows: BinaryOutcomes) -> Estimate | None:
    """Estimate a metric of all cases and its variance, with hospitals as strata; None if it does not exist."""
    found = metric.compute(rows)
    if not np.isfinite(found.value):
        return None
    return compute_stratified_estimate(found.value, found.influence_n, metric.make_strata(rows), metric.scale)


def _score_within_hospitals(rows: BinaryOutcomes) -> dict[str, Any]:
    pairs = compute_site_pairs(rows)
    if not pairs.site_s.size:
        return make_unanswered(rows.one_class_reason or "no hospital has both events and non-events")
    effects = hospital_effects.compute_area_effects(pairs)
    these = make_estimate(pairs.area, pairs.spread, "logit", pairs.degrees)
    if pairs.area in (0.0, 1.0):
        these = replace(these, variance=None, reason=ORDERED_ALIKE)
    answers = make_answers(these, effects)
    counts = _count_cases(rows.at(np.isin(rows.site_n, pairs.site_s)))
    return answers.figure(answers.question) | counts | {"few": [str(site) for site in pairs.site_s[pairs.few_s]]}


def _score_all_cases(metric: Metric, rows: BinaryOutcomes) -> dict[str, Any]:
    if metric.two_classes and rows.one_class_reason:
        return make_unanswered(rows.one_class_reason)
    these = estimate_overall(metric, rows)
    if these is None:
        return make_unanswered("probabilities are constant or separate the labels perfectly")
    if metric.effects is None:
        found = these.interval
        bounds = {"low": found.low, "high": found.high} | ({"reason": found.reason} if found.reason else {})
        return {"value": these.figure, **bounds, "question": "these_hospitals"}
    return make_answers(these, metric.effects(rows)).figure("these_hospitals")


def _count_cases(rows: BinaryOutcomes) -> dict[str, int]:
    return {
        "n": len(rows.label_n),
        "events": int(rows.label_n.sum()),
        "sites": int(np.unique(rows.site_n).size),
    }

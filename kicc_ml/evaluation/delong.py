"""Area under the ROC curve of independent cases with DeLong's variance.

Estimand: the probability that a random event has a higher predicted risk than a random non-event (ties half).
Design: cases independent of each other, that is one hospital, or hospitals that do not differ. Over hospitals
that differ the interval is too narrow: there the hospitals are resampled (:mod:`kicc_ml.evaluation.bootstrap`).

Sources: DeLong et al., Biometrics 1988;44:837; the O(n log n) form by midranks of Sun & Xu, IEEE Signal Process
Lett 2014;21:1389. Figures equal those of R's pROC (``tests/evaluation/reference.R``).
"""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from kicc_ml.evaluation.bootstrap import CONFIDENCE, Interval
from kicc_ml.evaluation.rows import Rows

#: Critical value of the normal distribution.
Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Placements:
    """``event_m[i]``: share of non-events below event i; ``other_n[j]``: share of events above non-event j."""

    event_m: np.ndarray
    other_n: np.ndarray

    @property
    def area(self) -> float:
        return float(self.event_m.mean())

    @property
    def pairs(self) -> int:
        return self.event_m.size * self.other_n.size


@dataclass(frozen=True)
class PairedTest:
    """``difference`` of two areas, its standard error and 95 % interval, z and two-sided p; None with a ``reason``."""

    difference: float | None = None
    error: float | None = None
    low: float | None = None
    high: float | None = None
    z: float | None = None
    p: float | None = None
    reason: str = ""


def placements(rows: Rows) -> Placements:
    """Placement values by midranks. ``rows`` must have both classes."""
    events = rows.probability_n[rows.label_n == 1]
    others = rows.probability_n[rows.label_n == 0]
    together = stats.rankdata(np.concatenate([events, others]))
    below_event_m = together[: events.size] - stats.rankdata(events)
    below_other_n = together[events.size :] - stats.rankdata(others)
    return Placements(below_event_m / others.size, 1 - below_other_n / events.size)


def variance(placed: Placements) -> float | None:
    """DeLong's variance of the area; None with fewer than two events or two non-events."""
    if min(placed.event_m.size, placed.other_n.size) < 2:
        return None
    return _variance(placed.event_m, placed.other_n)


def delong_interval(rows: Rows) -> Interval:
    """95 % interval of the area on the logit scale; None where the order is perfect or there are too few cases."""
    if rows.why_one_class:
        return Interval(None, None, rows.why_one_class)
    placed = placements(rows)
    return logit_interval(placed.area, variance(placed))


def logit_interval(area: float, spread: float | None) -> Interval:
    """``area`` with variance ``spread`` as a normal interval on the logit scale (delta method)."""
    if spread is None:
        return Interval(None, None, "fewer than two events or non-events")
    if spread <= 0 or area in (0.0, 1.0):
        return Interval(None, None, "every pair is ordered alike; no spread to estimate")
    half = Z * np.sqrt(spread) / (area * (1 - area))
    low, high = special.expit(special.logit(area) + np.array([-half, half]))
    return Interval(float(low), float(high))


def paired_test(one: Rows, other: Rows) -> PairedTest:
    """Difference of the areas of two models (``one`` less ``other``) over the same cases in the same order."""
    if reason := one.why_one_class:
        return PairedTest(reason=reason)
    first, second = placements(one), placements(other)
    difference = first.area - second.area
    if min(first.event_m.size, first.other_n.size) < 2:
        return PairedTest(difference, reason="fewer than two events or non-events")
    error = float(np.sqrt(_variance(first.event_m - second.event_m, first.other_n - second.other_n)))
    return normal_test(difference, error)


def normal_test(difference: float, error: float) -> PairedTest:
    """A difference with its standard error as a test; without p where the error is 0."""
    if error == 0:
        return PairedTest(difference, error, reason="both models order every pair alike")
    p = float(2 * stats.norm.sf(abs(difference) / error))
    return PairedTest(difference, error, difference - Z * error, difference + Z * error, difference / error, p)


def _variance(event_m: np.ndarray, other_n: np.ndarray) -> float:
    return float(event_m.var(ddof=1) / event_m.size + other_n.var(ddof=1) / other_n.size)

"""Intervals on an unbounded scale, and the variance of a metric with hospitals as strata."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

CONFIDENCE = 0.95

#: Critical value of the normal distribution.
Z = float(special.ndtri((1 + CONFIDENCE) / 2))

#: Minimum distance of shares from 0 and 1 on the logit scale, and of ratios from 0 on the log scale.
MIN_SHARE = 1e-6

#: A hospital with fewer events, non-events, or (for a mean) cases borrows its variance from all hospitals: its own is
#: too uncertain and moves with its figure. The number was chosen by simulation (``README.md`` of this folder).
MIN_OWN_VARIANCE_CASES = 10

Scale = Literal["logit", "log", "identity"]


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % interval, or None for both with a reason."""

    low: float | None
    high: float | None
    reason: str = ""

    @property
    def bounds(self) -> dict[str, float | str | None]:
        """As ``summary.json`` holds them: ``low``, ``high`` and, where there is one, the ``reason``."""
        bounds: dict[str, float | str | None] = {"low": self.low, "high": self.high}
        return bounds | ({"reason": self.reason} if self.reason else {})


def make_interval(low: float, high: float, reason: str = "") -> Interval:
    """Make the interval between two bounds; none, with the reason, if a bound is infinite.

    A ratio whose logarithm has a large error has such bounds: they say no more than that the figure is unknown.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        return Interval(None, None, "too few cases or events: the interval has no end")
    return Interval(float(low), float(high), reason)


@dataclass(frozen=True)
class Estimate:
    """A ``figure`` with its ``variance`` on ``scale`` and the ``degrees`` of freedom of that.

    ``variance`` is None with a ``reason``.
    """

    figure: float
    variance: float | None
    scale: Scale = "identity"
    degrees: float = np.inf
    reason: str = ""

    @property
    def interval(self) -> Interval:
        """Return the t interval (normal where the degrees are infinite), brought back from ``scale``."""
        if self.variance is None:
            return Interval(None, None, self.reason)
        half = find_critical_value(self.degrees) * np.sqrt(self.variance)
        low, high = transform_from_scale(
            transform_to_scale(np.array(self.figure), self.scale) + np.array([-half, half]), self.scale
        )
        return make_interval(low, high)

    @property
    def p(self) -> float | None:
        """Two-sided p of a figure on the identity scale being 0; None without a variance."""
        return (
            None
            if self.variance is None
            else compute_two_sided_p(self.figure, float(np.sqrt(self.variance)), self.degrees)
        )


@dataclass(frozen=True)
class Influence:
    """A metric over all cases and how much each case changes it (sum 0); NaN if the metric does not exist."""

    value: float
    influence_n: np.ndarray


def make_estimate(figure: float, variance: float, scale: Scale = "identity", degrees: float = np.inf) -> Estimate:
    """Make an estimate from a value and its variance, transformed to ``scale`` by the delta method.

    No variance where there is none to estimate: a figure at a bound of the scale, or all cases alike.
    """
    if not np.isfinite(variance):
        return Estimate(figure, None, reason="too few cases or events for an interval")
    at_a_bound = (scale == "logit" and figure in (0.0, 1.0)) or (scale == "log" and figure == 0)
    if variance <= np.finfo(float).eps ** 2 or at_a_bound:
        return Estimate(figure, None, reason="no spread between cases")
    return Estimate(figure, float(variance * compute_scale_slope(figure, scale) ** 2), scale, degrees)


def compute_stratified_estimate(
    figure: float, influence_n: np.ndarray, stratum_n: np.ndarray, scale: Scale = "identity"
) -> Estimate:
    """Estimate the variance of a metric from the influence of each case, with hospitals or classes as strata.

    Args:
        figure: the value of the metric.
        influence_n: how much each case changes it.
        stratum_n: the stratum of each case, within which cases are sampled.
        scale: the scale on which the interval is computed.

    Returns:
        the estimate. A stratum with fewer than ``MIN_OWN_VARIANCE_CASES`` cases takes the pooled variance of all
        strata. The degrees of freedom are then Satterthwaite's (Biometrics Bull 1946;2:110); otherwise infinite.
    """
    _, place_n, count_s = np.unique(stratum_n, return_inverse=True, return_counts=True)
    centred_n = influence_n - (np.bincount(place_n, influence_n) / count_s)[place_n]
    squares_s, degrees_s, few_s = np.bincount(place_n, centred_n**2), count_s - 1.0, count_s < MIN_OWN_VARIANCE_CASES
    if not degrees_s.any():
        return make_estimate(figure, np.nan, scale)
    pooled = squares_s.sum() / degrees_s.sum()
    part_s = count_s * np.divide(squares_s, degrees_s, out=np.full(count_s.size, pooled), where=~few_s)
    if not few_s.any():
        return make_estimate(figure, part_s.sum(), scale)
    squared = (part_s[~few_s] ** 2 / degrees_s[~few_s]).sum() + part_s[few_s].sum() ** 2 / degrees_s.sum()
    return make_estimate(figure, part_s.sum(), scale, float(part_s.sum() ** 2 / squared) if squared else np.inf)


def find_critical_value(degrees: float) -> float:
    """Find the critical value of t; Z for infinite degrees of freedom."""
    return float(special.stdtrit(degrees, (1 + CONFIDENCE) / 2)) if np.isfinite(degrees) else Z


def compute_two_sided_p(value: float, error: float, degrees: float) -> float:
    """Compute the two-sided p of ``value`` being 0; by the normal distribution for infinite degrees of freedom."""
    below = -abs(value) / error
    return float(2 * (special.stdtr(degrees, below) if np.isfinite(degrees) else special.ndtr(below)))


def transform_to_scale(value: np.ndarray, scale: Scale, least: float = MIN_SHARE) -> np.ndarray:
    """Transform an estimate to the scale on which its interval is symmetric."""
    if scale == "logit":
        return special.logit(np.clip(value, least, 1 - least))
    return np.log(np.maximum(value, least)) if scale == "log" else value


def transform_from_scale(value: np.ndarray, scale: Scale) -> np.ndarray:
    """Undo ``transform_to_scale``."""
    if scale == "logit":
        return special.expit(value)
    if scale == "log":
        with np.errstate(over="ignore"):  # make_interval says what an infinite bound means
            return np.exp(value)
    return value


def compute_scale_slope(value: np.ndarray | float, scale: Scale) -> np.ndarray | float:
    """Compute the derivative of :func:`transform_to_scale`."""
    if scale == "logit":
        return 1 / (value * (1 - value))
    return 1 / value if scale == "log" else np.ones_like(value)

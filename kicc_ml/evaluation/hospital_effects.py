"""Effect and variance of each hospital on an unbounded scale: the input of a meta-analysis.

Rule for hospitals with few events: fewer than ``MIN_OWN_VARIANCE_CASES`` events or non-events, or cases where the
metric is a mean. No such hospital is left out, and nothing is added to its counts. Its effect is one Newton step from
the mean of all hospitals, a linear function of its own data, so that zero events or a perfect order need no special
case. Its variance is the pooled one of all hospitals, which does not depend on its own effect. Leaving such hospitals
out would select hospitals by their outcomes: with twenty hospitals of few events the interval of observed over
expected then covers 42 % (``README.md`` of this folder). A hospital without an event (or non-event) has no AUC and is
absent.

Sources: the scales are those of Debray et al., BMJ 2017;356:i6460.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy import special

from kicc_ml.evaluation.calibration import (
    compute_logistic_step,
    compute_logit,
    fit_logistic,
    make_slope_design,
)
from kicc_ml.evaluation.discrimination import SitePairs
from kicc_ml.evaluation.intervals import MIN_OWN_VARIANCE_CASES, Scale, compute_scale_slope, transform_to_scale
from kicc_ml.evaluation.rows import BinaryOutcomes

#: Values that differ by less than this share of their mean are one value, written by sums of floats.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Effects:
    """Effect and variance of hospitals on ``scale``; ``borrowed_k``: those under the rule for few events."""

    site_k: np.ndarray
    effect_k: np.ndarray
    variance_k: np.ndarray
    borrowed_k: np.ndarray
    scale: Scale = "identity"


def compute_area_effects(pairs: SitePairs) -> Effects:
    """Compute the logit of each hospital's area, with its variance by DeLong and the delta method."""
    return _transform_to_scale(pairs.site_s, pairs.area_s, pairs.variance_s, pairs.few_s, "logit")


def compute_difference_effects(pairs: SitePairs) -> Effects:
    """Compute each hospital's difference of two areas, from pairs of two models over the same cases."""
    return _drop_undefined(Effects(pairs.site_s, pairs.area_s, pairs.variance_s, pairs.few_s))


def find_sites_with_few_events(rows: BinaryOutcomes) -> np.ndarray:
    """Find the hospitals with fewer than ``MIN_OWN_VARIANCE_CASES`` events or non-events."""
    sites, place_n, count_s = np.unique(rows.site_n, return_inverse=True, return_counts=True)
    events_s = np.bincount(place_n, rows.label_n)
    return sites[(events_s < MIN_OWN_VARIANCE_CASES) | (count_s - events_s < MIN_OWN_VARIANCE_CASES)]


def compute_mean_effects(
    value_n: np.ndarray, site_n: np.ndarray, scale: Scale = "identity", few: Collection[str] = ()
) -> Effects:
    """Compute the mean of a figure per case at each hospital (Dice, squared error, a difference of two).

    Hospitals in ``few`` borrow their variance, as do those of few cases: of the squared error, most comes from the
    events, so that a hospital without one would seem to be known exactly.
    """
    sites, place_n, count_s = np.unique(site_n, return_inverse=True, return_counts=True)
    mean_s = np.bincount(place_n, value_n) / count_s
    squares_s = np.bincount(place_n, (value_n - mean_s[place_n]) ** 2)
    return compute_effects_of_means(sites, count_s, mean_s, squares_s, scale, few)


def compute_effects_of_means(
    site_s: np.ndarray,
    count_s: np.ndarray,
    mean_s: np.ndarray,
    squares_s: np.ndarray,
    scale: Scale = "identity",
    few: Collection[str] = (),
) -> Effects:
    """Compute what ``compute_mean_effects`` computes, from sums of each hospital.

    Args:
        site_s: the hospitals.
        count_s: the number of cases of each.
        mean_s: the mean of their values.
        squares_s: the sum of their squared differences from it.
        scale: the scale of the effects.
        few: hospitals that borrow their variance.
    """
    degrees_s = count_s - 1
    if not degrees_s.any():
        return _make_empty(scale)
    alike_s = squares_s <= count_s * (ROUNDING * mean_s) ** 2
    few_s = (count_s < MIN_OWN_VARIANCE_CASES) | alike_s | np.isin(site_s, list(few))
    pooled = squares_s.sum() / degrees_s.sum()
    spread_s = np.divide(squares_s, degrees_s, out=np.full(count_s.size, pooled), where=~few_s)
    return _transform_to_scale(site_s, mean_s, spread_s / count_s, few_s, scale)


def compute_observed_expected_effects(rows: BinaryOutcomes) -> Effects:
    """Compute log(observed / expected) of each hospital; the variance is taken at the ratio of all hospitals."""
    ratio = rows.label_n.sum() / rows.probability_n.sum()
    sites = np.unique(rows.site_n)
    found = [_compute_observed_expected(rows.at(rows.site_n == site), ratio) for site in sites]
    effect_k, variance_k, few_k = (np.array(column) for column in zip(*found, strict=True))
    return _drop_undefined(Effects(sites, effect_k, variance_k, few_k, "log"))


def compute_intercept_effects(rows: BinaryOutcomes) -> Effects:
    """Compute the calibration intercept of each hospital, with its variance from Fisher's information."""
    overall = fit_logistic(*_make_intercept_design(rows), rows.label_n)
    if not np.isfinite(overall.coefficient_k).all():
        return _make_empty()
    sites = np.unique(rows.site_n)
    found = [_compute_intercept(rows.at(rows.site_n == site), overall.coefficient_k) for site in sites]
    effect_k, variance_k, few_k = (np.array(column) for column in zip(*found, strict=True))
    return _drop_undefined(Effects(sites, effect_k, variance_k, few_k))


def compute_slope_effects(rows: BinaryOutcomes) -> Effects:
    """Compute the calibration slope of each hospital: one Newton step from the slope of all cases.

    The step is that of the conditional likelihood given the hospital's number of events, in the saddlepoint
    approximation (half the logarithm of the intercept's information is added: Barndorff-Nielsen, Biometrika
    1983;70:343). Its score is 0 on average, however few the events, and the information does not depend on who has the
    event. The usual estimate of a hospital's slope is too large, and its variance is larger where it is. A hospital of
    one class says nothing about the slope and is absent.
    """
    logit_n = compute_logit(rows)
    overall = fit_logistic(make_slope_design(logit_n), np.zeros_like(logit_n), rows.label_n)
    if not np.isfinite(overall.coefficient_k).all():
        return _make_empty()
    sites = np.unique(rows.site_n)
    found = [_compute_slope(rows.at(rows.site_n == site), float(overall.coefficient_k[1])) for site in sites]
    effect_k, variance_k = (np.array(column) for column in zip(*found, strict=True))
    return _drop_undefined(Effects(sites, effect_k, variance_k, np.ones(sites.size, bool)))


def _transform_to_scale(
    site_s: np.ndarray, value_s: np.ndarray, variance_s: np.ndarray, few_s: np.ndarray, scale: Scale
) -> Effects:
    """Transform values to ``scale`` by the delta method; those of ``few_s`` linearly around the mean of all."""
    usable_s = variance_s > 0
    site_s, value_s, variance_s, few_s = site_s[usable_s], value_s[usable_s], variance_s[usable_s], few_s[usable_s]
    if not site_s.size:
        return _make_empty(scale)
    mean = float((value_s / variance_s).sum() / (1 / variance_s).sum())
    about_s = np.where(few_s, mean, value_s)
    with np.errstate(divide="ignore", invalid="ignore"):  # all hospitals at a bound of the scale have no effect
        steepness_s = compute_scale_slope(about_s, scale)
        effect_s = transform_to_scale(about_s, scale, least=0.0) + (value_s - about_s) * steepness_s
        return _drop_undefined(Effects(site_s, effect_s, variance_s * steepness_s**2, few_s, scale))


def _compute_observed_expected(rows: BinaryOutcomes, ratio: float) -> tuple[float, float, bool]:
    observed, expected = rows.label_n.sum(), rows.probability_n.sum()
    few = bool(observed < MIN_OWN_VARIANCE_CASES)
    risk_n = np.clip(ratio * rows.probability_n, 0, 1)
    variance = (risk_n * (1 - risk_n)).sum() / (ratio * expected) ** 2
    at = observed / expected
    return float(np.log(ratio) + (at - ratio) / ratio if few else np.log(at)), float(variance), few


def _compute_intercept(rows: BinaryOutcomes, start_k: np.ndarray) -> tuple[float, float, bool]:
    """Compute a hospital's intercept and variance; with few events, by one Newton step from that of all hospitals."""
    design_n1, offset_n = _make_intercept_design(rows)
    events = rows.label_n.sum()
    if MIN_OWN_VARIANCE_CASES <= events <= rows.label_n.size - MIN_OWN_VARIANCE_CASES:
        own = fit_logistic(design_n1, offset_n, rows.label_n)
        if np.isfinite(own.coefficient_k).all():
            return float(own.coefficient_k[0]), float(own.covariance_kk[0, 0]), False
    score_n1, information_11 = compute_logistic_step(design_n1, offset_n, rows.label_n, start_k)
    return float(start_k[0] + score_n1.sum() / information_11[0, 0]), float(1 / information_11[0, 0]), True


def _compute_slope(rows: BinaryOutcomes, slope: float) -> tuple[float, float]:
    """Compute one step from ``slope`` and its variance; NaN for one class or a single probability."""
    logit_n = compute_logit(rows)
    offset_n = slope * logit_n
    intercept = fit_logistic(np.ones((logit_n.size, 1)), offset_n, rows.label_n).coefficient_k[0]
    if rows.one_class_reason or not np.isfinite(intercept):
        return np.nan, np.nan
    mean_n = special.expit(intercept + offset_n)
    share_n = mean_n * (1 - mean_n)
    whole = share_n.sum()
    apart_n = logit_n - share_n @ logit_n / whole
    information = share_n @ apart_n**2
    if information <= np.finfo(float).eps * (share_n @ logit_n**2):  # one probability for all
        return np.nan, np.nan
    score = (rows.label_n - mean_n + share_n / whole * (0.5 - mean_n)) @ apart_n
    return slope + float(score / information), float(1 / information)


def _make_intercept_design(rows: BinaryOutcomes) -> tuple[np.ndarray, np.ndarray]:
    logit_n = compute_logit(rows)
    return np.ones((logit_n.size, 1)), logit_n


def _drop_undefined(effects: Effects) -> Effects:
    """Drop hospitals without effect or variance."""
    kept = np.isfinite(effects.effect_k) & np.isfinite(effects.variance_k) & (effects.variance_k > 0)
    return Effects(
        effects.site_k[kept], effects.effect_k[kept], effects.variance_k[kept], effects.borrowed_k[kept], effects.scale
    )


def _make_empty(scale: Scale = "identity") -> Effects:
    empty = np.empty(0)
    return Effects(empty.astype(str), empty, empty, empty.astype(bool), scale)

"""How well an outcome was predicted: discrimination, precision and calibration with intervals.

Everything is a pure function of rows (label, probability, site). Every figure accepts case weights, so that
one resample of hospitals serves all of them (:mod:`kicc_ml.evaluation.bootstrap`).

- ``auroc``, the headline: share of concordant pairs of an event and a non-event **of the same hospital**.
  Pooling predictions of different folds compares probabilities of different models and is biased (below 0.5
  under chance).
- ``auroc_pooled``: all pairs, for comparison with the literature.
- ``calibration_intercept``: of the logistic model with the logit of the probability as offset (calibration in
  the large, ideal 0); ``calibration_slope``: of the model with both free (ideal 1). Van Calster et al., BMC
  Med 2019.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from kicc_ml.evaluation.bootstrap import Interval, Resampling, Scale, resample, t_interval

METRICS = ("auroc", "auroc_pooled", "auprc", "brier", "calibration_slope", "calibration_intercept")

#: Probabilities are kept this far from 0 and 1 on the logit scale; beyond it a model claims more than data
#: can show.
LEAST_PROBABILITY = 1e-6

#: A slope this steep means that the labels are separated perfectly and no finite one exists.
STEEPEST_SLOPE = 50.0

NEWTON_STEPS = 30


@dataclass(frozen=True)
class Rows:
    """Cases with a known label: ``label_n`` 0 or 1, ``probability_n``, ``site_n``."""

    label_n: np.ndarray
    probability_n: np.ndarray
    site_n: np.ndarray

    def at(self, keep_n: np.ndarray) -> "Rows":
        return Rows(self.label_n[keep_n], self.probability_n[keep_n], self.site_n[keep_n])

    @property
    def why_one_class(self) -> str:
        """Why nothing can be told apart here, or ``""``."""
        return one_class_reason(self.label_n)


def rows_of(predictions: pd.DataFrame) -> Rows:
    """Rows of one endpoint and one model that have both label and probability."""
    known = predictions.dropna(subset=["label", "probability"])
    return Rows(known["label"].to_numpy(float), known["probability"].to_numpy(float), known["site"].to_numpy(str))


def one_class_reason(label_n: np.ndarray) -> str:
    """Says in words that labels are all missing, all 0 or all 1; empty where both classes occur."""
    if not len(label_n):
        return "no case with a known outcome"
    if not (label_n == 1).any():
        return f"no event among {len(label_n)} cases"
    if not (label_n == 0).any():
        return f"all {len(label_n)} cases have the event"
    return ""


def score(rows: Rows, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Every metric of one model for one endpoint as ``{value, low, high, n, events, sites, over}``.

    For ``auroc`` the counts are those of the hospitals that contribute pairs.

    ``over`` says whether hospitals or cases were drawn for the interval. What cannot be computed is None with
    ``reason``; with one class that is everything but the Brier score.
    """
    if not len(rows.label_n):
        return {metric: unknown(rows.why_one_class) for metric in METRICS}
    drawn = resample(rows.site_n, seed)
    least = 0.5 / len(rows.label_n)
    scored = {"auroc": _score_within_site(rows, seed)}
    weighted: Mapping[str, tuple[Callable[[Rows, np.ndarray], np.ndarray], Scale]] = {
        "auroc_pooled": (pooled_auroc, "logit"),
        "auprc": (average_precision, "logit"),
        "brier": (brier, "logit"),
        "calibration_slope": (calibration_slope, "identity"),
        "calibration_intercept": (calibration_intercept, "identity"),
    }
    for metric, (figure, scale) in weighted.items():
        why = "" if metric == "brier" else rows.why_one_class
        scored[metric] = unknown(why) if why else _with_interval(figure, rows, drawn, scale, least)
    return {metric: _counts(rows) | scored[metric] for metric in METRICS}


def unknown(reason: str) -> dict[str, Any]:
    """A figure that cannot be computed."""
    return {"value": None, "low": None, "high": None, "reason": reason}


def evaluable_sites(rows: Rows) -> np.ndarray:
    """Hospitals with both an event and a non-event."""
    return np.intersect1d(rows.site_n[rows.label_n == 1], rows.site_n[rows.label_n == 0])


def within_site_auroc(rows: Rows, weight_rn: np.ndarray) -> np.ndarray:
    """Concordant pairs over all pairs of an event and a non-event of the same hospital, per replicate."""
    concordant_r, pairs_r = np.zeros(len(weight_rn)), np.zeros(len(weight_rn))
    for site in evaluable_sites(rows):
        at = rows.site_n == site
        concordant, pairs = _concordance(rows.at(at), weight_rn[:, at])
        concordant_r += concordant
        pairs_r += pairs
    return _ratio(concordant_r, pairs_r)


def pooled_auroc(rows: Rows, weight_rn: np.ndarray) -> np.ndarray:
    """The usual area under the ROC curve, per replicate; ties count half."""
    return _ratio(*_concordance(rows, weight_rn))


def average_precision(rows: Rows, weight_rn: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve as a step function (scikit-learn's), per replicate."""
    events_rv, others_rv = _by_value(rows, weight_rn)
    events_rv, others_rv = events_rv[:, ::-1], others_rv[:, ::-1]
    found_rv = events_rv.cumsum(axis=1)
    precision_rv = _ratio(found_rv, found_rv + others_rv.cumsum(axis=1), otherwise=0.0)
    return _ratio((precision_rv * events_rv).sum(axis=1), events_rv.sum(axis=1))


def brier(rows: Rows, weight_rn: np.ndarray) -> np.ndarray:
    """Mean squared difference of probability and label, per replicate."""
    return _ratio(weight_rn @ (rows.probability_n - rows.label_n) ** 2, weight_rn.sum(axis=1))


def calibration_slope(rows: Rows, weight_rn: np.ndarray) -> np.ndarray:
    """Slope of the label on the logit of the probability, per replicate; NaN where none is finite."""
    logit_n = _logit(rows)
    if np.ptp(logit_n) < LEAST_PROBABILITY:
        return np.full(len(weight_rn), np.nan)
    design_nk = np.stack([np.ones_like(logit_n), logit_n], axis=1)
    slope_r = _logistic(design_nk, np.zeros_like(logit_n), rows.label_n, weight_rn)[:, 1]
    return np.where(np.abs(slope_r) < STEEPEST_SLOPE, slope_r, np.nan)


def calibration_intercept(rows: Rows, weight_rn: np.ndarray) -> np.ndarray:
    """Intercept of the label with the logit of the probability as offset, per replicate."""
    design_nk = np.ones((len(rows.label_n), 1))
    return _logistic(design_nk, _logit(rows), rows.label_n, weight_rn)[:, 0]


def delong_interval(rows: Rows) -> Interval:
    """95 % interval of the AUC of one hospital: DeLong's variance (Biometrics 1988) on the logit scale."""
    events = rows.probability_n[rows.label_n == 1]
    others = rows.probability_n[rows.label_n == 0]
    if min(len(events), len(others)) < 2:
        return Interval(None, None, "fewer than two events or non-events")
    above = (events[:, None] > others) + 0.5 * (events[:, None] == others)
    area = float(above.mean())
    variance = above.mean(axis=1).var(ddof=1) / len(events) + above.mean(axis=0).var(ddof=1) / len(others)
    if variance <= 0 or area in (0.0, 1.0):
        return Interval(None, None, "every pair is ordered alike; no spread to estimate")
    half = stats.norm.ppf(0.975) * np.sqrt(variance) / (area * (1 - area))
    low, high = special.expit(special.logit(area) + np.array([-half, half]))
    return Interval(float(low), float(high))


def _score_within_site(rows: Rows, seed: int) -> dict[str, Any]:
    sites = evaluable_sites(rows)
    if not sites.size:
        return unknown(rows.why_one_class or "no hospital has both events and non-events")
    within = rows.at(np.isin(rows.site_n, sites))
    if sites.size == 1:
        value = float(within_site_auroc(within, np.ones((1, len(within.label_n))))[0])
        return _as_dict(value, delong_interval(within), "cases") | _counts(within)
    drawn, least = resample(within.site_n, seed), 0.5 / len(within.label_n)
    return _with_interval(within_site_auroc, within, drawn, "logit", least) | _counts(within)


def _with_interval(
    figure: Callable[[Rows, np.ndarray], np.ndarray],
    rows: Rows,
    drawn: Resampling,
    scale: Scale,
    least: float,
) -> dict[str, Any]:
    value = float(figure(rows, np.ones((1, len(rows.label_n))))[0])
    if not np.isfinite(value):
        return unknown("probabilities are constant or separate the labels perfectly")
    replicate_r = figure(rows, drawn.weight_rn)
    return _as_dict(value, t_interval(value, replicate_r, drawn.degrees, scale, least), drawn.over)


def _as_dict(value: float, interval: Interval, over: str) -> dict[str, Any]:
    found: dict[str, Any] = {"value": value, "low": interval.low, "high": interval.high, "over": over}
    return found | ({"reason": interval.reason} if interval.reason else {})


def _counts(rows: Rows) -> dict[str, int]:
    return {
        "n": len(rows.label_n),
        "events": int(rows.label_n.sum()),
        "sites": int(np.unique(rows.site_n).size),
    }


def _by_value(rows: Rows, weight_rn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of events and of non-events at every distinct probability, ascending."""
    order_n = np.argsort(rows.probability_n, kind="stable")
    _, start_v = np.unique(rows.probability_n[order_n], return_index=True)
    sorted_rn, label_n = weight_rn[:, order_n], rows.label_n[order_n]
    events_rv = np.add.reduceat(sorted_rn * label_n, start_v, axis=1)
    return events_rv, np.add.reduceat(sorted_rn * (1 - label_n), start_v, axis=1)


def _concordance(rows: Rows, weight_rn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    events_rv, others_rv = _by_value(rows, weight_rn)
    below_rv = others_rv.cumsum(axis=1) - 0.5 * others_rv
    return (events_rv * below_rv).sum(axis=1), events_rv.sum(axis=1) * others_rv.sum(axis=1)


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)


def _logit(rows: Rows) -> np.ndarray:
    return special.logit(np.clip(rows.probability_n, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))


def _logistic(design_nk: np.ndarray, offset_n: np.ndarray, label_n: np.ndarray, weight_rn: np.ndarray) -> np.ndarray:
    """Maximum-likelihood coefficients ``[r, k]`` under each set of weights (Newton); NaN where it fails."""
    size = design_nk.shape[1]
    products_nkk = design_nk[:, :, None] * design_nk[:, None, :]
    coefficient_rk = np.zeros((len(weight_rn), size))
    # a ridge keeps a resample of one class solvable; its coefficients then run off and end as NaN
    ridge = 1e-12 * np.eye(size)
    for _ in range(NEWTON_STEPS):
        mean_rn = special.expit(coefficient_rk @ design_nk.T + offset_n)
        gradient_rk = (weight_rn * (label_n - mean_rn)) @ design_nk
        bend_rn = weight_rn * mean_rn * (1 - mean_rn)
        hessian_rkk = (bend_rn @ products_nkk.reshape(-1, size**2)).reshape(-1, size, size) + ridge
        step_rk = np.linalg.solve(hessian_rkk, gradient_rk[..., None])[..., 0]
        coefficient_rk += np.clip(step_rk, -5, 5)
        moving_r = np.abs(step_rk).max(axis=1) > 1e-9
        if not (moving_r & (np.abs(coefficient_rk).max(axis=1) < STEEPEST_SLOPE)).any():
            break
    return np.where(np.abs(step_rk).max(axis=1, keepdims=True) < 1e-6, coefficient_rk, np.nan)

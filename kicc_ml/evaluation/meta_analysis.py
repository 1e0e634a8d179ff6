"""Random-effects meta-analysis of the AUC of hospitals on the logit scale.

Estimand: the mean of the distribution of hospitals' AUCs (each hospital's own area, on the logit scale), and with the
prediction interval the AUC at a hospital not yet seen. Design: hospitals independent, each with an area and DeLong's
variance, enough events at each that the logit of its area is about normal. With a handful of events a hospital the
variance is estimated with the area and the mean is biased; the report names how many hospitals had to be left out.

Two prediction intervals: ``plug_in`` takes the estimated tau-squared for the true one (Higgins et al., J R Stat Soc A
2009;172:137, with t(k - 1) as metafor) and covers 75 to 87 % where hospitals have a handful of events, since the
estimate is so often 0. ``predicted``, the headline, averages the same interval over the values of tau-squared that the
data allow, as weighed by the Q-profile (Viechtbauer, Stat Med 2007;26:37; in the way of Nagashima et al., Stat Methods
Med Res 2019;28:1689).

Sources: REML as in Viechtbauer, J Educ Behav Stat 2005;30:261; DerSimonian & Laird, Control Clin Trials 1986;7:177;
Hartung & Knapp, Stat Med 2001;20:3875. Figures equal metafor's ``rma(test = "knha")``
(``tests/evaluation/reference.R``).
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import optimize, special, stats

from kicc_ml.evaluation.bootstrap import CONFIDENCE, LEAST_SITES
from kicc_ml.evaluation.discrimination import SitePairs

#: Steps of Fisher scoring; it converges in about ten, and at the border (tau-squared 0) at once.
SCORING_STEPS = 200

#: A change of tau-squared below this ends the scoring.
CONVERGED = 1e-12

#: Values of tau-squared that the headline prediction interval averages over, each as likely as the others.
PROFILE_POINTS = 400


@dataclass(frozen=True)
class Pooled:
    """Mean of k effects with its Hartung-Knapp interval and the prediction intervals; None with a ``reason``.

    ``tau_squared`` and ``i_squared`` (0..1) tell how far the effects differ beyond chance.
    """

    mean: float | None
    low: float | None
    high: float | None
    predicted_low: float | None
    predicted_high: float | None
    plug_in_low: float | None
    plug_in_high: float | None
    tau_squared: float | None
    i_squared: float | None
    k: int
    reason: str = ""


ON_LOGIT_SCALE = ("mean", "low", "high", "predicted_low", "predicted_high", "plug_in_low", "plug_in_high")


def pool(effect_k: np.ndarray, variance_k: np.ndarray, method: Literal["REML", "DL"] = "REML") -> Pooled:
    """Random-effects mean of effects with known variances; needs ``LEAST_SITES`` of them."""
    k = len(effect_k)
    if k < LEAST_SITES:
        return Pooled(*(None,) * 9, k, f"{k} effects; {LEAST_SITES} are needed")
    tau_squared = (_reml if method == "REML" else _dersimonian_laird)(effect_k, variance_k)
    weight_k = 1 / (variance_k + tau_squared)
    mean = float((weight_k * effect_k).sum() / weight_k.sum())
    error_squared = float((weight_k * (effect_k - mean) ** 2).sum() / ((k - 1) * weight_k.sum()))
    predicted_low, predicted_high = _prediction_interval(effect_k, variance_k)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, k - 1)
    half, reach = quantile * np.sqrt(error_squared), quantile * np.sqrt(error_squared + tau_squared)
    return Pooled(
        mean=mean,
        low=float(mean - half),
        high=float(mean + half),
        predicted_low=predicted_low,
        predicted_high=predicted_high,
        plug_in_low=float(mean - reach),
        plug_in_high=float(mean + reach),
        tau_squared=tau_squared,
        i_squared=float(tau_squared / (tau_squared + _typical_variance(variance_k))),
        k=k,
    )


def logit_areas(pairs: SitePairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logit of each hospital's area, its variance (delta method), and which hospitals these are.

    A hospital whose area is 0 or 1, or with fewer than two events or non-events, has neither and is absent.
    """
    usable_s = (pairs.area_s > 0) & (pairs.area_s < 1) & (pairs.variance_s > 0)
    area_k = pairs.area_s[usable_s]
    return special.logit(area_k), pairs.variance_s[usable_s] / (area_k * (1 - area_k)) ** 2, pairs.site_s[usable_s]


def pool_areas(pairs: SitePairs, method: Literal["REML", "DL"] = "REML") -> Pooled:
    """:func:`pool` of the hospitals' areas, brought back from the logit scale (``tau_squared`` stays on it)."""
    effect_k, variance_k, _ = logit_areas(pairs)
    pooled = pool(effect_k, variance_k, method)
    if pooled.mean is None:
        return replace(pooled, reason=f"{pooled.k} hospitals with an interval of their own; {LEAST_SITES} are needed")
    areas: dict[str, Any] = {name: float(special.expit(getattr(pooled, name))) for name in ON_LOGIT_SCALE}
    return replace(pooled, **areas)


def _prediction_interval(effect_k: np.ndarray, variance_k: np.ndarray) -> tuple[float, float]:
    """Quantiles of a new effect: t(k - 1) about the mean, averaged over the values tau-squared may have."""
    k = len(effect_k)
    tau_squared_p = _profile(effect_k, variance_k)
    q_p, mean_p, weight_p = _heterogeneity(tau_squared_p, effect_k, variance_k)
    reach_p = np.sqrt(tau_squared_p + q_p / ((k - 1) * weight_p))
    ends = mean_p.min() - 1e3 * reach_p.max(), mean_p.max() + 1e3 * reach_p.max()

    def below(effect: float, share: float) -> float:
        return float(stats.t.cdf((effect - mean_p) / reach_p, k - 1).mean() - share)

    tail = (1 - CONFIDENCE) / 2
    low, high = (optimize.brentq(below, *ends, args=(share,)) for share in (tail, 1 - tail))
    return float(low), float(high)


def _profile(effect_k: np.ndarray, variance_k: np.ndarray) -> np.ndarray:
    """Quantiles of tau-squared by the Q-profile: where it is true, Q is chi-squared with k - 1 degrees; 0 at least."""
    share_p = (np.arange(PROFILE_POINTS) + 0.5) / PROFILE_POINTS
    target_p = stats.chi2.ppf(share_p, len(effect_k) - 1)
    top = float(variance_k.max())
    while _heterogeneity(np.array([top]), effect_k, variance_k)[0][0] > target_p[0]:
        top *= 2
    grid_g = np.concatenate([[0.0], np.geomspace(1e-6 * top, top, PROFILE_POINTS)])
    q_g = _heterogeneity(grid_g, effect_k, variance_k)[0]  # falls as tau-squared grows
    return np.interp(target_p, q_g[::-1], grid_g[::-1])


def _heterogeneity(
    tau_squared_p: np.ndarray, effect_k: np.ndarray, variance_k: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q, the mean and the sum of weights under each tau-squared."""
    weight_pk = 1 / (variance_k + tau_squared_p[:, None])
    mean_p = (weight_pk * effect_k).sum(axis=1) / weight_pk.sum(axis=1)
    return (weight_pk * (effect_k - mean_p[:, None]) ** 2).sum(axis=1), mean_p, weight_pk.sum(axis=1)


def _reml(effect_k: np.ndarray, variance_k: np.ndarray) -> float:
    """Restricted maximum likelihood by Fisher scoring, kept at 0 or above."""
    tau_squared = _dersimonian_laird(effect_k, variance_k)
    for _ in range(SCORING_STEPS):
        weight_k = 1 / (variance_k + tau_squared)
        mean = (weight_k * effect_k).sum() / weight_k.sum()
        # projection P = W - W 1 (1' W 1)^-1 1' W: score (y' P P y - tr P) / 2, information tr(P P) / 2
        share_k = weight_k / weight_k.sum()
        trace = weight_k.sum() - (weight_k * share_k).sum()
        trace_squared = (weight_k**2).sum() - 2 * (weight_k**2 * share_k).sum() + ((weight_k * share_k).sum()) ** 2
        score = ((weight_k * (effect_k - mean)) ** 2).sum() - trace
        moved = max(0.0, tau_squared + score / trace_squared)
        if abs(moved - tau_squared) < CONVERGED:
            return float(moved)
        tau_squared = moved
    return float(tau_squared)


def _dersimonian_laird(effect_k: np.ndarray, variance_k: np.ndarray) -> float:
    weight_k = 1 / variance_k
    mean = (weight_k * effect_k).sum() / weight_k.sum()
    excess = (weight_k * (effect_k - mean) ** 2).sum() - (len(effect_k) - 1)
    return float(max(0.0, excess / (weight_k.sum() - (weight_k**2).sum() / weight_k.sum())))


def _typical_variance(variance_k: np.ndarray) -> float:
    """Of Higgins & Thompson, Stat Med 2002;21:1539."""
    weight_k = 1 / variance_k
    return float((len(variance_k) - 1) * weight_k.sum() / (weight_k.sum() ** 2 - (weight_k**2).sum()))

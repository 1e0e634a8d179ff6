"""Intervals by resampling hospitals (or, where there are too few of them, cases).

Estimand: the figure at hospitals like these. Patients of a hospital resemble each other, so hospitals are
drawn, not patients, and the spread of the replicates enters a t interval with (sites - 1) degrees of freedom
on a scale without bounds. A percentile interval covers too little with a dozen unequal hospitals.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special, stats

REPLICATES = 1000

#: With two hospitals t has one degree of freedom (12.7): the interval would say nothing. Cases are drawn
#: instead.
LEAST_SITES = 3

#: Where more replicates than this are undefined (one class drawn), their spread is not trusted.
MOST_UNDEFINED = 0.5

CONFIDENCE = 0.95

Scale = Literal["logit", "identity"]


@dataclass(frozen=True)
class Resampling:
    """``weight_rn[r, n]``: how often case ``n`` counts in replicate ``r``; ``over`` says what was drawn."""

    weight_rn: np.ndarray
    over: Literal["sites", "cases"]
    degrees: int


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % interval, or None for both with a reason."""

    low: float | None
    high: float | None
    reason: str = ""


def resample(site_n: np.ndarray, seed: int = 0, replicates: int = REPLICATES) -> Resampling:
    """Draw hospitals with replacement, or cases where there are fewer than ``LEAST_SITES`` hospitals."""
    sites, code_n = np.unique(np.asarray(site_n, str), return_inverse=True)
    over: Literal["sites", "cases"] = "sites" if sites.size >= LEAST_SITES else "cases"
    if over == "cases":
        code_n = np.arange(len(site_n))
    units = int(code_n.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=replicates)
    return Resampling(drawn[:, code_n].astype(float), over, units - 1)


def t_interval(
    value: float, replicate_r: np.ndarray, degrees: int, scale: Scale = "identity", least: float = 1e-6
) -> Interval:
    """``value`` ± t x SD of the replicates on ``scale``; ``least`` keeps logits of shares finite."""
    finite = replicate_r[np.isfinite(replicate_r)]
    if degrees < 1 or finite.size < (1 - MOST_UNDEFINED) * replicate_r.size:
        return Interval(None, None, "too few cases or events for an interval")
    spread = np.std(_to_scale(finite, scale, least), ddof=1)
    if not np.isfinite(spread) or spread < 1e-12:
        return Interval(None, None, "no spread between resamples")
    half = stats.t.ppf((1 + CONFIDENCE) / 2, degrees) * spread
    middle = _to_scale(np.asarray(value), scale, least)
    return Interval(_from_scale(middle - half, scale), _from_scale(middle + half, scale))


def mean_interval(value_n: np.ndarray, site_n: np.ndarray, seed: int = 0) -> tuple[Interval, str]:
    """Interval of the mean over cases, and whether sites or cases were drawn."""
    drawn = resample(site_n, seed)
    replicate_r = (drawn.weight_rn @ value_n) / drawn.weight_rn.sum(axis=1)
    return t_interval(float(value_n.mean()), replicate_r, drawn.degrees), drawn.over


def _to_scale(value: np.ndarray, scale: Scale, least: float) -> np.ndarray:
    return special.logit(np.clip(value, least, 1 - least)) if scale == "logit" else value


def _from_scale(value: np.ndarray, scale: Scale) -> float:
    return float(special.expit(value)) if scale == "logit" else float(value)

"""Intervals by resampling hospitals (or, where there are too few of them, cases).

Estimand: the figure at hospitals like these, of these sizes. Patients of a hospital resemble each other, so
hospitals are drawn, not patients, and the spread of the replicates enters a t interval with (hospitals - 1)
degrees of freedom on a scale without bounds. Design: hospitals are independent of each other. A percentile
interval covers too little with a dozen unequal hospitals (table in ``README.md`` of this folder).

Unequal hospitals are worth fewer equal ones: with weights w they are (sum w)^2 / sum w^2 (Carter et al., Rev Econ Stat
2017;99:698), and that is the number the degrees of freedom are taken from. Equal hospitals give (hospitals - 1).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special, stats

REPLICATES = 2000

#: With two hospitals t has one degree of freedom (12.7): the interval would say nothing. Cases are drawn
#: instead.
LEAST_SITES = 3

#: Where more replicates than this are undefined (one class drawn), their spread is not trusted.
MOST_UNDEFINED = 0.5

CONFIDENCE = 0.95

#: Shares are kept this far from 0 and 1 on the logit scale, and ratios from 0 on that of the logarithm.
LEAST = 1e-6

#: Weights looked at together: what a processor keeps at hand, whatever the number of cases.
BLOCK = 2**18

Scale = Literal["logit", "log", "identity"]


@dataclass(frozen=True)
class Resampling:
    """``weight_ru[r, u]``: how often unit ``u`` counts in replicate ``r``; row 0 is the sample as it is.

    A unit is a hospital or a case, as ``over`` says; ``unit_n`` is the unit of each case, hospitals in sorted order.
    """

    weight_ru: np.ndarray
    unit_n: np.ndarray
    over: Literal["sites", "cases"]

    @property
    def units(self) -> int:
        return self.weight_ru.shape[1]

    @property
    def degrees(self) -> float:
        """Of freedom of the t interval of a figure in which every case counts the same."""
        return degrees_of(np.bincount(self.unit_n, minlength=self.units).astype(float))

    @property
    def weight_rn(self) -> np.ndarray:
        """How often each case counts in each replicate."""
        return self.weight_ru[:, self.unit_n]

    @property
    def sample(self) -> "Resampling":
        """Without the replicates."""
        return replace(self, weight_ru=self.weight_ru[:1])

    def each(self, replicates: Callable[["Resampling"], np.ndarray]) -> np.ndarray:
        """``replicates`` of this resampling, worked off in blocks of rows."""
        rows = max(1, BLOCK // self.unit_n.size)
        starts = range(0, len(self.weight_ru), rows)
        parts = (replace(self, weight_ru=self.weight_ru[start : start + rows]) for start in starts)
        return np.concatenate([replicates(part) for part in parts])

    def total(self, value_n: np.ndarray) -> np.ndarray:
        """Sum of a value over the cases of each replicate, at the cost of the units and not of the cases."""
        value_u = np.bincount(self.unit_n, weights=value_n, minlength=self.units)
        return self.weight_ru @ value_u


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % interval, or None for both with a reason."""

    low: float | None
    high: float | None
    reason: str = ""


def resample(site_n: np.ndarray, seed: int = 0, replicates: int = REPLICATES) -> Resampling:
    """Draw hospitals with replacement, or cases where there are fewer than ``LEAST_SITES`` hospitals."""
    sites, unit_n = np.unique(np.asarray(site_n, str), return_inverse=True)
    over: Literal["sites", "cases"] = "sites" if sites.size >= LEAST_SITES else "cases"
    if over == "cases":
        unit_n = np.arange(len(site_n))
    units = int(unit_n.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=replicates)
    return Resampling(np.vstack([np.ones(units), drawn]), unit_n, over)


def degrees_of(weight_u: np.ndarray) -> float:
    """Degrees of freedom from what each unit weighs in a figure; at least 1, where one unit is nearly everything."""
    return max(1.0, float(weight_u.sum() ** 2 / (weight_u**2).sum() - 1))


def t_interval(
    replicate_r: np.ndarray,
    drawn: Resampling,
    scale: Scale = "identity",
    least: float = LEAST,
    degrees: float | None = None,
) -> Interval:
    """``replicate_r[0]`` ± t x SD of the others on ``scale``; ``least`` keeps logits of shares finite.

    ``degrees`` of freedom are those of ``drawn`` unless the figure weighs hospitals otherwise than by their cases.
    """
    finite = replicate_r[1:][np.isfinite(replicate_r[1:])]
    if drawn.units < 2 or finite.size < (1 - MOST_UNDEFINED) * (replicate_r.size - 1):
        return Interval(None, None, "too few cases or events for an interval")
    spread = spread_of(finite, drawn, scale, least)
    if not np.isfinite(spread) or spread < 1e-12:
        return Interval(None, None, "no spread between resamples")
    half = stats.t.ppf((1 + CONFIDENCE) / 2, degrees or drawn.degrees) * spread
    return around(float(replicate_r[0]), half, scale, least)


def spread_of(replicate_r: np.ndarray, drawn: Resampling, scale: Scale = "identity", least: float = LEAST) -> float:
    """SD of replicates on ``scale``, freed of the bootstrap's factor sqrt((units - 1) / units).

    The variance of a resampled mean divides by the number of units, not by one less (Davison & Hinkley, Bootstrap
    Methods, 1997, section 2.3); with a dozen hospitals that is 4 % of the width.
    """
    spread = np.std(to_scale(replicate_r, scale, least), ddof=1)
    return float(spread * np.sqrt(drawn.units / (drawn.units - 1)))


def around(value: float, half: float, scale: Scale, least: float = LEAST) -> Interval:
    """``value`` ± ``half`` on ``scale``, brought back."""
    low, high = from_scale(to_scale(np.array(value), scale, least) + np.array([-half, half]), scale)
    return Interval(float(low), float(high))


def mean_interval(value_n: np.ndarray, site_n: np.ndarray, seed: int = 0) -> tuple[Interval, str]:
    """Interval of the mean over cases, and whether sites or cases were drawn."""
    drawn = resample(site_n, seed)
    replicate_r = drawn.total(value_n) / drawn.total(np.ones(len(value_n)))
    return t_interval(replicate_r, drawn), drawn.over


def to_scale(value: np.ndarray, scale: Scale, least: float = LEAST) -> np.ndarray:
    if scale == "logit":
        return special.logit(np.clip(value, least, 1 - least))
    return np.log(np.maximum(value, least)) if scale == "log" else value


def from_scale(value: np.ndarray, scale: Scale) -> np.ndarray:
    if scale == "logit":
        return special.expit(value)
    return np.exp(value) if scale == "log" else value

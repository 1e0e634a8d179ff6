"""Data sets of hospitals whose true areas are known: two models, scores normal among events and among non-events.

All data sets of a design are drawn at once, hospital by hospital, as arrays ``[data set, patient]``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import multivariate_normal, norm

from kicc_ml.evaluation.discrimination import SitePairs

MEAN_AREA, OTHER_AREA = 0.80, 0.76

#: Between the scores of the two models, given the class.
CORRELATION = 0.6

#: Of the logit of the prevalence, between hospitals.
PREVALENCE_SD = 0.5

#: Events that a design is to have in all, and the prevalence at which they come: 20 of 500 are the deaths of KICC-19.
PREVALENCE = {20: 0.04, 50: 0.10, 100: 0.20, 300: 0.25, 1000: 0.25}

SHAPES = ("equal", "unequal", "half")


@dataclass(frozen=True)
class Design:
    """``hospitals`` with ``events`` in all; ``sd`` between hospitals of the area.

    ``shape``: all of one size (``equal``), the largest seven times the smallest (``unequal``), one with half of the
    patients and the others equal (``half``).
    """

    hospitals: int
    shape: str
    events: int
    sd: float

    @property
    def size_s(self) -> np.ndarray:
        shares = {
            "equal": np.ones(self.hospitals),
            "unequal": np.geomspace(7, 1, self.hospitals),
            "half": np.r_[self.hospitals - 1, np.ones(self.hospitals - 1)],
        }[self.shape]
        return np.maximum(3, np.round(shares / shares.sum() * self.events / self.prevalence)).astype(int)

    @property
    def prevalence(self) -> float:
        return PREVALENCE[self.events]

    @property
    def tau(self) -> float:
        """The same on the logit scale, at the mean area."""
        return self.sd / (MEAN_AREA * (1 - MEAN_AREA))


@dataclass(frozen=True)
class Sample:
    """Of each data set and hospital ``[r, s]``: what :class:`SitePairs` holds, and the ``truth``. NaN: one class."""

    area_rs: np.ndarray
    events_rs: np.ndarray
    others_rs: np.ndarray
    event_variance_rs: np.ndarray
    other_variance_rs: np.ndarray
    truth_rs: np.ndarray

    def pairs(self) -> Iterator[tuple[np.ndarray, SitePairs]]:
        """Which hospitals have both classes, and their pairs, data set by data set."""
        for row in range(len(self.area_rs)):
            both_s = np.isfinite(self.area_rs[row])
            columns = (self.area_rs, self.events_rs, self.others_rs, self.event_variance_rs, self.other_variance_rs)
            yield both_s, SitePairs(np.flatnonzero(both_s).astype(str), *(column[row, both_s] for column in columns))


def simulate(design: Design, data_sets: int, seed: int) -> tuple[Sample, Sample]:
    """The first model, and its difference to the second, over the same patients."""
    generator = np.random.default_rng(seed)
    shape = data_sets, design.hospitals
    shift_rs = generator.normal(0, design.tau, shape)
    # half of what sets a hospital apart is common to both models
    other_shift_rs = 0.5 * shift_rs + np.sqrt(0.75) * generator.normal(0, design.tau, shape)
    area_rs, other_rs = expit(logit(MEAN_AREA) + shift_rs), expit(logit(OTHER_AREA) + other_shift_rs)
    prevalence_rs = expit(logit(design.prevalence) + generator.normal(0, PREVALENCE_SD, shape))
    found = [
        _hospital(generator, size, prevalence_rs[:, s], area_rs[:, s], other_rs[:, s])
        for s, size in enumerate(design.size_s)
    ]
    first, difference = (
        [np.stack(column, axis=1) for column in zip(*side, strict=True)] for side in zip(*found, strict=True)
    )
    return Sample(*first, truth_rs=area_rs), Sample(*difference, truth_rs=area_rs - other_rs)


def true_variance(area: np.ndarray, events: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Exact variance of the area of two normal classes of equal spread (Bamber, J Math Psychol 1975;12:387)."""
    shared = np.interp(area, _GRID, _BOTH_BELOW) - area**2
    pairs = np.where(events * others > 0, events * others, np.nan)
    return (area * (1 - area) + (events + others - 2) * shared) / pairs


_GRID = np.linspace(0.05, 0.999, 200)
#: The chance that two non-events are both below one event, which is that of two events being both above a non-event.
_BOTH_BELOW = np.array(
    [multivariate_normal.cdf(np.full(2, norm.ppf(area)), mean=[0, 0], cov=[[1, 0.5], [0.5, 1]]) for area in _GRID]
)


def _hospital(
    generator: np.random.Generator, size: int, prevalence_r: np.ndarray, area_r: np.ndarray, other_r: np.ndarray
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    shape = len(prevalence_r), size
    event_rn = generator.random(shape) < prevalence_r[:, None]
    first_rn = generator.standard_normal(shape)
    second_rn = CORRELATION * first_rn + np.sqrt(1 - CORRELATION**2) * generator.standard_normal(shape)
    placed = [
        _placements(noise_rn + event_rn * (np.sqrt(2) * norm.ppf(area))[:, None], event_rn)
        for noise_rn, area in ((first_rn, area_r), (second_rn, other_r))
    ]
    return _moments(placed[0], event_rn), _moments(placed[0] - placed[1], event_rn)


def _placements(score_rn: np.ndarray, event_rn: np.ndarray) -> np.ndarray:
    """Of an event the share of non-events below it, of a non-event the share of events above it; there are no ties."""
    order_rn = np.argsort(score_rn, axis=1)
    sorted_rn = np.take_along_axis(event_rn, order_rn, axis=1)
    events_r = event_rn.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        below_rn = (~sorted_rn).cumsum(axis=1) / (event_rn.shape[1] - events_r)
        above_rn = 1 - sorted_rn.cumsum(axis=1) / events_r
    placed_rn = np.empty(score_rn.shape)
    np.put_along_axis(placed_rn, order_rn, np.where(sorted_rn, below_rn, above_rn), axis=1)
    return placed_rn


def _moments(placed_rn: np.ndarray, event_rn: np.ndarray) -> tuple[np.ndarray, ...]:
    """Area, counts and variances of the placement values of each data set."""
    events_r, others_r = event_rn.sum(axis=1), (~event_rn).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        area_r = np.where(event_rn, placed_rn, 0).sum(axis=1) / np.where(others_r > 0, events_r, np.nan)
        area_r[events_r == 0] = np.nan
        squared_rn = (placed_rn - area_r[:, None]) ** 2
        event_variance_r = np.where(event_rn, squared_rn, 0).sum(axis=1) / (events_r - 1)
        other_variance_r = np.where(event_rn, 0, squared_rn).sum(axis=1) / (others_r - 1)
    event_variance_r[events_r < 2] = np.nan
    other_variance_r[others_r < 2] = np.nan
    return area_r, events_r.astype(float), others_r.astype(float), event_variance_r, other_variance_r

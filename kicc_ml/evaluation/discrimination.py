"""Discrimination: how well a model separates events from non-events.

- ``auroc``, the headline: pairs of an event and a non-event **of the same hospital**. Design: leave-one-site-out, where
  each hospital's predictions come from a model of its own. Pooling them compares probabilities of different models and
  is biased (below 0.5 under chance).
- ``auroc_pooled``: all pairs, for comparison with the literature. Design: one model for all cases.
- ``auprc``: area under the precision-recall curve as a step function (average precision); chance is the prevalence.

The last two are an :class:`kicc_ml.evaluation.intervals.Influence`: the figure and how much each case moves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kicc_ml.evaluation.delong import Placements, compute_placements
from kicc_ml.evaluation.intervals import MIN_OWN_VARIANCE_CASES, Influence
from kicc_ml.evaluation.rows import BinaryOutcomes


@dataclass(frozen=True)
class SitePairs:
    """Hospitals with events and non-events, sorted: area (or difference of two areas) and what its variance is made of.

    ``event_variance_s`` and ``other_variance_s`` are the variances of DeLong's placement values among the events and
    among the non-events of a hospital (NaN: fewer than two).
    """

    site_s: np.ndarray
    area_s: np.ndarray
    events_s: np.ndarray
    others_s: np.ndarray
    event_variance_s: np.ndarray
    other_variance_s: np.ndarray

    @property
    def pairs_s(self) -> np.ndarray:
        """Return the number of pairs (with the event, without it) of each hospital."""
        return self.events_s * self.others_s

    @property
    def area(self) -> float:
        """Share of concordant pairs over all hospitals."""
        return float((self.area_s * self.pairs_s).sum() / self.pairs_s.sum())

    @property
    def own_variance_s(self) -> np.ndarray:
        """DeLong's variance of each hospital's area, from its own patients alone; NaN where there are too few."""
        return self.event_variance_s / self.events_s + self.other_variance_s / self.others_s

    @property
    def few_s(self) -> np.ndarray:
        """Hospitals that take the pooled variance.

        They have fewer than ``MIN_OWN_VARIANCE_CASES`` cases of a class, or all their pairs are ordered alike.
        """
        too_few_s = (self.events_s < MIN_OWN_VARIANCE_CASES) | (self.others_s < MIN_OWN_VARIANCE_CASES)
        return too_few_s | ~(self.own_variance_s > 0)

    @property
    def variance_s(self) -> np.ndarray:
        """Variance of each hospital's area; hospitals of ``few_s`` take that of placement values from all hospitals."""
        return self._event_part_s + self._other_part_s

    @property
    def spread(self) -> float:
        """Variance of ``area`` at these hospitals: hospitals are strata, whose variances add (stratified DeLong)."""
        return float(self._share_s**2 @ self.variance_s)

    @property
    def degrees(self) -> float:
        """Of freedom of ``spread`` (Satterthwaite, Biometrics Bull 1946;2:110); infinite where no hospital borrows."""
        if not self.few_s.any():
            return np.inf
        parts = ((self._event_part_s, self.events_s), (self._other_part_s, self.others_s))
        squared = sum(self._squared_over_degrees(self._share_s**2 * part_s, count_s) for part_s, count_s in parts)
        return max(1.0, float(self.spread**2 / squared)) if squared else 1.0

    @property
    def _share_s(self) -> np.ndarray:
        return self.pairs_s / self.pairs_s.sum()

    @property
    def _event_part_s(self) -> np.ndarray:
        return (
            np.where(self.few_s, _pool_variance(self.event_variance_s, self.events_s), self.event_variance_s)
            / self.events_s
        )

    @property
    def _other_part_s(self) -> np.ndarray:
        return (
            np.where(self.few_s, _pool_variance(self.other_variance_s, self.others_s), self.other_variance_s)
            / self.others_s
        )

    def _squared_over_degrees(self, part_s: np.ndarray, count_s: np.ndarray) -> float:
        """Compute Satterthwaite's sum: own parts by their own degrees of freedom, pooled parts by those of the pool."""
        own = (part_s[~self.few_s] ** 2 / (count_s[~self.few_s] - 1)).sum()
        pooled_degrees = (count_s[count_s > 1] - 1).sum()
        return float(own + part_s[self.few_s].sum() ** 2 / pooled_degrees) if pooled_degrees else float(own)


def find_evaluable_sites(rows: BinaryOutcomes) -> np.ndarray:
    """Find the hospitals with both an event and a non-event."""
    return np.intersect1d(rows.site_n[rows.label_n == 1], rows.site_n[rows.label_n == 0])


def compute_site_pairs(rows: BinaryOutcomes) -> SitePairs:
    """Compute areas from pairs within hospitals; hospitals with one class have no pairs and are absent."""
    sites = find_evaluable_sites(rows)
    return _make_site_pairs(sites, [compute_placements(rows.at(rows.site_n == site)) for site in sites])


def compute_paired_site_pairs(one: BinaryOutcomes, other: BinaryOutcomes) -> SitePairs:
    """Compute differences of areas (``one`` minus ``other``) over the same ordered cases."""
    sites = find_evaluable_sites(one)
    placed = [
        (compute_placements(one.at(one.site_n == site)), compute_placements(other.at(one.site_n == site)))
        for site in sites
    ]
    return _make_site_pairs(sites, [first.subtract(second) for first, second in placed])


def _make_site_pairs(sites: np.ndarray, placed: Sequence[Placements]) -> SitePairs:
    return SitePairs(
        site_s=sites,
        area_s=np.array([placement.area for placement in placed], float),
        events_s=np.array([placement.event_m.size for placement in placed], float),
        others_s=np.array([placement.other_n.size for placement in placed], float),
        event_variance_s=np.array([_compute_variance(placement.event_m) for placement in placed], float),
        other_variance_s=np.array([_compute_variance(placement.other_n) for placement in placed], float),
    )


def _compute_variance(value_n: np.ndarray) -> float:
    return float(value_n.var(ddof=1)) if value_n.size > 1 else np.nan


def _pool_variance(variance_s: np.ndarray, count_s: np.ndarray) -> float:
    """Pool the variance within hospitals that have at least two cases; NaN if there is no such hospital."""
    known_s = count_s > 1
    return float(divide_or_nan((variance_s * (count_s - 1))[known_s].sum(), (count_s - 1)[known_s].sum()))


def compute_pooled_auroc(rows: BinaryOutcomes) -> Influence:
    """Compute the usual area under the ROC curve; ties count half. ``rows`` must have both classes."""
    placed = compute_placements(rows)
    influence_n = np.empty(rows.label_n.size)
    influence_n[rows.label_n == 1] = (placed.event_m - placed.area) / placed.event_m.size
    influence_n[rows.label_n == 0] = (placed.other_n - placed.area) / placed.other_n.size
    return Influence(placed.area, influence_n)


def compute_average_precision(rows: BinaryOutcomes) -> Influence:
    """Compute average precision, the area under the step-wise precision-recall curve. ``rows`` must have an event."""
    value_v, value_of_n = np.unique(-rows.probability_n, return_inverse=True)  # highest probability first
    event_v = np.bincount(value_of_n, rows.label_n, minlength=value_v.size)
    found_v, called_v = event_v.cumsum(), np.bincount(value_of_n, minlength=value_v.size).cumsum()
    precision_v, events = found_v / called_v, rows.label_n.sum()
    value = float(event_v @ precision_v / events)
    # a case raises the precision at each threshold that calls it, by (label - precision) / called
    raised_v = (event_v / called_v)[::-1].cumsum()[::-1]
    lowered_v = (event_v * precision_v / called_v)[::-1].cumsum()[::-1]
    own_n = rows.label_n * (precision_v[value_of_n] - value)
    return Influence(value, (own_n + rows.label_n * raised_v[value_of_n] - lowered_v[value_of_n]) / events)


def divide_or_nan(part: np.ndarray, whole: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """Divide ``part`` by ``whole``; ``otherwise`` where ``whole`` is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)

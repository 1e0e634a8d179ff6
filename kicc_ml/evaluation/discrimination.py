"""How well a model tells events from non-events.

- ``auroc``, the headline: share of concordant pairs of an event and a non-event **of the same hospital**.
  Design: leave-one-site-out, where each hospital's predictions come from a model of its own. Pooling them
  compares probabilities of different models and is biased (below 0.5 under chance).
- ``auroc_pooled``: all pairs, for comparison with the literature. Design: one model for all cases.
- ``auprc``: area under the precision-recall curve as a step function (average precision); chance is the prevalence.

Replicates are those of :class:`kicc_ml.evaluation.bootstrap.Resampling`, the sample itself first; one in which a
figure does not exist is NaN.
"""

from dataclasses import dataclass

import numpy as np

from kicc_ml.evaluation.bootstrap import Resampling
from kicc_ml.evaluation.delong import placements, variance
from kicc_ml.evaluation.rows import Rows


@dataclass(frozen=True)
class SitePairs:
    """Hospitals with both events and non-events, sorted: their area, pairs, and DeLong variance (NaN: none)."""

    site_s: np.ndarray
    area_s: np.ndarray
    pairs_s: np.ndarray
    variance_s: np.ndarray

    @property
    def area(self) -> float:
        """Share of concordant pairs over all hospitals."""
        return float((self.area_s * self.pairs_s).sum() / self.pairs_s.sum())

    @property
    def spread(self) -> float | None:
        """Variance of ``area`` where the hospitals are the only ones meant; None where a hospital has none."""
        if np.isnan(self.variance_s).any():
            return None
        return float((self.pairs_s**2 * self.variance_s).sum() / self.pairs_s.sum() ** 2)


def evaluable_sites(rows: Rows) -> np.ndarray:
    """Hospitals with both an event and a non-event."""
    return np.intersect1d(rows.site_n[rows.label_n == 1], rows.site_n[rows.label_n == 0])


def site_pairs(rows: Rows) -> SitePairs:
    """Pairs within hospitals; hospitals of one class have none and are absent."""
    sites = evaluable_sites(rows)
    placed = [placements(rows.at(rows.site_n == site)) for site in sites]
    variances = [variance(one) for one in placed]
    return SitePairs(
        site_s=sites,
        area_s=np.array([one.area for one in placed]),
        pairs_s=np.array([one.pairs for one in placed], float),
        variance_s=np.array([np.nan if one is None else one for one in variances]),
    )


def within_site_auroc(pairs: SitePairs, weight_rs: np.ndarray) -> np.ndarray:
    """Concordant over all pairs within hospitals, per replicate. A hospital drawn twice is two hospitals."""
    return ratio(weight_rs @ (pairs.area_s * pairs.pairs_s), weight_rs @ pairs.pairs_s)


def pooled_auroc(rows: Rows, drawn: Resampling) -> np.ndarray:
    """The usual area under the ROC curve, per replicate; ties count half."""
    events_rv, others_rv = _by_value(rows, drawn.weight_rn)
    below_rv = others_rv.cumsum(axis=1) - 0.5 * others_rv
    concordant_r = np.einsum("rv,rv->r", events_rv, below_rv)
    return ratio(concordant_r, events_rv.sum(axis=1) * others_rv.sum(axis=1))


def average_precision(rows: Rows, drawn: Resampling) -> np.ndarray:
    """Area under the precision-recall curve as a step function (scikit-learn's), per replicate."""
    events_rv, others_rv = _by_value(rows, drawn.weight_rn)
    events_rv, others_rv = events_rv[:, ::-1], others_rv[:, ::-1]
    found_rv = events_rv.cumsum(axis=1)
    precision_rv = ratio(found_rv, found_rv + others_rv.cumsum(axis=1), otherwise=0.0)
    return ratio(np.einsum("rv,rv->r", precision_rv, events_rv), events_rv.sum(axis=1))


def ratio(part: np.ndarray, whole: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """``part / whole``, and ``otherwise`` where there is no whole."""
    return np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)


def _by_value(rows: Rows, weight_rn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of events and of non-events at every distinct probability, ascending."""
    order_n = np.argsort(rows.probability_n, kind="stable")
    _, start_v = np.unique(rows.probability_n[order_n], return_index=True)
    sorted_rn = weight_rn[:, order_n]
    events_rn = sorted_rn * rows.label_n[order_n]
    others_rn = sorted_rn - events_rn
    if len(start_v) == len(order_n):
        return events_rn, others_rn
    return np.add.reduceat(events_rn, start_v, axis=1), np.add.reduceat(others_rn, start_v, axis=1)

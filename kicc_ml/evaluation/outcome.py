"""The figures of one model for one endpoint, each with the interval that its design allows.

Over three or more hospitals the hospitals are resampled; at one or two, where no spread between hospitals can be
seen, cases are taken as independent: DeLong for areas, Fisher's information for slope and intercept, resampled cases
for the rest. ``over`` says which. Definitions: :mod:`kicc_ml.evaluation.discrimination`,
:mod:`kicc_ml.evaluation.calibration`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kicc_ml.evaluation import calibration, discrimination
from kicc_ml.evaluation.bootstrap import (
    LEAST,
    LEAST_SITES,
    REPLICATES,
    Interval,
    Resampling,
    Scale,
    degrees_of,
    resample,
    t_interval,
)
from kicc_ml.evaluation.delong import delong_interval, logit_interval
from kicc_ml.evaluation.discrimination import site_pairs, within_site_auroc
from kicc_ml.evaluation.rows import Rows, unknown

#: A resample in which every pair is ordered right counts on the logit scale as if half a pair were not.
HALF_A_PAIR = 0.5


@dataclass(frozen=True)
class Metric:
    """``replicates`` over a resampling, and the scale of the interval.

    ``two_classes``: needs both. ``by_pairs``: made of pairs of an event and a non-event, so it can be exactly 1.
    """

    replicates: Callable[[Rows, Resampling], np.ndarray]
    scale: Scale
    two_classes: bool = True
    by_pairs: bool = False

    def over(self, rows: Rows, drawn: Resampling) -> np.ndarray:
        """The figure of the sample and of each replicate."""
        return drawn.each(partial(self.replicates, rows))


WEIGHTED: Mapping[str, Metric] = {
    "auroc_pooled": Metric(discrimination.pooled_auroc, "logit", by_pairs=True),
    "auprc": Metric(discrimination.average_precision, "logit", by_pairs=True),
    "brier": Metric(calibration.brier, "logit", two_classes=False),
    "scaled_brier": Metric(calibration.scaled_brier, "identity"),
    "observed_expected": Metric(calibration.observed_expected, "log"),
    "calibration_slope": Metric(calibration.calibration_slope, "identity"),
    "calibration_intercept": Metric(calibration.calibration_intercept, "identity"),
}

DISCRIMINATION = ("auroc", "auroc_pooled", "auprc")
CALIBRATION = ("brier", "scaled_brier", "observed_expected", "calibration_slope", "calibration_intercept")
METRICS = (*DISCRIMINATION, *CALIBRATION)


#: Intervals for independent cases that need no resampling.
ANALYTIC: Mapping[str, Callable[[Rows], Interval]] = {
    "auroc_pooled": delong_interval,
    "calibration_slope": partial(calibration.wald, metric="calibration_slope"),
    "calibration_intercept": partial(calibration.wald, metric="calibration_intercept"),
}


def score(
    rows: Rows, seed: int = 0, metrics: Sequence[str] = METRICS, resamples: int = REPLICATES
) -> dict[str, dict[str, Any]]:
    """``metrics`` of one model for one endpoint, each as ``{value, low, high, n, events, sites, over}``.

    For ``auroc`` the counts are those of the hospitals that contribute pairs. What cannot be computed is None with
    ``reason``; with one class that is everything but the Brier score.
    """
    if not len(rows.label_n):
        return {name: unknown(rows.why_one_class) for name in metrics}
    drawn = resample(rows.site_n, seed, resamples)
    return {
        name: _counts(rows)
        | (_score_within_site(rows, seed, resamples) if name == "auroc" else _score_weighted(name, rows, drawn))
        for name in metrics
    }


def replicates(rows: Rows, drawn: Resampling) -> dict[str, np.ndarray]:
    """Every metric over one resampling of hospitals: the sample first, then the replicates.

    A hospital of one class adds no pairs to ``auroc`` whenever it is drawn.
    """
    pairs = site_pairs(rows)
    weight_rs = drawn.weight_ru[:, np.isin(np.unique(rows.site_n), pairs.site_s)]
    weighted = {name: metric.over(rows, drawn) for name, metric in WEIGHTED.items()}
    return {"auroc": within_site_auroc(pairs, weight_rs)} | weighted


def figure(value: float, interval: Interval, over: str) -> dict[str, Any]:
    """A value with its interval; ``reason`` where there is none."""
    found: dict[str, Any] = {"value": value, "low": interval.low, "high": interval.high, "over": over}
    return found | ({"reason": interval.reason} if interval.reason else {})


def _score_within_site(rows: Rows, seed: int, resamples: int) -> dict[str, Any]:
    pairs = site_pairs(rows)
    if not pairs.site_s.size:
        return unknown(rows.why_one_class or "no hospital has both events and non-events")
    within = rows.at(np.isin(rows.site_n, pairs.site_s))
    if pairs.site_s.size < LEAST_SITES:
        return figure(pairs.area, logit_interval(pairs.area, pairs.spread), "cases") | _counts(within)
    drawn = resample(within.site_n, seed, resamples)
    replicate_r = within_site_auroc(pairs, drawn.weight_ru)
    least = HALF_A_PAIR / pairs.pairs_s.sum()
    interval = t_interval(replicate_r, drawn, "logit", least, degrees_of(pairs.pairs_s))
    return figure(pairs.area, interval, "sites") | _counts(within)


def _score_weighted(name: str, rows: Rows, drawn: Resampling) -> dict[str, Any]:
    metric = WEIGHTED[name]
    if metric.two_classes and rows.why_one_class:
        return unknown(rows.why_one_class)
    analytic = ANALYTIC.get(name) if drawn.over == "cases" else None
    replicate_r = metric.over(rows, drawn.sample if analytic else drawn)
    if not np.isfinite(replicate_r[0]):
        return unknown("probabilities are constant or separate the labels perfectly")
    if analytic:
        return figure(float(replicate_r[0]), analytic(rows), "cases")
    pairs = rows.label_n.sum() * (1 - rows.label_n).sum()
    interval = t_interval(replicate_r, drawn, metric.scale, HALF_A_PAIR / pairs if metric.by_pairs else LEAST)
    return figure(float(replicate_r[0]), interval, drawn.over)


def _counts(rows: Rows) -> dict[str, int]:
    return {
        "n": len(rows.label_n),
        "events": int(rows.label_n.sum()),
        "sites": int(np.unique(rows.site_n).size),
    }

"""Net benefit: what acting on a predicted risk is worth (Vickers & Elkin, Med Decis Making 2006;26:565).

Estimand: true positives less false positives, the latter weighed by the odds of the threshold, per patient. A model
is worth using at a threshold only above both "treat all" and "treat none" (0). Design: the prevalence of these cases
is that of the patients meant; the intervals resample hospitals (cases, at one or two).
"""

import numpy as np
import pandas as pd

from kicc_ml.evaluation.bootstrap import Resampling, resample, t_interval
from kicc_ml.evaluation.discrimination import ratio
from kicc_ml.evaluation.rows import Rows

#: Risks at which somebody might act: a hundred patients watched for one event, up to acting at even odds.
THRESHOLDS = np.round(np.arange(0.01, 0.51, 0.01), 2)

COLUMNS = ["threshold", "net_benefit", "low", "high", "treat_all", "reason"]


def decision_curve(rows: Rows, threshold_t: np.ndarray = THRESHOLDS, seed: int = 0) -> pd.DataFrame:
    """One row per threshold with ``COLUMNS``; no rows where no outcome is known. Risk at the threshold counts as above.

    Bounds are None with a ``reason`` where the resamples do not differ (nobody above the threshold).
    """
    if not len(rows.label_n):
        return pd.DataFrame(columns=COLUMNS)
    drawn = resample(rows.site_n, seed)
    everybody = np.ones(len(rows.label_n), bool)
    found = []
    for threshold in threshold_t:
        benefit_r = net_benefit(rows, drawn, rows.probability_n >= threshold, threshold)
        interval = t_interval(benefit_r, drawn)
        all_treated = net_benefit(rows, drawn.sample, everybody, threshold)[0]
        found.append((threshold, benefit_r[0], interval.low, interval.high, all_treated, interval.reason))
    numbers = dict.fromkeys(("threshold", "net_benefit", "treat_all"), float)
    return pd.DataFrame(found, columns=COLUMNS, dtype=object).astype(numbers)


def net_benefit(rows: Rows, drawn: Resampling, treated_n: np.ndarray, threshold: float) -> np.ndarray:
    """True positives less false positives times the odds of ``threshold``, per case, of each replicate."""
    odds = threshold / (1 - threshold)
    gain_n = treated_n * (rows.label_n - odds * (1 - rows.label_n))
    return ratio(drawn.total(gain_n), drawn.total(np.ones_like(gain_n)))

"""Decision curve: the net benefit of acting on a predicted risk (Vickers & Elkin, Med Decis Making 2006;26:565).

Estimand: true positives less false positives, the latter weighed by the odds of the threshold, per patient. A model
is worth using at a threshold only above both "treat all" and "treat none" (0). Design: the prevalence of these cases
is that of the patients meant; the intervals are of patients like these at these hospitals.
"""

import numpy as np
import pandas as pd

from kicc_ml.evaluation.intervals import compute_stratified_estimate
from kicc_ml.evaluation.rows import BinaryOutcomes

#: Risks at which somebody might act: a hundred patients watched for one event, up to acting at even odds.
THRESHOLDS = np.round(np.arange(0.01, 0.51, 0.01), 2)

COLUMNS = ["threshold", "net_benefit", "low", "high", "treat_all", "reason"]


def compute_decision_curve(rows: BinaryOutcomes, threshold_t: np.ndarray = THRESHOLDS) -> pd.DataFrame:
    """Compute the net benefit at each threshold.

    Args:
        rows: outcomes and risks.
        threshold_t: thresholds; a risk equal to the threshold counts as above.

    Returns:
        one row per threshold with ``COLUMNS``; no rows if no outcome is known. Bounds are None with a ``reason`` if
        cases do not differ, for example if nobody is above the threshold.
    """
    if not len(rows.label_n):
        return pd.DataFrame(columns=COLUMNS)
    found = []
    for threshold in threshold_t:
        gain_n = compute_gain(rows, rows.probability_n >= threshold, threshold)
        benefit = float(gain_n.mean())
        interval = compute_stratified_estimate(benefit, (gain_n - benefit) / gain_n.size, rows.site_n).interval
        all_treated = compute_gain(rows, np.ones(gain_n.size, bool), threshold).mean()
        found.append((threshold, benefit, interval.low, interval.high, all_treated, interval.reason))
    numbers = dict.fromkeys(("threshold", "net_benefit", "treat_all"), float)
    return pd.DataFrame(found, columns=COLUMNS, dtype=object).astype(numbers)


def compute_gain(rows: BinaryOutcomes, treated_n: np.ndarray, threshold: float) -> np.ndarray:
    """Compute the gain per case: 1 for a treated event, minus the odds of ``threshold`` for another treated case."""
    odds = threshold / (1 - threshold)
    return treated_n * (rows.label_n - odds * (1 - rows.label_n))

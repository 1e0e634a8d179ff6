"""Area under the ROC curve by DeLong's placement values, from which its variance is computed.

Estimand: the probability that a random event has a higher predicted risk than a random non-event (ties half).
Design: cases independent of each other within a hospital; hospitals are strata
(:class:`kicc_ml.evaluation.discrimination.SitePairs`).

Sources: DeLong et al., Biometrics 1988;44:837; the O(n log n) form by midranks of Sun & Xu, IEEE Signal Process
Lett 2014;21:1389. Figures equal those of R's pROC (``tests/evaluation/reference.R``).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from kicc_ml.evaluation.rows import BinaryOutcomes


@dataclass(frozen=True)
class Placements:
    """``event_m[i]``: share of non-events below event i; ``other_n[j]``: share of events above non-event j."""

    event_m: np.ndarray
    other_n: np.ndarray

    @property
    def area(self) -> float:
        """Return the AUC."""
        return float(self.event_m.mean())

    def subtract(self, other: "Placements") -> "Placements":
        """Subtract the placements of another model over the same cases; ``area`` is then the difference of areas."""
        return Placements(self.event_m - other.event_m, self.other_n - other.other_n)


def compute_placements(rows: BinaryOutcomes) -> Placements:
    """Compute placement values by midranks. ``rows`` must have both classes."""
    events = rows.probability_n[rows.label_n == 1]
    others = rows.probability_n[rows.label_n == 0]
    together = stats.rankdata(np.concatenate([events, others]))
    below_event_m = together[: events.size] - stats.rankdata(events)
    below_other_n = together[events.size :] - stats.rankdata(others)
    return Placements(below_event_m / others.size, 1 - below_other_n / events.size)

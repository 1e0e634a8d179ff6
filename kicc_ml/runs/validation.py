"""Results of the folds of a run on validation patients, from their ``metrics.csv``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

METRICS = "metrics.csv"
#: The metrics that select weights, with True if a higher value is better; the Dice of lesions comes first.
SELECTED_BY = {"val/dice": True, "val/loss": False}


@dataclass(frozen=True)
class Validation:
    """The mean over folds of the best ``value`` of a ``metric``; None if no fold has one."""

    metric: str | None
    value: float | None


def validation_score(folds: Sequence[Path]) -> Validation:
    """Compute the mean over folds of the best mean Dice on validation patients, or else of the lowest loss."""
    found = [path for fold in folds if (path := fold / METRICS).is_file()]
    tables = [pd.read_csv(path) for path in found]
    for metric, more_is_better in SELECTED_BY.items():
        columns = [table[metric].dropna() for table in tables if metric in table]
        best = [float(column.max() if more_is_better else column.min()) for column in columns if len(column)]
        if best:
            return Validation(metric.removeprefix("val/"), sum(best) / len(best))
    return Validation(None, None)

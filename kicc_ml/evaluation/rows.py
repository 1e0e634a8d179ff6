"""Cases with known outcome and their predicted probability: the input of every outcome statistic."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kicc_ml.core.errors import UserError

#: Models of this project in the order of tables and figures. Those of other names were brought from outside.
MODELS = ("network", "blend", "clinical", "clinical_extent", "extent", "age_sex", "boosting", "prevalence")

#: The network and the model it has to beat stand side by side in tables of hospitals and in figures.
COMPARED = ("network", "clinical")

#: Why there is no prediction of a case whose outcome is known.
NOT_LEARNT = "not predicted: the hospitals trained on do not have both outcomes of it"

#: Models from outside that are drawn; all stand in the tables.
MAX_OUTSIDE_DRAWN = 2


@dataclass(frozen=True)
class BinaryOutcomes:
    """Cases with a known label: ``label_n`` 0 or 1, ``probability_n`` in 0..1, ``site_n`` the hospital."""

    label_n: np.ndarray
    probability_n: np.ndarray
    site_n: np.ndarray

    def at(self, keep_n: np.ndarray) -> "BinaryOutcomes":
        """Return the rows that a mask keeps."""
        return BinaryOutcomes(self.label_n[keep_n], self.probability_n[keep_n], self.site_n[keep_n])

    @property
    def one_class_reason(self) -> str:
        """Why nothing can be told apart here, or ``""``."""
        return find_one_class_reason(self.label_n)


def choose_plotted_models(models: Iterable[str]) -> list[str]:
    """Choose the models for plots: the first outside models, then those of ``COMPARED``, else the first two."""
    named = list(dict.fromkeys(models))
    drawn = list_outside_models(named)[:MAX_OUTSIDE_DRAWN] + [model for model in COMPARED if model in named]
    return drawn or named[:2]


def list_outside_models(models: Iterable[str]) -> list[str]:
    """List the models that do not belong to this project, each once, in their order."""
    return [model for model in dict.fromkeys(models) if model not in MODELS]


def make_binary_outcomes(predictions: pd.DataFrame) -> BinaryOutcomes:
    """Make the outcomes of one endpoint and one model from rows that have both label and probability."""
    known = predictions.dropna(subset=["label", "probability"])
    return BinaryOutcomes(
        known["label"].to_numpy(float), known["probability"].to_numpy(float), known["site"].to_numpy(str)
    )


def make_paired_outcomes(predictions: pd.DataFrame, one: str, other: str) -> tuple[BinaryOutcomes, BinaryOutcomes]:
    """Make the outcomes of two models for one endpoint over the cases that both predicted, in the same order.

    Raises UserError where the two have different outcomes of a case: they are then of different cohorts.
    """
    known = predictions.dropna(subset=["label", "probability"])
    tables = [known[known["model"] == model].set_index("case_id").sort_index() for model in (one, other)]
    shared = tables[0].index.intersection(tables[1].index)
    first, second = (make_binary_outcomes(table.loc[shared]) for table in tables)
    if (differing := first.label_n != second.label_n).any():
        raise UserError(
            f"{one} and {other} have different outcomes of {differing.sum()} cases, for example "
            f"{shared[differing][0]}; models can be compared on one cohort only"
        )
    return first, second


def find_one_class_reason(label_n: np.ndarray) -> str:
    """Find out whether labels are all missing, all 0 or all 1, in words; "" if both classes occur."""
    if not len(label_n):
        return "no case with a known outcome"
    if not (label_n == 1).any():
        return f"no event among {len(label_n)} cases"
    if not (label_n == 0).any():
        return f"all {len(label_n)} cases have the event"
    return ""


def was_not_learnt(predictions: pd.DataFrame) -> bool:
    """Whether outcomes of these rows are known, but none was predicted: see ``NOT_LEARNT``."""
    known = predictions.dropna(subset=["label"])
    return bool(len(known)) and bool(known["probability"].isna().all())


def make_unknown_figure(reason: str) -> dict[str, object]:
    """Make the entry of a metric that cannot be computed: None with the reason, never NaN and never missing."""
    return {"value": None, "low": None, "high": None, "reason": reason}

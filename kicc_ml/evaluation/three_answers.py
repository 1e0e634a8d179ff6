"""Three questions that a metric over hospitals can answer, each with its own interval or the reason why it has none.

- ``these_hospitals``: patients like these at these very hospitals. Hospitals are strata, their variances add.
- ``hospitals_like_these``: the mean of hospitals, of which these are a sample. Random effects, t(hospitals - 1).
- ``new_hospital``: where the figure of one hospital not yet seen will lie. The prediction interval.

A headline AUC, and every comparison, answers the second where it has an interval, else the first; other figures are
those of all cases and answer the first. ``question`` says which. Methods were chosen by simulation: ``README.md`` of
this folder has the table, :mod:`kicc_ml.evaluation.hospital_effects` the rule for hospitals with few events.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kicc_ml.evaluation.hospital_effects import Effects
from kicc_ml.evaluation.intervals import Estimate, Interval, Scale
from kicc_ml.evaluation.meta_analysis import Pooled, pool, transform_back

QUESTIONS = ("these_hospitals", "hospitals_like_these", "new_hospital")


@dataclass(frozen=True)
class Answers:
    """The figure of all cases of these hospitals, and the meta-analysis of the hospitals on ``scale``."""

    these: Estimate
    pooled: Pooled
    scale: Scale

    @property
    def question(self) -> str:
        """The one that a headline answers."""
        return "these_hospitals" if self.pooled.mean is None else "hospitals_like_these"

    @property
    def p(self) -> float | None:
        """Two-sided p of the answer to ``question`` being 0."""
        return self.these.p if self.pooled.mean is None else self.pooled.p

    def figure(self, question: str, low: float = float("-inf"), high: float = float("inf")) -> dict[str, Any]:
        """Return the answer to ``question``, and under their names all three answers, each with bounds or a reason.

        ``low`` and ``high`` are bounds of what is possible (0 and 1 for a share), which no interval leaves.
        """
        pooled = transform_back(self.pooled, self.scale)
        found = {
            "these_hospitals": _make_answer(self.these.figure, self.these.interval),
            "hospitals_like_these": _make_answer(pooled.mean, pooled.interval),
            "new_hospital": _make_answer(pooled.mean, pooled.predicted),
        }
        bounded = {name: _clip_bounds(answer, low, high) for name, answer in found.items()}
        first = {name: value for name, value in bounded[question].items() if name != "reason" or value}
        return first | {"question": question} | bounded


def make_answers(these: Estimate, effects: Effects) -> Answers:
    """Combine the estimate of all cases with the meta-analysis of ``effects``."""
    pooled = pool(effects.effect_k, effects.variance_k)
    if these.reason and not effects.site_k.size:
        pooled = replace(pooled, reason=these.reason, predicted_reason=these.reason)
    return Answers(these, pooled, effects.scale)


def make_unanswered(reason: str) -> dict[str, Any]:
    """Make the entry of a metric that cannot be computed: None with the reason for every question."""
    nothing = {"value": None, "low": None, "high": None, "reason": reason}
    return nothing | {name: dict(nothing) for name in QUESTIONS}


def _make_answer(value: float | None, interval: Interval) -> dict[str, Any]:
    if value is not None and not np.isfinite(value):  # the mean of hospitals of which one has a ratio beyond measure
        value = None
    return {"value": value, "low": interval.low, "high": interval.high, "reason": interval.reason}


def _clip_bounds(answer: dict[str, Any], low: float, high: float) -> dict[str, Any]:
    clipped = {name: min(max(answer[name], low), high) for name in ("low", "high") if answer[name] is not None}
    return answer | clipped

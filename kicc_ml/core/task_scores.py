"""What is computed from the masks of each scan: the severity score of the chest, and scores of the user's own.

An own score is a function ``score(masks, volume)``: ``masks`` are bool ``[x, y, z]`` by region, ``volume`` is the
:class:`kicc_ml.core.types.Volume` on whose grid they lie. It returns a number, or None where it is not known.
"""

import inspect
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import PARTIAL, TARGET, build_part
from kicc_ml.core.types import Volume

logger = logging.getLogger(__name__)

Score = Callable[[Mapping[str, np.ndarray], Volume], float | None]
#: Begins the column of an own score in tables; that of the reference masks ends with ``_truth``.
COLUMN = "score_"
#: Names of scores. Tables have columns of other meaning with these ends.
NAME = re.compile(r"(?!\w*_(?:truth|reason|dice)\Z)[A-Za-z]\w{0,40}", re.ASCII)


@dataclass(frozen=True)
class TaskScores:
    """The scores of a task.

    Attributes:
        severity: whether the severity of pneumonia is graded (:mod:`kicc_ml.severity.grade`).
        settings: JSON of the settings of own scores, by name.
    """

    severity: bool = True
    settings: str = "{}"

    @property
    def parts(self) -> dict[str, Mapping[str, Any]]:
        """The settings of each own score, by name."""
        return json.loads(self.settings)

    @cached_property
    def functions(self) -> dict[str, Score]:
        """The own scores, by name. Raises UserError for one that cannot be imported or does not take a scan."""
        built = {name: build_part({**part, PARTIAL: True}) for name, part in self.parts.items()}
        for name, score in built.items():
            try:
                inspect.signature(score).bind({}, None)
            except (TypeError, ValueError) as error:
                target, reason = self.parts[name][TARGET], error.__cause__ or error
                raise UserError(f"task.scores.{name}: {target} is no score(masks, volume): {reason}") from error
        return built

    def check(self) -> None:
        """Raise UserError for an own score that cannot be imported or does not take a scan."""
        _ = self.functions

    def compute(
        self, masks: Mapping[str, np.ndarray], volume: Volume
    ) -> tuple[dict[str, float | None], tuple[str, ...]]:
        """Compute the own scores of one scan.

        Args:
            masks: bool ``[x, y, z]`` by region, on the grid of ``volume``.
            volume: the scan.

        Returns:
            the scores by name, and for each that failed, the reason; a failed one is None and costs nothing else.
        """
        values: dict[str, float | None] = {}
        reasons = []
        for name, score in self.functions.items():
            try:
                values[name] = _as_number(score(masks, volume))
            except Exception as error:  # functions of others fail in many ways
                values[name] = None
                reasons.append(f"{COLUMN}{name}: {type(error).__name__}: {' '.join(str(error).split())}")
                logger.warning("task.scores.%s has no value of a scan: %s", name, reasons[-1])
        return values, tuple(reasons)


#: Where a task states none: the severity, and nothing else.
SEVERITY_ALONE = TaskScores()


def parse_task_scores(task: Mapping[str, Any] | None) -> TaskScores:
    """Parse ``task.severity`` and ``task.scores`` of plain settings; nothing is imported.

    Raises:
        UserError: a score has no ``_target_`` or no name of a column, or ``task.severity`` is neither true nor false.
    """
    severity, scores = (task or {}).get("severity", True), (task or {}).get("scores") or {}
    if type(severity) is not bool:
        raise UserError(f"task.severity={severity} is neither true nor false")
    if not isinstance(scores, Mapping):
        raise UserError(f"task.scores={scores!r} holds no scores by name")
    parts = {str(name): part for name, part in scores.items() if part is not None}
    for name, part in parts.items():
        if not NAME.fullmatch(name):
            raise UserError(
                f"task.scores: {name!r} is no name of a score; use letters, digits and _, and none of _truth, _reason "
                "and _dice at its end"
            )
        if not isinstance(part, Mapping) or TARGET not in part:
            raise UserError(f"task.scores.{name} names no function; say +task.scores.{name}._target_=mypackage.score")
    try:
        return TaskScores(severity, json.dumps(parts))
    except TypeError as error:
        raise UserError(f"task.scores is not understood ({error})") from error


def _as_number(value: Any) -> float | None:
    number = None if value is None else float(value)
    if number is not None and not isfinite(number):
        raise ValueError(f"it is {number}, which is no number")
    return number

"""What travels between the coordinator and a hospital, and the check of what leaves a hospital.

A message holds figures (numbers under names) and arrays (weights of the network). An answer of a hospital has no text,
no list and no array but the weights that it was sent: a row, an image or a name of a patient has no place in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from kicc_ml.core.errors import UserError

#: The tasks that a hospital answers.
SUMS, TRAIN, JUDGE = "sums", "train", "judge"

#: In a question for sums: whether the items of Table 1 are wanted too.
TABLE = "table"

#: The one text that an answer may hold: why the hospital does not take part, in a sentence of this project.
REFUSED = "refused"

#: Numbers in an answer: a clinical table has some hundred columns, each with three sums.
MOST_FIGURES = 10_000

#: Weights of a round are floating-point numbers; 64 bits come from nobody's network.
WEIGHTS_DTYPE = np.float32


@dataclass(frozen=True)
class Message:
    """A question of the coordinator, or an answer of a hospital."""

    figures: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class NotSent(UserError):
    """An answer holds what may not leave the hospital; it is not sent."""


class HospitalRefuses(UserError):
    """A hospital does not take part in what it was asked for. Its message holds nothing of the hospital's data."""


def check_answer(answer: Message, question: Message) -> Message:
    """Check that an answer holds only what may leave a hospital.

    Args:
        answer: what the hospital would send.
        question: what it was asked; its arrays are the weights of the network.

    Returns:
        the answer.

    Raises:
        NotSent: the answer holds a text, a list, too many numbers, or an array that is not one of the weights.
    """
    if set(answer.figures) != {REFUSED}:
        count = _count_numbers(answer.figures, "figures")
        if count > MOST_FIGURES:
            raise NotSent(f"an answer of {count} figures is not sent; {MOST_FIGURES} are the most that sums need")
    for name, array in answer.arrays.items():
        asked = question.arrays.get(name)
        if asked is None or asked.shape != array.shape or array.dtype != WEIGHTS_DTYPE:
            raise NotSent(f"the array {name} is not sent: it is no weight of the network that was received")
    return answer


def is_usable(task: str, answer: Message, question: Message) -> bool:
    """Tell whether an answer can be worked with: a hospital may run another program than this one.

    Args:
        task: ``sums``, ``train`` or ``judge``.
        answer: what came.
        question: what was asked.

    Returns:
        whether it holds numbers alone, its number of patients, and for ``train`` all weights, finite, and a loss.
    """
    try:
        check_answer(answer, question)
    except NotSent:
        return False
    patients, loss = answer.figures.get("patients"), answer.figures.get("loss")
    if task in (SUMS, TRAIN) and not (isinstance(patients, int) and patients > 0):
        return False
    if task != TRAIN:
        return True
    whole = set(answer.arrays) == set(question.arrays) and isinstance(loss, int | float)
    return whole and all(np.isfinite(array).all() for array in answer.arrays.values())


def _count_numbers(value: Any, place: str) -> int:
    """Count the numbers below a name. Raises NotSent for anything that is neither a number, None nor a mapping."""
    if isinstance(value, Mapping):
        return sum(_count_numbers(below, f"{place}.{name}") for name, below in value.items())
    if value is None or (isinstance(value, int | float) and isfinite(value)):
        return 1
    raise NotSent(f"{place} is not sent: it is no finite number")

"""Whether intervals support a claim: the rule by which verdicts and comparisons say "better", "worse", "too high".

A claim needs an interval that excludes the value of no effect. The interval of hospitals like these is made from the
spread of the hospitals' figures alone. A few hospitals can agree, by chance, more closely than the number of their
patients allows; this interval is then narrower than that of these very hospitals. But the mean of hospitals of which
these are a sample cannot be known better than the mean of these. So an interval of hospitals like these that is the
narrower one supports a claim only if the interval of these hospitals supports it too. The rule takes claims back and
makes none: no more claims are false with it than without it.
"""

from collections.abc import Mapping
from typing import Any

from kicc_ml.evaluation.intervals import Scale, transform_to_scale

#: Why nothing is claimed of hospitals like these, although their interval excludes the value of no effect.
TOO_NARROW = (
    "these hospitals agree more closely than so few patients allow, which may be chance: their interval is narrower "
    "than that of these very hospitals"
)


def find_side(figure: Mapping[str, Any], null: float) -> int:
    """Find the side of ``null`` on which an interval lies.

    Args:
        figure: ``low`` and ``high``, each of which may be None.
        null: the value of no effect.

    Returns:
        1 if it lies above, -1 if it lies below, 0 if it holds ``null`` or does not exist.
    """
    if figure["low"] is None:
        return 0
    return int(figure["low"] > null) - int(figure["high"] < null)


def find_supported_side(answers: Mapping[str, Any], question: str, null: float, scale: Scale = "identity") -> int:
    """Find the side of ``null`` that may be claimed as the answer to a question.

    Args:
        answers: the figures of the three questions by name (:mod:`kicc_ml.evaluation.three_answers`).
        question: the question.
        null: the value of no effect.
        scale: the scale on which the widths of two intervals are compared.

    Returns:
        that of :func:`find_side`, but 0 for hospitals like these if their interval is narrower than that of these
        hospitals and that of these hospitals does not lie on the same side.
    """
    side = find_side(answers[question], null)
    if not side or question != "hospitals_like_these" or side == find_side(answers["these_hospitals"], null):
        return side
    return 0 if is_too_narrow(answers, scale) else side


def is_too_narrow(answers: Mapping[str, Any], scale: Scale = "identity") -> bool:
    """Decide whether hospitals like these have a narrower interval than these hospitals, or these have none.

    Args:
        answers: the figures of the three questions by name; hospitals like these have an interval.
        scale: the scale on which the widths are compared.
    """
    these, like = answers["these_hospitals"], answers["hospitals_like_these"]
    if these["low"] is None:
        return True
    return _compute_width(like, scale) < _compute_width(these, scale)


def _compute_width(figure: Mapping[str, Any], scale: Scale) -> float:
    return float(transform_to_scale(figure["high"], scale) - transform_to_scale(figure["low"], scale))


def choose_headline_question(auroc: Mapping[str, Any]) -> str:
    """Choose the question whose AUC stands alone in a line: that of the headline, if it may be claimed."""
    question = str(auroc["question"])
    unsupported = find_side(auroc[question], 0.5) != find_supported_side(auroc, question, 0.5, "logit")
    return "these_hospitals" if unsupported else question


def describe_order(auroc: Mapping[str, Any]) -> str:
    """Describe whether the AUC of :func:`choose_headline_question` is shown to differ from chance.

    Args:
        auroc: the figures of the three questions by name.

    Returns:
        a clause without its subject, in the words of the verdict.
    """
    side = find_supported_side(auroc, choose_headline_question(auroc), 0.5, "logit")
    return {
        1: "orders patients better than chance",
        0: "is not shown to order patients better than chance",
        -1: "orders patients worse than chance",
    }[side]

"""Write in plain sentences whether the predicted risks can be used as they are: level and slope of the calibration.

The sentence speaks of hospitals like these if, for them, (1) observed / expected and slope both have an interval, (2)
the interval of the slope excludes 0 (no relation) or 1 (the ideal), and (3) no interval shows a fault that it may not
claim (:mod:`kicc_ml.evaluation.supported`). Otherwise it speaks of these hospitals and says why; where (1) or (2) fail
for these too, the calibration cannot be checked. So in one report the sentences of two endpoints can speak of
different hospitals.
"""

from collections.abc import Mapping
from typing import Any

from kicc_ml.evaluation.intervals import Scale
from kicc_ml.evaluation.supported import TOO_NARROW, find_side, find_supported_side
from kicc_ml.evaluation.text import QUESTION_NAMES, capitalize, format_bounds, format_number, name_model

#: A figure of a model: its value, interval, question and the three answers.
Figure = Mapping[str, Any]

#: The metrics of the sentence, and the scale of each.
SCALES: Mapping[str, Scale] = {"observed_expected": "log", "calibration_slope": "identity"}


def describe_calibration(scored: Mapping[str, Any], model: str) -> str:
    """Describe level and slope of a model's risks, and at which hospitals.

    Args:
        scored: the figures of the model for one endpoint, with the three answers of each.
        model: the model's name.

    Returns:
        one or more sentences.
    """
    who = f"the risks of the {name_model(model)}"
    if not (unusable := _find_unusable_reason(scored, "hospitals_like_these") or _find_unsupported_reason(scored)):
        question = "hospitals_like_these"
    elif why := _find_unusable_reason(scored, "these_hospitals"):
        return f"{capitalize(who)} cannot be checked for calibration: {why}."
    else:
        question = "these_hospitals"
    slope, ratio = scored["calibration_slope"][question], scored["observed_expected"][question]
    said = f"{capitalize(QUESTION_NAMES[question])} {_describe_level(ratio, model)} {_describe_slope(slope)}"
    if question == "these_hospitals":
        return f"{said} Nothing is said of hospitals like these: {unusable}."
    these = [scored[name]["these_hospitals"] for name in SCALES]
    further = [
        fault
        for fault, elsewhere in zip(_find_faults(*these), _find_faults(ratio, slope), strict=True)
        if fault and not elsewhere
    ]
    return f"{said} At these very hospitals its risks are {' and '.join(further)}." if further else said


def _find_unusable_reason(scored: Mapping[str, Any], question: str) -> str:
    """Find why the two intervals of a question say nothing of the calibration; "" if they do."""
    slope, ratio = scored["calibration_slope"], scored["observed_expected"]
    for figure in (slope, ratio):
        if figure["value"] is None or figure[question]["low"] is None:
            return str(figure[question].get("reason") or figure.get("reason"))
    if slope[question]["low"] < 0 and slope[question]["high"] > 1:
        return f"the slope may be anything from none to ideal ({_format_figure(slope[question])})"
    return ""


def _find_unsupported_reason(scored: Mapping[str, Any]) -> str:
    """Find whether an interval of hospitals like these shows a fault that it may not claim."""
    question = "hospitals_like_these"
    unsupported = any(
        find_side(scored[name][question], 1.0) != find_supported_side(scored[name], question, 1.0, scale)
        for name, scale in SCALES.items()
    )
    return TOO_NARROW if unsupported else ""


def _find_faults(ratio: Figure, slope: Figure) -> tuple[str, str]:
    """Find what the intervals show to be wrong with level and slope; "" for what they do not."""
    return (
        _name_side(ratio, "too high on the whole", "too low on the whole"),
        _name_side(slope, "too extreme", "too close to the mean"),
    )


def _name_side(figure: Figure, below: str, above: str) -> str:
    return {-1: below, 0: "", 1: above}[find_side(figure, 1.0)]


def _describe_level(ratio: Figure, model: str) -> str:
    """Describe observed / expected as events per 100 that the model expects."""
    said = _name_side(ratio, "its risks are too high on the whole", "its risks are too low on the whole")
    events, low, high = (round(100 * ratio[name]) for name in ("value", "low", "high"))
    return (
        f"{events} events happen for every 100 that the {name_model(model)} expects, by the interval {low} to {high}: "
        f"{said or 'not shown to be too few or too many'} (observed / expected {_format_figure(ratio)})."
    )


def _describe_slope(slope: Figure) -> str:
    said = _name_side(
        slope,
        "Its risks are too extreme: high ones are too high, and low ones too low",
        "Its risks are too close to the mean: high ones are too low, and low ones too high",
    )
    said = said or "That its high and low risks lie too far apart, or too close together, is not shown"
    return f"{said} (slope {_format_figure(slope)})."


def _format_figure(figure: Mapping[str, Any]) -> str:
    """Within brackets, where an estimate can have none of its own."""
    return f"{format_number(figure['value'])}, {format_bounds(figure)}"

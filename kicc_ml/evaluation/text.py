"""Format metrics and names for the report and the terminal."""

from collections.abc import Mapping
from typing import Any

METRIC_NAMES = {
    "dice": "Dice",
    "nsd_1mm": "surface Dice 1 mm",
    "nsd_2mm": "surface Dice 2 mm",
    "nsd_3mm": "surface Dice 3 mm",
    "hd95_mm": "HD95, mm",
    "volume_error_ml": "volume error, mL",
    "volume_error_percent": "volume error, % of lung",
    "lesionwise_precision": "lesion-wise precision",
    "lesionwise_recall": "lesion-wise recall",
    "lesionwise_f1": "lesion-wise F1",
    "auroc": "AUC within hospitals",
    "auroc_pooled": "AUC pooled",
    "auprc": "average precision",
    "brier": "Brier",
    "scaled_brier": "scaled Brier",
    "observed_expected": "observed / expected",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}

#: Questions of :mod:`kicc_ml.evaluation.three_answers` as parts of a sentence.
QUESTION_NAMES = {
    "these_hospitals": "at these hospitals",
    "hospitals_like_these": "at hospitals like these",
    "new_hospital": "at a new hospital",
}

#: How sentences call the models of a run.
MODEL_NAMES = {"network": "network", "clinical": "clinical model", "age_sex": "model of age and sex"}


def format_number(value: float | None, digits: int = 2) -> str:
    """``0.78``, or a dash where there is no value."""
    return "–" if value is None else f"{value:.{digits}f}"


def format_bounds(estimate: Mapping[str, Any], digits: int = 2) -> str:
    """``0.71 to 0.84``, or a dash where there is no interval."""
    low, high = estimate["low"], estimate["high"]
    return "–" if low is None else f"{low:.{digits}f} to {high:.{digits}f}"


def format_estimate(estimate: Mapping[str, Any] | None, digits: int = 2) -> str:
    """Write an estimate with its interval as it is read everywhere.

    Args:
        estimate: ``value`` (of a mean ``mean``, of a comparison ``difference``) and the bounds ``low`` and ``high``.
        digits: number of decimals.

    Returns:
        ``0.78 (0.71 to 0.84)``, ``0.78`` where there is no interval, a dash where there is no value.
    """
    estimate = estimate or {}
    value = estimate.get("value", estimate.get("mean", estimate.get("difference")))
    if value is None or estimate.get("low") is None:
        return format_number(value, digits)
    return f"{format_number(value, digits)} ({format_bounds(estimate, digits)})"


def format_p(value: float | None) -> str:
    """Format a p-value."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def make_label(name: str) -> str:
    """Return the name of an endpoint or a column within a sentence."""
    return "ICU" if name == "icu" else name.replace("_", " ")


def make_heading(endpoint: str) -> str:
    """Return the name of an endpoint at the start of a sentence."""
    return capitalize(make_label(endpoint))


def capitalize(sentence: str) -> str:
    """Capitalise the first letter alone, so that abbreviations stay as they are."""
    return sentence[:1].upper() + sentence[1:]


def name_model(model: str) -> str:
    """Return how sentences call a model: ``clinical model``, and a model of another name ``model NAME``."""
    return MODEL_NAMES.get(model, f"model {model}")

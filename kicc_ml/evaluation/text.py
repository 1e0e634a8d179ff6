"""Figures and names as they are read: in the report, in the terminal."""

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

#: Of :mod:`kicc_ml.evaluation.three_answers`, as a sentence takes them.
QUESTION_NAMES = {
    "these_hospitals": "at these hospitals",
    "hospitals_like_these": "at hospitals like these",
    "new_hospital": "at a new hospital",
}


def figure_text(figure: Mapping[str, Any] | None, digits: int = 2) -> str:
    """``0.78 (0.71 to 0.84)``, ``0.78`` where there is no interval, a dash where there is no value."""
    value = None if figure is None else figure.get("value", figure.get("mean", figure.get("difference")))
    if figure is None or value is None:
        return "–"
    if figure.get("low") is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({bounds_text(figure, digits)})"


def bounds_text(figure: Mapping[str, Any], digits: int = 2) -> str:
    """``0.71 to 0.84``, or a dash where there is no interval."""
    return "–" if figure["low"] is None else f"{figure['low']:.{digits}f} to {figure['high']:.{digits}f}"


def p_text(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def words(name: str) -> str:
    return "ICU" if name == "icu" else name.replace("_", " ")


def heading(endpoint: str) -> str:
    return capital(words(endpoint))


def capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]

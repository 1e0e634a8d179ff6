"""What stands beside the figures of the outcome models: meta-analysis, comparisons, curves.

Everything here is plain lists and numbers for ``summary.json``; what does not exist is None with its reason.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from kicc_ml.evaluation.calibration import smooth_curve
from kicc_ml.evaluation.comparison import compare
from kicc_ml.evaluation.decision_curve import decision_curve
from kicc_ml.evaluation.discrimination import site_pairs
from kicc_ml.evaluation.hospital_effects import Effects, area_effects
from kicc_ml.evaluation.meta_analysis import brought_back, pool
from kicc_ml.evaluation.rows import Rows, outside, rows_of

#: Points kept of a smooth curve, at equal shares of the cases.
CURVE_POINTS = 101

METHODS: dict[str, Literal["REML", "DL"]] = {"reml": "REML", "dersimonian_laird": "DL"}

#: The model that the others are there to judge.
JUDGED = "network"


def per_model(predictions: pd.DataFrame) -> Iterator[tuple[str, str, Rows]]:
    """Endpoint, model and rows of everything that was predicted."""
    if not predictions.empty:
        for (endpoint, model), table in predictions.groupby(["endpoint", "model"], sort=False):
            yield str(endpoint), str(model), rows_of(table)


def meta_analyses(predictions: pd.DataFrame) -> dict[str, Any]:
    """``<endpoint>.<model>.{reml,dersimonian_laird}`` of the hospitals' areas.

    ``few`` are hospitals under the rule for few events, ``left_out`` those without an area: one class, or nobody known.
    """
    found: dict[str, Any] = {}
    for endpoint, model, rows in per_model(predictions):
        pairs = site_pairs(rows)
        effects = area_effects(pairs)
        named = {"few": pairs.site_s[pairs.few_s], "left_out": sorted({*rows.site_n} - {*pairs.site_s})}
        sites = {name: [str(site) for site in named[name]] for name in named}
        figures = {name: _pooled(effects, method) for name, method in METHODS.items()}
        found.setdefault(endpoint, {})[model] = figures | sites
    return found


def comparisons(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Models from outside, else the network, against each other model; where there is neither, every two."""
    if predictions.empty:
        return []
    models = list(dict.fromkeys(predictions["model"]))
    judged = outside(models) or [model for model in models if model == JUDGED] or models
    pairs = [
        (one, other)
        for one, other in combinations(sorted(models, key=lambda model: model not in judged), 2)
        if one in judged
    ]
    rows = compare(predictions, pairs)
    return [_without_empty_reason(row) for row in rows]


def decision_curves(predictions: pd.DataFrame) -> dict[str, Any]:
    """``<endpoint>.<model>`` as columns of equal length."""
    found: dict[str, Any] = {}
    for endpoint, model, rows in per_model(predictions):
        curve = decision_curve(rows)
        found.setdefault(endpoint, {})[model] = {name: _plain(curve[name]) for name in curve}
    return found


def calibration_curves(predictions: pd.DataFrame) -> dict[str, Any]:
    """``<endpoint>.<model>.{predicted,observed}``, empty with a ``reason`` where there is no curve."""
    found: dict[str, Any] = {}
    for endpoint, model, rows in per_model(predictions):
        curve = smooth_curve(rows)
        size = len(curve.predicted_n)
        place_p = np.unique(np.linspace(0, size - 1, min(CURVE_POINTS, size)).astype(int))
        columns = {"predicted": _plain(curve.predicted_n[place_p]), "observed": _plain(curve.observed_n[place_p])}
        found.setdefault(endpoint, {})[model] = columns | ({"reason": curve.reason} if curve.reason else {})
    return found


def _pooled(effects: Effects, method: Literal["REML", "DL"]) -> dict[str, Any]:
    """``reason`` says why there is no mean, or no range for a new hospital."""
    row = vars(brought_back(pool(effects.effect_k, effects.variance_k, method), effects.scale))
    reason = {"reason": row["reason"] or row["predicted_reason"]}
    kept = {name: value for name, value in row.items() if name != "predicted_reason"}
    return _without_empty_reason(kept | reason)


def _plain(values: Any) -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _without_empty_reason(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "reason" or value}

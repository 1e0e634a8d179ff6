"""Further tables of the outcome models: meta-analyses, comparisons, curves.

Everything here is plain lists and numbers for ``summary.json``; what does not exist is None with its reason.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from kicc_ml.evaluation.calibration import compute_smooth_curve
from kicc_ml.evaluation.comparison import compare
from kicc_ml.evaluation.decision_curve import compute_decision_curve
from kicc_ml.evaluation.discrimination import compute_site_pairs
from kicc_ml.evaluation.hospital_effects import Effects, compute_area_effects
from kicc_ml.evaluation.meta_analysis import pool, transform_back
from kicc_ml.evaluation.rows import BinaryOutcomes, list_outside_models, make_binary_outcomes

#: Points kept of a smooth curve, at equal shares of the cases.
CURVE_POINTS = 101

METHODS: dict[str, Literal["REML", "DL"]] = {"reml": "REML", "dersimonian_laird": "DL"}

#: The model that is compared with the others.
MAIN_MODEL = "network"


def iterate_models(predictions: pd.DataFrame) -> Iterator[tuple[str, str, BinaryOutcomes]]:
    """Iterate over endpoint, model and outcomes of all predictions."""
    if not predictions.empty:
        for (endpoint, model), table in predictions.groupby(["endpoint", "model"], sort=False):
            yield str(endpoint), str(model), make_binary_outcomes(table)


def compute_meta_analyses(predictions: pd.DataFrame) -> dict[str, Any]:
    """Compute ``<endpoint>.<model>.{reml,dersimonian_laird}`` of the hospitals' areas.

    ``few`` are hospitals under the rule for few events, ``left_out`` those without an area: one class, or nobody known.
    """
    found: dict[str, Any] = {}
    for endpoint, model, rows in iterate_models(predictions):
        pairs = compute_site_pairs(rows)
        effects = compute_area_effects(pairs)
        named = {"few": pairs.site_s[pairs.few_s], "left_out": sorted({*rows.site_n} - {*pairs.site_s})}
        sites = {name: [str(site) for site in named[name]] for name in named}
        figures = {name: _pool_effects(effects, method) for name, method in METHODS.items()}
        found.setdefault(endpoint, {})[model] = figures | sites
    return found


def compare_models(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Compare outside models, or else the network, with each other model; without either, compare all pairs."""
    if predictions.empty:
        return []
    models = list(dict.fromkeys(predictions["model"]))
    judged = list_outside_models(models) or [model for model in models if model == MAIN_MODEL] or models
    pairs = [
        (one, other)
        for one, other in combinations(sorted(models, key=lambda model: model not in judged), 2)
        if one in judged
    ]
    rows = compare(predictions, pairs)
    return [_drop_empty_reason(row) for row in rows]


def compute_decision_curves(predictions: pd.DataFrame) -> dict[str, Any]:
    """Compute the decision curves ``<endpoint>.<model>`` as columns of equal length."""
    found: dict[str, Any] = {}
    for endpoint, model, rows in iterate_models(predictions):
        curve = compute_decision_curve(rows)
        found.setdefault(endpoint, {})[model] = {name: _convert_to_plain(curve[name]) for name in curve}
    return found


def compute_calibration_curves(predictions: pd.DataFrame) -> dict[str, Any]:
    """Compute the curves ``<endpoint>.<model>.{predicted,observed}``, empty with a ``reason`` if there is none."""
    found: dict[str, Any] = {}
    for endpoint, model, rows in iterate_models(predictions):
        curve = compute_smooth_curve(rows)
        size = len(curve.predicted_n)
        place_p = np.unique(np.linspace(0, size - 1, min(CURVE_POINTS, size)).astype(int))
        columns = {
            "predicted": _convert_to_plain(curve.predicted_n[place_p]),
            "observed": _convert_to_plain(curve.observed_n[place_p]),
        }
        found.setdefault(endpoint, {})[model] = columns | ({"reason": curve.reason} if curve.reason else {})
    return found


def _pool_effects(effects: Effects, method: Literal["REML", "DL"]) -> dict[str, Any]:
    """Pool effects; ``reason`` says why there is no mean, or no range for a new hospital."""
    row = vars(transform_back(pool(effects.effect_k, effects.variance_k, method), effects.scale))
    reason = {"reason": row["reason"] or row["predicted_reason"]}
    kept = {name: value for name, value in row.items() if name != "predicted_reason"}
    return _drop_empty_reason(kept | reason)


def _convert_to_plain(values: Any) -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _drop_empty_reason(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "reason" or value}

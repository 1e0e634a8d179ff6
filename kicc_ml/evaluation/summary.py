"""All metrics of a run as one JSON, overall and by hospital.

Two tables come in. ``cases``: one row per case with ``case_id``, ``site``, ``fold``, the columns of
:func:`kicc_ml.evaluation.segmentation.make_case_columns`, and where they are known ``severity_score``,
``severity_score_truth``, ``percent_involved``, ``percent_involved_truth``. ``predictions``: one row per case,
endpoint and model with ``case_id``, ``site``, ``fold``, ``endpoint``, ``model``, ``probability``, ``label``
(empty where unknown). Either may have no rows. A third, ``groups``, may hold ``case_id`` and what
:data:`kicc_ml.evaluation.subgroups.GROUPINGS` lists. The same shape comes out whatever was run: what there is no
data for is None with a reason.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.schemas.versions import add_version
from kicc_ml.core.shown import escape_json
from kicc_ml.core.types import ENDPOINTS
from kicc_ml.evaluation import agreement, outcome, segmentation
from kicc_ml.evaluation.hospital_effects import compute_mean_effects
from kicc_ml.evaluation.intervals import compute_stratified_estimate
from kicc_ml.evaluation.multisite import list_endpoints, list_not_evaluable, list_regions, list_sites, select_site
from kicc_ml.evaluation.outcome_tables import (
    compare_models,
    compute_calibration_curves,
    compute_decision_curves,
    compute_meta_analyses,
)
from kicc_ml.evaluation.rows import (
    COMPARED,
    MODELS,
    NOT_LEARNT,
    list_outside_models,
    make_binary_outcomes,
    was_not_learnt,
)
from kicc_ml.evaluation.subgroups import score_subgroups
from kicc_ml.evaluation.three_answers import make_answers, make_unanswered
from kicc_ml.evaluation.verdict import write_verdicts

#: Of ``summary.csv``.
NUMBER_COLUMNS = ("value", "low", "high", "n", "events", "sites", "question", "model", "against", "metric", "reason")

#: Points of curves, which are figures only together.
CURVES = ("decision_curve", "calibration_curve")

#: Metrics that are a length, in millimetres or, where spacing is unknown, in voxels.
LENGTHS = ("nsd_1mm", "nsd_2mm", "nsd_3mm", "hd95_mm")

#: Shares cannot leave 0 to 1, so neither do their intervals.
SHARES = ("dice", "nsd_1mm", "nsd_2mm", "nsd_3mm", *segmentation.DETECTION_METRICS)


def summarise(cases: pd.DataFrame, predictions: pd.DataFrame, groups: pd.DataFrame | None = None) -> dict[str, Any]:
    """Compute the content of ``summary.json``.

    Raises:
        UserError: a case is predicted twice by a model.
    """
    _refuse_duplicates(cases, ["case_id"], "cases")
    _refuse_duplicates(predictions, ["case_id", "endpoint", "model"], "predictions")
    sites = list_sites(cases, predictions)
    summary = {
        **_compute_figures(cases, predictions),
        "sites": {site: _compute_figures(select_site(cases, site), select_site(predictions, site)) for site in sites},
        "not_evaluable": list_not_evaluable(cases, predictions),
        "meta_analysis": compute_meta_analyses(predictions),
        "comparisons": compare_models(predictions),
        "decision_curve": compute_decision_curves(predictions),
        "calibration_curve": compute_calibration_curves(predictions),
        "subgroups": [] if groups is None else score_subgroups(_select_headline_models(predictions), groups),
    }
    return summary | write_verdicts(summary)


def format_summary(summary: dict[str, Any]) -> str:
    """Format the summary with its version as strict JSON; a NaN in it raises ValueError."""
    return (
        escape_json(json.dumps(add_version("summary", summary), indent=2, allow_nan=False, ensure_ascii=False)) + "\n"
    )


def list_numbers(summary: dict[str, Any]) -> pd.DataFrame:
    """List every metric of the summary as a row: its path, value, interval, counts and reason."""
    return pd.DataFrame(list(_walk_figures(summary, ())), columns=["figure", *NUMBER_COLUMNS])


def list_models(predictions: pd.DataFrame) -> list[str]:
    """List the models with predictions, the network first, unknown names last."""
    present = set(predictions["model"]) if "model" in predictions else set()
    return [name for name in MODELS if name in present] + sorted(present - set(MODELS))


def _walk_figures(node: Any, path: tuple[str, ...]) -> Iterator[list[Any]]:
    if isinstance(node, list):
        node = {str(place): child for place, child in enumerate(node)}
    if not isinstance(node, dict):
        return
    named = node | {"value": node.get("value", node.get("mean", node.get("difference")))}
    if "low" in node:
        yield [".".join(path), *(named.get(column) for column in NUMBER_COLUMNS)]
    for key, child in node.items():
        if key not in CURVES:
            yield from _walk_figures(child, (*path, str(key)))


def _select_headline_models(predictions: pd.DataFrame) -> pd.DataFrame:
    """Select the predictions of outside models and of compared models; all, if there are neither."""
    if "model" not in predictions:
        return predictions
    shown = predictions["model"].isin([*list_outside_models(predictions["model"]), *COMPARED])
    return predictions[shown] if shown.any() else predictions


def _compute_figures(cases: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, Any]:
    people = {str(case) for table in (cases, predictions) if "case_id" in table for case in table["case_id"]}
    return {
        "n": len(people),
        "segmentation": {
            region: {
                metric: _compute_segmentation_figure(cases, region, metric)
                for metric in segmentation.list_metrics(region)
            }
            for region in dict.fromkeys([*REGIONS, *list_regions(cases)])
        },
        "outcome": _compute_outcome_figures(predictions),
        "severity": compute_severity_figures(cases),
    }


def _compute_segmentation_figure(cases: pd.DataFrame, region: str, metric: str) -> dict[str, Any]:
    column = f"{region}_{metric}"
    if column not in cases:
        return _make_unanswered_mean("not predicted, or no reference")
    known = cases.dropna(subset=[column])
    units = set(known["distance_unit"]) if metric in LENGTHS and "distance_unit" in known else set()
    if known.empty or len(units) > 1:
        why = "distances partly in mm, partly in voxels" if units else _find_common_reason(cases, region)
        return _make_unanswered_mean(why)
    figure = _compute_mean_figure(known[column].to_numpy(float), known["site"].to_numpy(str), metric in SHARES)
    if left_out := len(cases) - len(known):
        figure["left_out"] = left_out
    return figure | ({"unit": units.pop()} if units else {})


def _compute_mean_figure(value_n: np.ndarray, site_n: np.ndarray, share: bool) -> dict[str, Any]:
    """Compute the mean over cases as ``mean``, with its three answers; bounds of a share stay within 0 and 1."""
    mean = float(value_n.mean())
    these = compute_stratified_estimate(mean, (value_n - mean) / value_n.size, site_n)
    answers = make_answers(these, compute_mean_effects(value_n, site_n))
    figure = answers.figure("these_hospitals", *((0.0, 1.0) if share else ()))
    return {"mean": figure.pop("value"), "n": len(value_n), **figure}


def _make_unanswered_mean(reason: str) -> dict[str, Any]:
    figure = make_unanswered(reason)
    return {"mean": figure.pop("value"), "n": 0, **figure}


def _find_common_reason(cases: pd.DataFrame, region: str) -> str:
    column = f"{region}_reason"
    reasons = sorted({str(reason) for reason in cases[column].dropna() if reason}) if column in cases else []
    return "; ".join(reasons) or "no case with masks"


def _compute_outcome_figures(predictions: pd.DataFrame) -> dict[str, Any]:
    endpoints = [*ENDPOINTS, *(name for name in list_endpoints(predictions) if name not in ENDPOINTS)]
    return {endpoint: _score_models(predictions, endpoint) for endpoint in endpoints}


def _score_models(predictions: pd.DataFrame, endpoint: str) -> dict[str, Any]:
    rows = predictions[predictions["endpoint"] == endpoint] if "endpoint" in predictions else predictions
    if rows.empty:
        return {"network": {metric: make_unanswered("not predicted") for metric in outcome.METRICS}}
    return {model: _score_model(rows[rows["model"] == model]) for model in list_models(rows)}


def _score_model(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Score one model; ``left_out`` counts cases with known outcome that it did not predict, if any."""
    if was_not_learnt(rows):
        return {name: make_unanswered(NOT_LEARNT) for name in outcome.METRICS}
    figures = outcome.score_outcome(make_binary_outcomes(rows))
    left_out = int((rows["label"].notna() & rows["probability"].isna()).sum())
    return {name: figure | {"left_out": left_out} for name, figure in figures.items()} if left_out else figures


def compute_severity_figures(cases: pd.DataFrame) -> dict[str, Any]:
    """Compute the agreement of score (0 to 24) and percentage with those of the reference masks.

    ``error`` is graded less true, ``absolute_error`` without its sign, each a mean over cases with the three answers.
    """
    score, score_truth, score_site = _select_pairs(cases, "severity_score")
    percent, percent_truth, percent_site = _select_pairs(cases, "percent_involved")
    if not score.size:
        points: dict[str, Any] = {"mae": None, "within_1": None, "within_2": None, "reason": "no graded pair"}
    else:
        points = {
            "mae": float(np.abs(score - score_truth).mean()),
            "within_1": agreement.compute_share_within(score, score_truth, 1),
            "within_2": agreement.compute_share_within(score, score_truth, 2),
        }
    return {
        "score": points | {"n": int(score.size)} | _compute_error_figures(score - score_truth, score_site),
        "percent_involved": _compute_agreement_figures(percent, percent_truth)
        | _compute_error_figures(percent - percent_truth, percent_site),
    }


def _compute_error_figures(error_n: np.ndarray, site_n: np.ndarray) -> dict[str, Any]:
    if not error_n.size:
        return {name: _make_unanswered_mean("no graded pair") for name in ("error", "absolute_error")}
    return {
        "error": _compute_mean_figure(error_n, site_n, False),
        "absolute_error": _compute_mean_figure(np.abs(error_n), site_n, False),
    }


def _compute_agreement_figures(measured_n: np.ndarray, reference_n: np.ndarray) -> dict[str, Any]:
    both_n2 = np.stack([measured_n, reference_n], axis=1)
    icc = agreement.compute_icc_2_1(both_n2)
    figures: dict[str, Any] = {"icc": icc, "n": int(measured_n.size)}
    if icc is None:
        figures["reason"] = "needs two graded pairs that differ"
    r, r_interval = agreement.compute_pearson(measured_n, reference_n)
    figures["icc_interval"] = agreement.compute_icc_interval(both_n2).bounds
    figures["pearson"] = {"value": r} | r_interval.bounds
    limits = agreement.compute_bland_altman(measured_n, reference_n)
    figures["bland_altman"] = {"reason": "fewer than three graded pairs"} if limits is None else _make_limits(limits)
    return figures


def _make_limits(limits: agreement.BlandAltman) -> dict[str, Any]:
    return {
        name: {"value": getattr(limits, name)} | getattr(limits, f"{name}_interval").bounds
        for name in ("bias", "lower", "upper")
    }


def _select_pairs(cases: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Select predicted values, reference values and hospitals of the cases that have both values."""
    both = [column, f"{column}_truth"]
    if not set(both) <= set(cases.columns):
        return np.empty(0), np.empty(0), np.empty(0, str)
    known = cases[both].apply(pd.to_numeric).dropna()
    return known[column].to_numpy(float), known[both[1]].to_numpy(float), cases.loc[known.index, "site"].to_numpy(str)


def _refuse_duplicates(table: pd.DataFrame, key: list[str], name: str) -> None:
    if not set(key) <= set(table.columns):
        return
    if (doubled := table.duplicated(key)).any():
        first = ", ".join(str(value) for value in table.loc[doubled, key].iloc[0])
        raise UserError(f"{name}: {int(doubled.sum())} rows occur twice, for example {first}; keep one of each")

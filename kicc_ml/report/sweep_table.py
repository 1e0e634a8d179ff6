"""Make one table of the main results of several cross-validations that differ in their settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kicc_ml.core.shown import escape_markup, format_count
from kicc_ml.evaluation.summary import MODELS
from kicc_ml.evaluation.text import format_estimate, make_label

DICE, AUC = "lesion_dice", "auc_"


def make_headline(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the lesion Dice, and the AUC of every endpoint by the network or else the first baseline.

    Args:
        summary: the content of ``summary.json`` of a run.

    Returns:
        ``lesion_dice``, ``model``, ``auc_<endpoint>``, and the bounds as ``<name>_low`` and ``<name>_high``; results
        that the run does not have are left out.
    """
    found: dict[str, Any] = {}
    dice = summary["segmentation"].get("lesion", {}).get("dice")
    if dice and dice["mean"] is not None:
        found |= _make_estimate(DICE, dice["mean"], dice)
    outcome = {endpoint: models for endpoint, models in summary["outcome"].items() if _list_scored_models(models)}
    present = {model for models in outcome.values() for model in _list_scored_models(models)}
    if not present:
        return found
    model = next((name for name in MODELS if name in present), min(present))
    found["model"] = model
    for endpoint, models in outcome.items():
        if model in _list_scored_models(models):
            found |= _make_estimate(f"{AUC}{endpoint}", models[model]["auroc"]["value"], models[model]["auroc"])
    return found


def warn_of_selection(tried: int) -> str:
    """Warn that the best of several settings looks better than it is; "" if fewer than two were tried."""
    if tried < 2:
        return ""
    return (
        f"{tried} settings were tried on the same folds. The best of them looks better than it is, because it is "
        "selected by the same results. Report how many were tried, and evaluate the selected one on other patients."
    )


def describe_tried(tried: Mapping[str, Any]) -> str:
    """Say in a report how many settings were tried, and what that means; "" where only these were.

    Args:
        tried: ``count`` and ``compared_by``, as in ``summary.json``.
    """
    if tried["count"] is None or tried["compared_by"] == "reported":
        return warn_of_selection(tried["count"] or 0)
    if tried["compared_by"] == "inner":
        return (
            f"{format_count(tried['count'], 'setting')} were tried. Each fold takes those that were best on its own "
            "validation patients, so that the cases that are reported had no part in the choice (nested selection)."
        )
    return (
        f"A search tried {format_count(tried['count'], 'setting')} and compared them by validation patients. These are "
        "test patients of other folds, so that the figures of the selected setting can look better than they are. "
        "Report how many were tried, and evaluate the selected one on other patients."
    )


def make_sweep_table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Table:
    """Make the table for the terminal; ``keys`` are the settings in which the rows differ."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    figures = [name for name in columns if name not in (*keys, "run_dir") and not name.endswith(("_low", "_high"))]
    table = Table(*map(escape_markup, [*keys, *map(_make_column_heading, figures)]), box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(escape_markup(_format_cell(row, name)) for name in (*keys, *figures)))
    return table


def _list_scored_models(models: Mapping[str, Any]) -> list[str]:
    return [name for name, scored in models.items() if scored["auroc"]["value"] is not None]


def _make_estimate(name: str, value: float, figure: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value, f"{name}_low": figure["low"], f"{name}_high": figure["high"]}


def _make_column_heading(name: str) -> str:
    return f"AUC {make_label(name.removeprefix(AUC))}" if name.startswith(AUC) else make_label(name)


def _format_cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    return format_estimate({"value": value, "low": row.get(f"{name}_low"), "high": row.get(f"{name}_high")})

"""Make the tables of results and comparisons for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kicc_ml.core.shown import escape_markup
from kicc_ml.evaluation.text import METRIC_NAMES, QUESTION_NAMES, format_bounds, format_estimate, format_p, make_label


def make_answer_table(summary: Mapping[str, Any]) -> Table | None:
    """Make the table of the three answers on the AUC of every model; None if no outcome was predicted."""
    rows = [
        (make_label(endpoint), make_label(model), scored["auroc"])
        for endpoint, models in summary["outcome"].items()
        for model, scored in models.items()
        if scored["brier"]["value"] is not None
    ]
    table = Table(
        "endpoint",
        "model",
        *QUESTION_NAMES.values(),
        title="AUC within hospitals",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for endpoint, model, auroc in rows:
        cells = (endpoint, model, *(_format_answer(auroc[name], name) for name in QUESTION_NAMES))
        table.add_row(*map(escape_markup, cells))
    return table if rows else None


def _format_answer(answer: Mapping[str, Any], question: str) -> str:
    if answer["low"] is None and answer["reason"]:
        value = "" if question == "new_hospital" or answer["value"] is None else f"{answer['value']:.2f}, "
        return f"{value}{answer['reason']}"
    return format_bounds(answer) if question == "new_hospital" else format_estimate(answer)


def make_comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Make the table of the rows of :func:`kicc_ml.evaluation.comparison.compare_runs`."""
    headings = ("what", "model", "against", "by", "cases", "difference", "where", "p", "p (Holm)", "better")
    table = Table(*headings, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        named = (make_label(row["endpoint"]), row["model"], row["against"], METRIC_NAMES[row["metric"]], str(row["n"]))
        where = QUESTION_NAMES.get(row["question"], "")
        cells = (*named, format_estimate(row, 3), where, format_p(row["p"]), format_p(row["p_holm"]), row["better"])
        table.add_row(*map(escape_markup, cells))
    return table

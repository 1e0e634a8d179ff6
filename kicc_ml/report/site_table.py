"""Make the table of results by hospital, for the page and the terminal, and say which models results show."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kicc_ml.core.shown import escape_markup
from kicc_ml.evaluation.rows import choose_plotted_models
from kicc_ml.evaluation.text import QUESTION_NAMES, format_number, make_label

#: Name of the last row. All of its figures answer one question, so that models with and without an interval for
#: hospitals like these can be compared.
ALL = f"all, {QUESTION_NAMES['these_hospitals']}"


def list_judged_models(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    """List the endpoints with results, and the models that are shown side by side for each.

    Args:
        summary: the content of ``summary.json``.

    Returns:
        the models by endpoint.
    """
    judged = {
        endpoint: choose_plotted_models([name for name in models if models[name]["brier"]["value"] is not None])
        for endpoint, models in summary["outcome"].items()
    }
    return {endpoint: models for endpoint, models in judged.items() if models}


def make_site_table(summary: Mapping[str, Any]) -> Table:
    """Make the table of hospitals for the terminal.

    Args:
        summary: the content of ``summary.json``.

    Returns:
        the table.
    """
    table = Table(title="By hospital", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    header, rows = make_site_columns(summary)
    for position, column in enumerate(header):
        table.add_column(escape_markup(column), justify="right" if position else "left")
    for row in rows:
        table.add_row(*map(escape_markup, row))
    return table


def make_site_columns(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Make the header and the rows of the table of hospitals, without columns that are empty for all hospitals.

    Args:
        summary: the content of ``summary.json``.

    Returns:
        the header, and for each hospital and for all of them a row.
    """
    judged = list_judged_models(summary)
    aucs = [f"{make_label(endpoint)} AUC, {' / '.join(models)}" for endpoint, models in judged.items()]
    header = ["hospital", "n", "lesion Dice", "severity ±2", *aucs]
    parts = [*summary["sites"].items(), (ALL, summary)]
    rows = [[site, *_make_site_cells(figures_of, judged)] for site, figures_of in parts]
    shown = [column for column in range(len(header)) if column < 2 or any(row[column].strip("– /") for row in rows)]
    return [header[column] for column in shown], [[row[column] for column in shown] for row in rows]


def _make_site_cells(figures_of: Mapping[str, Any], judged: Mapping[str, list[str]]) -> list[str]:
    score, dice = figures_of["severity"]["score"], figures_of["segmentation"]["lesion"]["dice"]
    within_2 = score["within_2"]
    return [
        str(figures_of["n"]),
        format_number(dice["mean"]) + _format_own_n(dice["n"], figures_of["n"]),
        "–" if within_2 is None else f"{100 * within_2:.0f} %" + _format_own_n(score["n"], figures_of["n"]),
        *(
            " / ".join(format_number(_get_auroc(figures_of["outcome"][endpoint], model)) for model in models)
            for endpoint, models in judged.items()
        ),
    ]


def _format_own_n(count: int, cases: int) -> str:
    """Format the number of cases of a figure if it is not that of all cases; "" where there is no figure."""
    return f", n {count}" if 0 < count != cases else ""


def _get_auroc(models: Mapping[str, Any], model: str) -> float | None:
    return models[model]["auroc"]["these_hospitals"]["value"] if model in models else None

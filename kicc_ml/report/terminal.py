"""Comparisons as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kicc_ml.core.shown import markup
from kicc_ml.evaluation.text import METRIC_NAMES, figure_text, p_text, words


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of :func:`kicc_ml.evaluation.comparison.compare_runs` for the terminal."""
    headings = ("what", "model", "against", "by", "cases", "difference", "p", "p (Holm)", "better")
    table = Table(*headings, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        named = (words(row["endpoint"]), row["model"], row["against"], METRIC_NAMES[row["metric"]], str(row["n"]))
        said = (*named, figure_text(row, 3), p_text(row["p"]), p_text(row["p_holm"]), row["better"])
        table.add_row(*map(markup, said))
    return table

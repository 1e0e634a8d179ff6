"""Print the predicted radiologists' scores of radiographs as a table in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kicc_ml.core.shown import escape_markup
from kicc_ml.evaluation.text import format_estimate, make_heading, make_label

HEADINGS = ("score", "model", "n", "Pearson r", "MAE, points", "minus that of the mean", "ICC")
COLUMNS = ("pearson", "mae", "mae_less_mean", "icc")


def make_score_rows(image_scores: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Make the rows, in the order of ``HEADINGS``.

    ``image_scores`` is that of :func:`kicc_ml.evaluation.score_figures.compute_score_figures`.
    """
    return [
        [make_heading(score), make_label(model), str(figures["mae"]["n"])]
        + [format_estimate(figures.get(column)) for column in COLUMNS]
        for score, models in image_scores.items()
        for model, figures in models.items()
    ]


def make_radiograph_score_table(image_scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """Make the table for the terminal."""
    table = Table(*HEADINGS, title="Scores of radiographs", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for row in make_score_rows(image_scores):
        table.add_row(*map(escape_markup, row))
    return table

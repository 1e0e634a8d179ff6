"""Write the index as one HTML page, which can be sent, printed and read without a network."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from kicc_ml.core.pages import read_template
from kicc_ml.dicom.index.summary import VERDICTS, count_by_reason, count_by_site, format_spacing, format_totals
from kicc_ml.dicom.series.reasons import REASONS


def render(frame: pd.DataFrame) -> str:
    """Render the page of an index (:func:`~kicc_ml.dicom.index.table.make_index_table`), style and filter inside."""
    filters: dict[str, Callable[..., str]] = {
        "words": REASONS.__getitem__,
        "spacing": format_spacing,
        "number": _format_number,
    }
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return read_template("kicc_ml.dicom.index", "index.html.j2", filters).render(
        counts=format_totals(frame),
        verdicts=VERDICTS,
        sites=count_by_site(frame).reset_index(),
        reasons=count_by_reason(frame).to_dict("records"),
        series=[row for row in rows if row["kind"] == "series"],
        files=[row for row in rows if row["kind"] == "file"],
    )


def _format_number(value: Any, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"

"""The index as one HTML page that can be sent, printed and read without a network."""

from typing import Any

import jinja2
import pandas as pd

from kicc_ml.core.shown import escape_for_page
from kicc_ml.dicom.index.summary import VERDICTS, count_by_reason, count_by_site, format_spacing, format_totals
from kicc_ml.dicom.series.reasons import REASONS


def render(frame: pd.DataFrame) -> str:
    """The page of an index (:func:`kicc_ml.dicom.index.table.make_index_table`) as text: style and filter inside."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kicc_ml.dicom.index", "."),
        autoescape=True,
        finalize=escape_for_page,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": REASONS.__getitem__, "spacing": format_spacing, "number": _format_number}
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return environment.get_template("index.html.j2").render(
        counts=format_totals(frame),
        verdicts=VERDICTS,
        sites=count_by_site(frame).reset_index(),
        reasons=count_by_reason(frame).to_dict("records"),
        series=[row for row in rows if row["kind"] == "series"],
        files=[row for row in rows if row["kind"] == "file"],
    )


def _format_number(value: Any, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"

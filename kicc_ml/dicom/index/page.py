"""The index as one HTML page that can be sent, printed and read without a network."""

from typing import Any

import jinja2
import pandas as pd

from kicc_ml.core.shown import escape_for_page
from kicc_ml.dicom.index.summary import VERDICTS, by_reason, by_site, last_line, spacing
from kicc_ml.dicom.series.reasons import REASONS


def render(frame: pd.DataFrame) -> str:
    """The page of an index (:func:`kicc_ml.dicom.index.table.frame_of`) as text: style and filter inside."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kicc_ml.dicom.index", "."),
        autoescape=True,
        finalize=escape_for_page,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": REASONS.__getitem__, "spacing": spacing, "number": _number}
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return environment.get_template("index.html.j2").render(
        counts=last_line(frame),
        verdicts=VERDICTS,
        sites=by_site(frame).reset_index(),
        reasons=by_reason(frame).to_dict("records"),
        series=[row for row in rows if row["kind"] == "series"],
        files=[row for row in rows if row["kind"] == "file"],
    )


def _number(value: Any, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"

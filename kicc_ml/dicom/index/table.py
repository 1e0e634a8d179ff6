"""Make the table of an index: one row per series and per file in no series, with pseudonyms and shifted dates only."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kicc_ml.core.pseudonym import coarsen_time
from kicc_ml.core.types import Series
from kicc_ml.dicom.header.shown_path import decode_path
from kicc_ml.dicom.index.build import SourceIndex
from kicc_ml.dicom.series.verdict import FileRow

#: Columns that are fields of :class:`Series` as they are.
COPIED_FIELDS = (
    *("site", "patient", "study", "modality", "slices", "rows", "columns", "verdict", "vendor", "model", "kernel"),
    *("projection", "view", "plane", "tilt_degrees", "coverage_mm", "slice_thickness_mm", "dose_class"),
    *("acquired_after_study_s", "transfer_syntax", "units"),
)
COLUMNS = (
    *("kind", "site", "series", "modality", "files", "slices", "rows", "columns", "spacing_mm", "verdict", "reasons"),
    *("patient", "study", "vendor", "model", "kernel", "projection", "view", "plane", "tilt_degrees", "coverage_mm"),
    *("slice_thickness_mm", "dose_class", "acquired", "acquired_after_study_s", "transfer_syntax", "units", "frames"),
)
COUNTS = ("slices", "rows", "columns")
NUMBERS = ("tilt_degrees", "coverage_mm", "slice_thickness_mm", "acquired_after_study_s")
TEXTS = ("series", *(name for name in COPIED_FIELDS if name not in (*COUNTS, *NUMBERS, "site", "verdict")))


def make_index_table(found: Sequence[SourceIndex]) -> pd.DataFrame:
    """Make one table of the indexes of several sources.

    Args:
        found: the index of each source.

    Returns:
        a table with :data:`COLUMNS`: first a row for each series, then a row for each file that is in no series.
        ``files`` are names in order of position that show no patient's name or date
        (:meth:`SourceIndex.name_file`). ``acquired`` is moved with the patient's other dates and
        cut off to the hour (:func:`coarsen_time`).
    """
    rows = [_make_series_row(series, source) for source in found for series in source.series]
    rows += [_make_file_row(row, source) for source in found for row in source.file_rows]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    types = dict.fromkeys(COUNTS, "Int64") | dict.fromkeys(NUMBERS, "float64")
    return frame.astype(types).assign(acquired=pd.to_datetime(frame["acquired"]))


def make_undated_index_table(
    series: Sequence[Series], file_rows: Sequence[FileRow] = (), sources: Sequence[Path] = ()
) -> pd.DataFrame:
    """Make the same table of series whose source is not known.

    Without the source there is no key to shift dates by, so dates are left out. The pseudonyms in paths are made with
    a key that is used only once.
    """
    paths = [path for item in series for path in item.files] + [row.path for row in file_rows]
    shown = {
        path: decode_path(str(path.relative_to(source)))
        for source in sources
        for path in paths
        if path.is_relative_to(source)
    }
    return make_index_table(
        [
            SourceIndex(
                Path(), secrets.token_bytes(32), [replace(item, acquired=None) for item in series], file_rows, shown
            )
        ]
    )


def _make_series_row(series: Series, source: SourceIndex) -> dict[str, object]:
    return {name: getattr(series, name) for name in COPIED_FIELDS} | {
        "kind": "series",
        "site": source.name_site(series.site),
        **{name: source.hide_identity(getattr(series, name)) for name in ("vendor", "model", "kernel")},
        "series": series.uid,
        "files": source.name_series_files(series),
        "spacing_mm": list(series.spacing_mm) if series.spacing_mm else None,
        "reasons": list(series.reasons),
        "acquired": series.acquired and coarsen_time(source.key, series.patient, series.acquired),
        "frames": list(series.frames),
    }


def _make_file_row(row: FileRow, source: SourceIndex) -> dict[str, object]:
    return dict.fromkeys(TEXTS, "") | {
        "kind": "file",
        "site": source.name_site(row.site),
        "files": [source.name_file(row.path)],
        "verdict": "refused",
        "reasons": [row.reason],
        "frames": [],
    }

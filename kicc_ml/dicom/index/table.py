"""The index as a table: one row per series, and one per file that is in none. Pseudonyms and shifted dates only."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd

from kicc_ml.core.pseudonym import compute_shift_days
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
    """The index of several sources as one table of :data:`COLUMNS`, all series before the files in none.

    ``files`` are names in order of position that tell nobody's name or date (:meth:`SourceIndex.name`). ``acquired`` is
    moved by the patient's :func:`compute_shift_days`.
    """
    rows = [_make_series_row(one, source) for source in found for one in source.series]
    rows += [_make_file_row(one, source) for source in found for one in source.file_rows]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    types = dict.fromkeys(COUNTS, "Int64") | dict.fromkeys(NUMBERS, "float64")
    return frame.astype(types).assign(acquired=pd.to_datetime(frame["acquired"]))


def make_undated_index_table(
    series: Sequence[Series], file_rows: Sequence[FileRow] = (), sources: Sequence[Path] = ()
) -> pd.DataFrame:
    """As :func:`make_index_table`, of series without their source: there is no key to shift dates by, and they are left out.

    Pseudonyms in paths are of a key of the moment.
    """
    paths = [path for one in series for path in one.files] + [row.path for row in file_rows]
    shown = {
        path: decode_path(str(path.relative_to(source)))
        for source in sources
        for path in paths
        if path.is_relative_to(source)
    }
    return make_index_table(
        [
            SourceIndex(
                Path(), secrets.token_bytes(32), [replace(one, acquired=None) for one in series], file_rows, shown
            )
        ]
    )


def _make_series_row(series: Series, source: SourceIndex) -> dict[str, object]:
    shift = timedelta(days=compute_shift_days(source.key, series.patient))
    return {name: getattr(series, name) for name in COPIED_FIELDS} | {
        "kind": "series",
        "site": source.site(series.site),
        **{name: source.text(getattr(series, name)) for name in ("vendor", "model", "kernel")},
        "series": series.uid,
        "files": source.name_series_files(series),
        "spacing_mm": list(series.spacing_mm) if series.spacing_mm else None,
        "reasons": list(series.reasons),
        "acquired": series.acquired and series.acquired + shift,
        "frames": list(series.frames),
    }


def _make_file_row(row: FileRow, source: SourceIndex) -> dict[str, object]:
    return dict.fromkeys(TEXTS, "") | {
        "kind": "file",
        "site": source.site(row.site),
        "files": [source.name(row.path)],
        "verdict": "refused",
        "reasons": [row.reason],
        "frames": [],
    }

"""A repository's or an export's folders to a list of series, each with a verdict; headers only."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kicc_ml.dicom.judge import FileRow, judge
from kicc_ml.dicom.reasons import REASONS
from kicc_ml.dicom.scan import scan
from kicc_ml.pseudonym import repository_key
from kicc_ml.records import Series, UserError

logger = logging.getLogger(__name__)

COLUMNS = (
    *(
        "kind",
        "site",
        "series",
        "modality",
        "files",
        "slices",
        "rows",
        "columns",
        "spacing_mm",
        "verdict",
        "reasons",
    ),
    *(
        "patient",
        "study",
        "vendor",
        "model",
        "kernel",
        "projection",
        "acquired",
        "slice_thickness_mm",
        "units",
    ),
)


def index_repository(root: Path, cache: Path | None = None) -> list[Series]:
    """All series of ``root/<site>/**``, refused ones included; an empty list where there is no image.

    ``cache`` is a parquet file that spares opening unchanged files again; it holds pseudonyms only.
    Raises UserError where ``root`` is no folder.
    """
    series, rows = judge(root, scan(root, repository_key(root), cache))
    _log(root, series, rows)
    return series


def index_sources(sources: Sequence[Path]) -> tuple[list[Series], list[FileRow]]:
    """Series and files without a place in one, of several folders; the first folder below each is the site.

    Raises UserError for a source that is no folder, or where there is not one file in any.
    """
    series: list[Series] = []
    rows: list[FileRow] = []
    for source in sources:
        found, dropped = judge(source, scan(source, repository_key(source)))
        series += found
        rows += dropped
    if not series and not rows:
        raise UserError(f"no file under {', '.join(map(str, sources))}; give a folder that holds DICOM files")
    return series, rows


def to_frame(series: Sequence[Series], file_rows: Sequence[FileRow] = (), sources: Sequence[Path] = ()) -> pd.DataFrame:
    """One row per series and per file that is in none (:data:`COLUMNS`); paths relative to their source."""
    rows = [_series_row(one, sources) for one in series] + [_file_row(one, sources) for one in file_rows]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"slices": "Int64", "rows": "Int64", "columns": "Int64"}).assign(
        acquired=pd.to_datetime(frame["acquired"]),
        slice_thickness_mm=frame["slice_thickness_mm"].astype(float),
    )


def _series_row(series: Series, sources: Sequence[Path]) -> dict[str, object]:
    plain = (
        "site",
        "patient",
        "study",
        "modality",
        "slices",
        "rows",
        "columns",
        "verdict",
        "vendor",
        "model",
    )
    more = ("kernel", "projection", "acquired", "slice_thickness_mm", "units")
    return {name: getattr(series, name) for name in (*plain, *more)} | {
        "kind": "series",
        "series": series.uid,
        "files": [_relative(path, sources) for path in series.files],
        "spacing_mm": list(series.spacing_mm) if series.spacing_mm else None,
        "reasons": list(series.reasons),
    }


def _file_row(row: FileRow, sources: Sequence[Path]) -> dict[str, object]:
    blank = dict.fromkeys(("series", "modality", "patient", "study", "vendor", "model", "kernel", "projection"), "")
    path = _relative(row.path, sources)
    return blank | {
        "kind": "file",
        "site": row.site,
        "files": [path],
        "verdict": "refused",
        "reasons": [row.reason],
    }


def _relative(path: Path, sources: Sequence[Path]) -> str:
    source = next((source for source in sources if path.is_relative_to(source)), None)
    name = str(path.relative_to(source) if source else path)
    return name.encode("utf-8", "backslashreplace").decode()  # names of CP949 archives are no UTF-8


def _log(root: Path, series: Sequence[Series], rows: Sequence[FileRow]) -> None:
    verdicts = Counter(one.verdict for one in series)
    logger.info("%s: %s; %d files in no series", root, dict(verdicts), len(rows))
    refused = (reason for one in series if not one.usable for reason in one.reasons)
    for reason, count in Counter([*refused, *(row.reason for row in rows)]).most_common():
        logger.info("%5d  %s: %s", count, reason, REASONS[reason])

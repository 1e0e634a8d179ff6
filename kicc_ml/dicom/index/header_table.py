"""Headers as a table, which takes a tenth of the memory of objects and is the format of the cache.

The table holds pseudonyms only, and dates shifted by the patient's :func:`compute_shift_days`.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from kicc_ml.core.pseudonym import compute_shift_days
from kicc_ml.dicom.header.read import Header

#: Number of headers that are objects at a time.
CHUNK = 1024
FILE_NAMES = sys.getfilesystemencoding()
DATE_FIELDS = ("acquired", "study_started")

_TYPE = {
    **dict.fromkeys(("path", "site"), pa.binary()),  # file names of old archives are no UTF-8
    **dict.fromkeys(("frames", "rows", "columns", "frame", "acquisition"), pa.int64()),
    **dict.fromkeys(("phase", "kvp", "exposure_mas", "ctdi_vol_mgy", "tilt_tag_degrees"), pa.float64()),
    **dict.fromkeys(("has_rescale", "lossy", "burned_in", "text_unstated"), pa.bool_()),
    **dict.fromkeys(("position_mm", "orientation", "pixel_spacing_mm"), pa.list_(pa.float64())),
    "slice_thickness_mm": pa.float64(),
    **dict.fromkeys(DATE_FIELDS, pa.timestamp("us")),
}
FIELDS = tuple(field.name for field in fields(Header))


class FoundFile(NamedTuple):
    """A file below the root; ``path`` is relative to it. Size and times show whether it has changed.

    The time of the last change of the entry (ctime) also detects a file that was replaced by one of the same size and
    date, by a copying tool that keeps dates.
    """

    path: str
    site: str
    size: int
    mtime_ns: int
    ctime_ns: int
    name: str = ""  # what it is called for people, where that is not its path
    fault: str = ""  # reason code of what is not opened, "" for a file to be read

    @property
    def state(self) -> tuple[str, str, int, int, int]:
        """Return what changes when the file does: path, site, size and both times."""
        return self[:5]


IDENTITY = FoundFile._fields[:5]
SCHEMA = pa.schema(
    [(name, _TYPE.get(name, pa.string())) for name in FIELDS]
    + [(name, pa.int64()) for name in ("size", "mtime_ns", "ctime_ns")]
)


@dataclass(frozen=True)
class HeaderTable:
    """The headers of a scan in order of path, one row each; iterated as :class:`Header` objects."""

    table: pa.Table
    key: bytes

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Header]:
        for start in range(0, len(self), CHUNK):
            yield from read_header_table(self.table.slice(start, CHUNK), self.key)

    def group_by_patient(self) -> Iterator[list[Header]]:
        """Iterate over the headers of each patient in order of path; headers without patient are grouped by site."""
        numbered = self.table.append_column("row", pa.array(range(len(self)), pa.int64()))
        names = [(name, "ascending") for name in ("site", "patient", "row")]
        order = numbered.select([name for name, _ in names]).sort_by(names)["row"]
        in_order = HeaderTable(self.table.take(order), self.key)
        for _, group in groupby(in_order, key=lambda header: (header.site, header.patient)):
            yield list(group)


def make_header_table(files: Sequence[FoundFile], headers: Sequence[Sequence[Header]], key: bytes) -> pa.Table:
    """Make a table with :data:`SCHEMA` from the headers of each file, with shifted dates."""
    rows = [header for group in headers for header in group]
    owners = [file for file, group in zip(files, headers, strict=True) for _ in group]
    columns: dict[str, list[Any]] = {name: [getattr(header, name) for header in rows] for name in FIELDS}
    for name in ("path", "site"):
        columns[name] = list(map(os.fsencode, columns[name]))
    shifts = _compute_shifts(columns["patient"], key)
    for name in DATE_FIELDS:
        columns[name] = _shift_dates(columns[name], columns["patient"], shifts)
    for name in ("size", "mtime_ns", "ctime_ns"):
        columns[name] = [getattr(file, name) for file in owners]
    return pa.table(columns, SCHEMA)


def read_header_table(table: pa.Table, key: bytes) -> list[Header]:
    """Read headers with their true dates from a table: the inverse of :func:`make_header_table`."""
    columns = {name: table[name].to_pylist() for name in FIELDS}
    for name in ("path", "site"):
        columns[name] = list(map(os.fsdecode, columns[name]))
    for name in ("position_mm", "orientation", "pixel_spacing_mm"):
        columns[name] = [value if value is None else tuple(value) for value in columns[name]]
    shifts = {patient: -shift for patient, shift in _compute_shifts(columns["patient"], key).items()}
    for name in DATE_FIELDS:
        columns[name] = _shift_dates(columns[name], columns["patient"], shifts)
    return list(map(Header, *columns.values()))


def make_identity_table(files: Sequence[FoundFile]) -> pa.Table:
    """Make a table of path, site, size and times of files, by which a changed file is detected."""
    columns = [list(column) for column in zip(*files, strict=True)] or [[] for _ in IDENTITY]
    # as os.fsencode does, without its call for each of a million names
    paths, sites = ([name.encode(FILE_NAMES, "surrogateescape") for name in column] for column in columns[:2])
    return pa.table([paths, sites, *columns[2:5]], pa.schema([SCHEMA.field(name) for name in IDENTITY]))


def select_file_identities(table: pa.Table) -> pa.Table:
    """Select path, site, size and times of each file once, although a multi-frame file has many rows."""
    first = pc.less_equal(pc.fill_null(table["frame"], 0), 0)
    return table.filter(first).select(IDENTITY)


def _compute_shifts(patients: Sequence[str], key: bytes) -> dict[str, timedelta]:
    return {patient: timedelta(days=compute_shift_days(key, patient)) for patient in set(patients)}


def _shift_dates(
    dates: Sequence[datetime | None], patients: Sequence[str], shifts: dict[str, timedelta]
) -> list[datetime | None]:
    return [date and date + shifts[patient] for date, patient in zip(dates, patients, strict=True)]

"""A hospital of a few patients, each with one small CT, as a data manager would lay it down."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import pydicom

from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid, even_mm

GRID = Grid(even_mm(6), rows=12, columns=14)
HEAD = "site,patient_id,age_years,sex,admission_date,crp_mg_l,death\n"


def write_patient(root: Path, patient_id: str, site: str = "siteA", **tags: object) -> pydicom.Dataset:
    """One CT of one patient; returns the header of its first file."""
    uid = f"1.2.826.0.1.{zlib.crc32(f'{site} {patient_id}'.encode())}"
    tags = {"StudyDate": "20200301", "AcquisitionDate": "20200301", "SeriesDate": "20200301"} | tags
    files = write_series(
        root / site / f"scan-{len(list(root.rglob('scan-*')))}", GRID, PatientID=patient_id,
        StudyInstanceUID=f"{uid}.1", SeriesInstanceUID=f"{uid}.2", **tags,
    )  # fmt: skip
    return pydicom.dcmread(files[0], stop_before_pixels=True)


def write_table(root: Path, rows: str | bytes, head: str = HEAD) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "clinical.csv"
    path.write_bytes(rows if isinstance(rows, bytes) else (head + rows).encode())
    return path


def lines_of(ids: Sequence[str]) -> str:
    return "".join(f"siteA,{one},60,F,2020-03-01,12.5,0\n" for one in ids)

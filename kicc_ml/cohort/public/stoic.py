"""STOIC2021, public part: a CT of each of 2,000 patients with suspected COVID-19, and the course within a month.

Source:
    Revel MP et al., Radiology 2021;301:E361; registry of open data, stoic2021-training, CC BY-NC 4.0.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.public.published import (
    SEX,
    YES_NO,
    Coded,
    Measured,
    convert_columns,
    convert_to_rows,
    drop_unusable_ids,
    find_set_folder,
    rename_columns,
    require_file,
)
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.types import Case
from kicc_ml.dicom.series.mha_file import mha_series, read_mha_header

FOLDER = "clinical"
SITE = "stoic"
TABLES = ("reference.csv", "stoic_reference_age_sex.csv")

COLUMNS: dict[str, Measured | Coded] = {
    "PatientAge": Measured("age_years", 0, 120),  # bands of ten years; the middle of the band is used
    "PatientSex": Coded("sex", SEX),
}
#: For a patient without COVID-19, ``probSevere`` is 0 and has no meaning.
ENDPOINTS: dict[str, Measured | Coded] = {
    "probCOVID": Coded("covid", YES_NO),
    "probSevere": Coded("severe", YES_NO),
}


def stoic(root: str | Path | None) -> Cohort:
    """Read the patients of STOIC2021 as one site, because hospitals are not published. The endpoint is ``severe``.

    Severe means intubation or death within a month. A patient without COVID-19 stays in the cohort with an unknown
    outcome. Age and sex are read from columns of the table, or else from the header of the CT.

    Args:
        root: the folder that contains ``metadata`` and ``data``, or one that contains it as ``stoic2021-training``.

    Raises:
        UserError: there is no table, or it lacks the columns of the set.
    """
    folder, flow = find_set_folder(find_set_folder(root, FOLDER), "stoic2021-training"), Flow()
    path = require_file(folder, TABLES)
    scans = {scan.stem: scan for scan in sorted(folder.rglob("*.mha"))}
    cases = make_patients(_with_headers(select_set_columns(read_cells(path), path), scans), path, flow, scans)
    flow.counts["cases with CT"] = sum(case.ct is not None for case in cases)
    flow.counts["cases with no image"] = sum(case.ct is None for case in cases)
    flow.log()
    return Cohort(cases, flow)


def select_set_columns(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Select the columns of the set. Age and sex may be missing, and may be called ``age`` and ``sex``."""
    named = cells.rename(columns={"age": "PatientAge", "sex": "PatientSex"})
    return rename_columns(named, path, ["PatientID", *COLUMNS, *ENDPOINTS], ["PatientID", "probCOVID", "probSevere"])


def make_patients(cells: pd.DataFrame, path: Path, flow: Flow, scans: dict[str, Path]) -> list[Case]:
    """Make patients from a table in our spelling, each with the CT of the same number in ``scans``.

    Args:
        cells: the table after :func:`select_set_columns`.
        path: the file, for error messages.
        flow: receives the number of rows and of those left out, by reason.
        scans: the file of each patient's CT, by patient number.
    """
    flow.rows = len(cells)
    rows = drop_unusable_ids(cells, "PatientID", flow)
    if "PatientAge" in rows:
        rows = rows.assign(PatientAge=rows["PatientAge"].str.rstrip("Yy"))
    values = convert_columns(rows, COLUMNS, path, flow).reindex(columns=["age_years", "sex"])
    told = convert_columns(rows, ENDPOINTS, path, flow)
    without = told["covid"] != 1
    flow.counts["cases without COVID-19, severe course unknown"] = int(without.sum())
    outcomes = told[["severe"]].mask(without, np.nan)
    of_patient = zip(rows["PatientID"], convert_to_rows(values), convert_to_rows(outcomes), strict=True)
    cases = [
        Case(
            f"stoic_{patient}",
            SITE,
            patient,
            ct=mha_series(scans[patient], site=SITE, patient=patient) if patient in scans else None,
            clinical=clinical,
            endpoints=outcome,
        )
        for patient, clinical, outcome in of_patient
    ]
    flow.cases = len(cases)
    return cases


def _with_headers(cells: pd.DataFrame, scans: dict[str, Path]) -> pd.DataFrame:
    """Add age and sex from the headers of the scans to a table that lacks them."""
    if "PatientAge" in cells:
        return cells
    headers = [read_mha_header(scans[one]) if one in scans else {} for one in cells["PatientID"]]
    named = {name: [header.get(name) for header in headers] for name in COLUMNS}
    return pd.concat([cells, pd.DataFrame(named, cells.index, dtype=object)], axis=1)

"""STOIC2021, public part: a CT of each of 2,000 patients suspected of COVID-19, severe course within a month.

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
    decoded,
    folder_of,
    known_ids,
    records,
    require_file,
    spelt,
)
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.types import Case
from kicc_ml.dicom.series.mha_file import mha_series, read_mha_header

FOLDER = "clinical"
SITE = "stoic"
TABLES = ("reference.csv", "stoic_reference_age_sex.csv")

COLUMNS: dict[str, Measured | Coded] = {
    "PatientAge": Measured("age_years", 0, 120),  # bands of ten years, by their middle
    "PatientSex": Coded("sex", SEX),
}
#: Of a patient without COVID-19 ``probSevere`` is 0 and means nothing.
ENDPOINTS: dict[str, Measured | Coded] = {
    "probCOVID": Coded("covid", YES_NO),
    "probSevere": Coded("severe", YES_NO),
}


def stoic(root: str | Path | None) -> Cohort:
    """Patients of STOIC2021, one site, since the hospital is not published; endpoint ``severe``.

    Severe is intubation or death within a month. Who had no COVID-19 stays, with an unknown course. Age and sex are
    those of the header of the CT, or of columns of the table.

    Args:
        root: the folder that holds ``metadata`` and ``data``, or one that holds it as ``stoic2021-training``.

    Raises:
        UserError: no table, or one without the columns of the set.
    """
    folder, flow = folder_of(folder_of(root, FOLDER), "stoic2021-training"), Flow()
    path = require_file(folder, TABLES)
    scans = {scan.stem: scan for scan in sorted(folder.rglob("*.mha"))}
    cases = patients_of(_with_headers(spelt_as_here(read_cells(path), path), scans), path, flow, scans)
    flow.counts["cases with CT"] = sum(case.ct is not None for case in cases)
    flow.counts["cases with no image"] = sum(case.ct is None for case in cases)
    flow.log()
    return Cohort(cases, flow)


def spelt_as_here(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns of the set; age and sex where the table has them, as ``age`` and ``sex`` too."""
    named = cells.rename(columns={"age": "PatientAge", "sex": "PatientSex"})
    return spelt(named, path, ["PatientID", *COLUMNS, *ENDPOINTS], ["PatientID", "probCOVID", "probSevere"])


def patients_of(cells: pd.DataFrame, path: Path, flow: Flow, scans: dict[str, Path]) -> list[Case]:
    """Patients of rows whose columns are spelt as here, with the CT of their number among ``scans``."""
    flow.rows = len(cells)
    rows = known_ids(cells, "PatientID", flow)
    if "PatientAge" in rows:
        rows = rows.assign(PatientAge=rows["PatientAge"].str.rstrip("Yy"))
    values = decoded(rows, COLUMNS, path, flow).reindex(columns=["age_years", "sex"])
    told = decoded(rows, ENDPOINTS, path, flow)
    without = told["covid"] != 1
    flow.counts["cases without COVID-19, severe course unknown"] = int(without.sum())
    outcomes = told[["severe"]].mask(without, np.nan)
    of_patient = zip(rows["PatientID"], records(values), records(outcomes), strict=True)
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
    """Age and sex of the headers of those scans that lie there, where the table has none."""
    if "PatientAge" in cells:
        return cells
    headers = [read_mha_header(scans[one]) if one in scans else {} for one in cells["PatientID"]]
    named = {name: [header.get(name) for header in headers] for name in COLUMNS}
    return pd.concat([cells, pd.DataFrame(named, cells.index, dtype=object)], axis=1)

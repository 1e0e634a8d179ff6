"""COVID-19-AR: a cohort from rural Arkansas with radiographs, CT, comorbidities, intensive care and death.

Source:
    Desai S et al., Sci Data 2020;7:414; TCIA, doi 10.7937/tcia.2020.py71-5978, CC BY 4.0.
"""

import re
from contextlib import suppress
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.clinical_table import LATER_WORDS
from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.index_image import IndexRule
from kicc_ml.cohort.public.dicom_tree import add_index_images, series_by_patient
from kicc_ml.cohort.public.published import (
    EMPTY,
    SEX,
    YES_NO,
    Coded,
    Measured,
    convert_columns,
    convert_to_rows,
    drop_unusable_ids,
    find_set_folder,
    normalize_column_name,
    rename_columns,
    require_file,
)
from kicc_ml.cohort.table_file import TableError, read_cells
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case

FOLDER = "covid_19_ar"
SITE = "arkansas"
TABLES = ("COVID_19_AR_ClinicalCorrelates_July202020.xlsx", "COVID_19_AR_ClinicalCorrelates_July202020.csv")
#: The line that names the columns. The first line of the published table names groups of columns; some copies lack it.
HEADER_LINES = (2, 1)

COLUMNS: dict[str, Measured | Coded] = {
    "AGE": Measured("age_years", 0, 120),
    "SEX": Coded("sex", SEX),
    "LATEST BMI": Measured("bmi_kg_m2", 10, 80),
}
ENDPOINTS: dict[str, Measured | Coded] = {
    "ICU Admit": Coded("icu", YES_NO),
    "MORTALITY": Coded("death", YES_NO),
}


def covid_19_ar(root: str | Path | None) -> Cohort:
    """Read the patients of COVID-19-AR as one site. The endpoints are ``icu`` and ``death``.

    Features are age, sex, body mass index, and every column of yes and no that is not named like a later event.
    PatientID joins the images below the folder to the patients. The day of admission is unknown, so the first image is
    taken.

    Args:
        root: the folder of the table and the DICOM files, or a folder that contains it as ``covid_19_ar``.

    Raises:
        UserError: there is no table, or it lacks the columns of the set.
    """
    folder, flow = find_set_folder(root, FOLDER), Flow()
    path = require_file(folder, TABLES)
    cells = _cells(path)
    columns = COLUMNS | comorbidities(cells)
    rows = rename_columns(cells, path, ["PATIENT_ID", *columns, *ENDPOINTS], ["PATIENT_ID", "AGE", "SEX", *ENDPOINTS])
    flow.rows = len(rows)
    rows = drop_unusable_ids(rows, "PATIENT_ID", flow)
    images = series_by_patient(folder, rows["PATIENT_ID"].tolist())
    of_patient = zip(
        rows["PATIENT_ID"],
        convert_to_rows(convert_columns(rows, columns, path, flow)),
        convert_to_rows(convert_columns(rows, ENDPOINTS, path, flow)),
        strict=True,
    )
    cases = [
        add_index_images(
            Case(patient, SITE, patient, clinical=clinical, endpoints=endpoints),
            images.get(patient, []),
            {},
            IndexRule(),
            flow,
        )
        for patient, clinical, endpoints in of_patient
    ]
    flow.cases = len(cases)
    flow.log()
    return Cohort(cases, flow)


def _cells(path: Path) -> pd.DataFrame:
    """Read the cells of the table below the line that names the columns. Raises UserError if there is no such line."""
    for line in HEADER_LINES:
        with suppress(TableError):
            if "PATIENT_ID" in (cells := read_cells(path, line)):
                return cells
    raise UserError(f"{path}: neither the first nor the second line names the columns: PATIENT_ID is in none")


def comorbidities(cells: pd.DataFrame) -> dict[str, Measured | Coded]:
    """Find other columns in which every filled cell is yes or no, under their own names in small letters."""
    known = {normalize_column_name(name) for name in (*COLUMNS, *ENDPOINTS, "PATIENT_ID", "# ICU admits")}
    found: dict[str, Measured | Coded] = {}
    for column in map(str, cells):
        name = "_".join(re.findall(r"[a-z0-9]+", column.casefold()))
        filled = cells[column].dropna().str.casefold()
        words = filled[~filled.isin(EMPTY)]
        is_yes_no = len(words) and words.isin(YES_NO).all()
        if is_yes_no and normalize_column_name(column) not in known and not LATER_WORDS & set(name.split("_")):
            found[column] = Coded(name, YES_NO)
    return found

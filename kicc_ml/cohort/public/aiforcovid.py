"""AIforCOVID: a cohort of Italian inpatients with a table of admission, the first radiograph and the outcome.

Source:
    Soda P et al., Med Image Anal 2021;74:102216; after registration at aiforcovid.radiomica.it, Zenodo 5760978.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.public.published import (
    YES_NO,
    Coded,
    Measured,
    convert_columns,
    convert_to_rows,
    drop_unusable_ids,
    find_file,
    find_set_folder,
    rename_columns,
)
from kicc_ml.cohort.public.unstated_units import UnstatedUnit, convert_unstated_units
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Series
from kicc_ml.dicom.index.build import index_repository
from kicc_ml.dicom.series.image_files import RADIOGRAPH_SUFFIXES, make_radiograph_series

FOLDER = "aiforcovid"
#: The tables of the releases. Without them, the two tables of the challenge's copy, which holds the same patients.
RELEASES = ("AIforCOVID.xlsx", "AIforCOVID_r2.xlsx", "AIforCOVID_r3.xlsx")
CHALLENGE = ("trainClinData.xls", "testClinData.xls", "trainClinData.xlsx", "testClinData.xlsx")

#: 0 means a man: two thirds of the patients, and of those who died, have 0, and the red blood cell counts agree.
SEX = {"0": 1.0, "1": 0.0, "m": 1.0, "f": 0.0}
#: Columns of admission, with their plausible ranges. Not used: ``RespiratoryFailure``, because the authors do not
#: state whether it came before the disease; ``Row_number``.
COLUMNS: dict[str, Measured | Coded] = {
    "Age": Measured("age_years", 0, 120),
    "Sex": Coded("sex", SEX),
    "PositivityAtAdmission": Coded("positive_at_admission", YES_NO),
    "Temp_C": Measured("temperature_celsius", 30, 43),
    "DaysFever": Measured("fever_days", 0, 60),
    "Cough": Coded("cough", YES_NO),
    "DifficultyInBreathing": Coded("dyspnea", YES_NO),
    "WBC": Measured("wbc_1e9_l", 0.1, 200),
    "RBC": Measured("rbc_1e12_l", 1, 9),
    "CRP": Measured("crp_mg_l", 0, 1000),
    "Fibrinogen": Measured("fibrinogen_mg_dl", 50, 1500),
    "Glucose": Measured("glucose_mg_dl", 20, 1500),
    "PCT": Measured("pct_ng_ml", 0, 100_000),
    "LDH": Measured("ldh_u_l", 0, 10_000),
    "INR": Measured("inr_ratio", 0.5, 20),
    "D_dimer": Measured("d_dimer_ug_l", 0, 1_000_000),
    "Ox_percentage": Measured("spo2_percent", 30, 100),
    "PaO2": Measured("pao2_mmhg", 15, 600),
    "SaO2": Measured("sao2_percent", 20, 100),
    "PaCO2": Measured("paco2_mmhg", 10, 150),
    "pH": Measured("arterial_ph", 6.5, 8),
    "CardiovascularDisease": Coded("cardiovascular_disease", YES_NO),
    "IschemicHeartDisease": Coded("ischemic_heart_disease", YES_NO),
    "AtrialFibrillation": Coded("atrial_fibrillation", YES_NO),
    "HeartFailure": Coded("heart_failure", YES_NO),
    "Ictus": Coded("stroke", YES_NO),
    "HighBloodPressure": Coded("hypertension", YES_NO),
    "Diabetes": Coded("diabetes", YES_NO),
    "Dementia": Coded("dementia", YES_NO),
    "BPCO": Coded("copd", YES_NO),
    "Cancer": Coded("cancer", YES_NO),
    "ChronicKidneyDisease": Coded("chronic_kidney_disease", YES_NO),
    "Obesity": Coded("obesity", YES_NO),
    "Position": Coded("film_position_1", YES_NO),  # the authors do not state the meaning of 0 and 1
}
#: Severe means non-invasive ventilation, intensive care or death.
ENDPOINTS: dict[str, Measured | Coded] = {
    "Prognosis": Coded("severe", {"severe": 1.0, "mild": 0.0}),
    "Death": Coded("death", YES_NO),
}
#: Quantities without a stated unit; hospital medians identify the unit. Usual medians: first-wave inpatients, rounded.
UNITS = {
    "crp_mg_l": UnstatedUnit(60, {"mg/L": 1, "mg/dL": 10}, low=0.1, high=700),
    "pct_ng_ml": UnstatedUnit(0.13, {"ng/mL": 1, "pg/mL": 0.001}, low=0.005, high=200),
    "d_dimer_ug_l": UnstatedUnit(700, {"µg/L": 1, "mg/L": 1000}, low=20, high=200_000),
    "ldh_u_l": UnstatedUnit(320, {"U/L": 1, "µkat/L": 60}, low=50, high=6000),
}


def aiforcovid(root: str | Path | None) -> Cohort:
    """Read the patients of AIforCOVID. The hospital is the site; the endpoints are ``severe`` and ``death``.

    The tables of all releases in the folder are read; without any, those of the challenge's copy. A patient without a
    radiograph in the folder has clinical data only.

    Args:
        root: the folder of tables and images, or a folder that contains it as ``aiforcovid``.

    Raises:
        UserError: there is no table, or it lacks the columns of the set.
    """
    folder, flow = find_set_folder(root, FOLDER), Flow()
    tables = _tables(folder)
    cells = pd.concat([select_set_columns(read_cells(path), path) for path in tables], ignore_index=True)
    films = _films(folder)
    cases = [add_radiograph(case, films.get(case.case_id)) for case in make_patients(cells, tables[0], flow)]
    flow.counts["cases with CXR"] = sum(case.cxr is not None for case in cases)
    flow.counts["cases with no image"] = sum(case.cxr is None for case in cases)
    flow.log()
    return Cohort(cases, flow)


def select_set_columns(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Select the columns of the set in any release's spelling. Raises UserError if a required column is missing."""
    return rename_columns(
        cells, path, ["ImageFile", "Hospital", *COLUMNS, *ENDPOINTS], ["ImageFile", "Hospital", "Age", "Sex"]
    )


def make_patients(cells: pd.DataFrame, path: Path, flow: Flow) -> list[Case]:
    """Make patients without images from a table in our spelling. All rows of a hospital together identify its units."""
    flow.rows = len(cells)
    distinct = cells.drop_duplicates(ignore_index=True)
    if repeated := len(cells) - len(distinct):
        flow.excluded["the same row again"] = repeated
    rows = drop_unusable_ids(drop_unusable_ids(distinct, "ImageFile", flow), "Hospital", flow)
    site = rows["Hospital"].str.upper()
    values = convert_unstated_units(convert_columns(rows, COLUMNS, path, flow), site, UNITS, flow)
    outcomes = convert_columns(rows, ENDPOINTS, path, flow).reindex(columns=["severe", "death"])
    of_patient = zip(rows["ImageFile"], site, convert_to_rows(values), convert_to_rows(outcomes), strict=True)
    cases = [
        Case(Path(film).stem, hospital, Path(film).stem, clinical=clinical, endpoints=endpoints)
        for film, hospital, clinical, endpoints in of_patient
    ]
    flow.cases = len(cases)
    return cases


def add_radiograph(case: Case, film: Series | None) -> Case:
    """Add a radiograph to a case, under the case's site and person; without a radiograph the case is unchanged."""
    return case if film is None else replace(case, cxr=replace(film, site=case.site, patient=case.person))


def _tables(folder: Path) -> list[Path]:
    for family in (RELEASES, CHALLENGE):
        if found := [path for name in family if (path := find_file(folder, [name]))]:
            return found
    raise UserError(f"{folder} holds none of {', '.join(RELEASES + CHALLENGE)}; give the folder of AIforCOVID")


def _films(folder: Path) -> dict[str, Series]:
    """Find the radiographs (DICOM, or PNG as in the challenge) below a folder, by file name without suffix."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    found = {
        path.stem: make_radiograph_series(path, site="", patient=path.stem)
        for path in paths
        if path.suffix.lower() in RADIOGRAPH_SUFFIXES
    }
    if any(path.suffix.lower() == ".dcm" for path in paths):
        found |= {one.files[0].stem: one for one in index_repository(folder) if one.modality == "CXR"}
    return {name: one for name, one in found.items() if one.usable}

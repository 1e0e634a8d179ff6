"""COVID-19-NY-SBU: a cohort of inpatients and emergency visits at Stony Brook University, with radiographs and CT.

Source:
    Saltz J et al., Stony Brook University COVID-19 Positive Cases, TCIA 2021, doi 10.7937/TCIA.BBAG-2923.
"""

import re
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.index_image import IndexRule
from kicc_ml.cohort.public.dicom_tree import add_index_images, series_by_patient
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

FOLDER = "clinical"
SITE = "stony_brook"
TABLES = ("nysbu.csv", "deidentified_overlap_tcia.csv.cleaned.csv_20210806.csv")

#: Ages are published as bands; the middle of the band is used.
AGE_BANDS = {"[18,59]": 38.5, "(59,74]": 66.5, "(74,90]": 82.0}
#: The name of a measured column begins with its LOINC code; a name that ends with ``.1`` repeats another column.
LOINC = re.compile(r"^(\d+-\d)_(?!.*\.1$)")

#: Columns that are known on admission. Not used, because they are known only later: days of ventilation and stay,
#: kidney and liver injury during the stay, kidney replacement, anticoagulants, the kind of visit. Also not used: the
#: yes-and-no columns made from the values (``BMI.over30``), and lipids and urine, which one patient in four has.
COLUMNS: dict[str, Measured | Coded] = {
    "age.splits": Coded("age_years", AGE_BANDS),
    # The authors removed the sex where few patients had the same age and outcome: in one half of the set, of all who
    # died under 60 and of hardly anyone else. A missing sex would reveal the outcome, so it is read as male, the
    # commoner.
    "gender_concept_name": Coded("sex", SEX, empty=1.0),
    "kidney_transplant": Coded("kidney_transplant", YES_NO, empty=0.0),
    "htn_v": Coded("hypertension", YES_NO),
    "dm_v": Coded("diabetes", YES_NO),
    "cad_v": Coded("coronary_disease", YES_NO),
    "hf_ef_v": Coded("heart_failure", {"no": 0.0, "hfpef": 1.0, "hfref": 1.0}),
    "ckd_v": Coded("chronic_kidney_disease", YES_NO),
    "malignancies_v": Coded("cancer", YES_NO),
    "copd_v": Coded("copd", YES_NO),
    "other_lung_disease_v": Coded("other_lung_disease", YES_NO),
    "acei_v": Coded("ace_inhibitor_at_home", YES_NO),
    "arb_v": Coded("arb_at_home", YES_NO),
    "nsaid_use_v": Coded("nsaid_at_home", YES_NO),
    "antibiotics_use_v": Coded("antibiotics_at_home", YES_NO),
    "days_prior_sx": Measured("symptoms_days", 0, 60),
    "smoking_status_v": Coded("ever_smoked", {"never": 0.0, "former": 1.0, "current": 1.0}),
    "cough_v": Coded("cough", YES_NO),
    "dyspnea_admission_v": Coded("dyspnea", YES_NO),
    "nausea_v": Coded("nausea", YES_NO),
    "vomiting_v": Coded("vomiting", YES_NO),
    "diarrhea_v": Coded("diarrhea", YES_NO),
    "abdominal_pain_v": Coded("abdominal_pain", YES_NO),
    "fever_v": Coded("fever", YES_NO),
    "8331-1": Measured("temperature_celsius", 30, 43),
    "59408-5": Measured("spo2_percent", 30, 100),
    "9279-1": Measured("respiratory_rate_per_min", 5, 70),
    "76282-3": Measured("heart_rate_per_min", 20, 250),
    "8480-6": Measured("systolic_pressure_mmhg", 40, 300),
    "76536-2": Measured("mean_pressure_mmhg", 20, 220),
    "33256-9": Measured("wbc_1e9_l", 0.1, 200),
    "751-8": Measured("neutrophil_1e9_l", 0, 100),
    "731-0": Measured("lymphocyte_1e9_l", 0, 100),
    "2951-2": Measured("sodium_mmol_l", 100, 190),
    "2823-3": Measured("potassium_mmol_l", 1.5, 10),
    "2075-0": Measured("chloride_mmol_l", 60, 150),
    "1963-8": Measured("bicarbonate_mmol_l", 2, 60),
    "3094-0": Measured("urea_nitrogen_mg_dl", 1, 300),
    "2160-0": Measured("creatinine_mg_dl", 0.1, 30),
    "62238-1": Measured("egfr_ml_per_min", 1, 200),
    "1920-8": Measured("ast_u_l", 1, 20_000),
    "1744-2": Measured("alt_u_l", 1, 20_000),
    "2157-6": Measured("creatine_kinase_u_l", 1, 100_000),
    "2524-7": Measured("lactate_mmol_l", 0.1, 30),
    "6598-7": Measured("troponin_t_ng_ml", 0, 50),
    "33762-6": Measured("nt_probnp_pg_ml", 1, 200_000),
    "75241-0": Measured("pct_ng_ml", 0, 500),
    "48058-2": Measured("d_dimer_ddu_ng_ml", 10, 200_000),
    "2276-4": Measured("ferritin_ng_ml", 1, 100_000),
    "1988-5": Measured("crp_mg_l", 0.1, 700, factor=10),  # published in mg/dL, judged by their size
    "4548-4": Measured("hba1c_percent", 3, 20),
    "39156-5": Measured("bmi_kg_m2", 10, 80),
    "33254-4": Measured("arterial_ph", 6.5, 8),
    "30341-2": Measured("esr_mm_h", 0, 150),
    "2345-7": Measured("glucose_mg_dl", 20, 1500),
}
#: No endpoint follows from another: some patients were ventilated outside an intensive care unit.
ENDPOINTS: dict[str, Measured | Coded] = {
    "last.status": Coded("death", {"deceased": 1.0, "discharged": 0.0}),
    "is_icu": Coded("icu", YES_NO),
    "was_ventilated": Coded("ventilation", YES_NO),
}


def nysbu(root: str | Path | None) -> Cohort:
    """Read the patients of COVID-19-NY-SBU as one site. The endpoints are ``death``, ``icu`` and ``ventilation``.

    PatientID joins the images below the folder to the patients; without images the cases have clinical data only.

    Args:
        root: the folder of the table, or a folder that contains it as ``clinical``.

    Raises:
        UserError: there is no table, or it lacks the columns of the set.
    """
    folder, flow = find_set_folder(root, FOLDER), Flow()
    path = require_file(folder, TABLES)
    cases = make_patients(select_set_columns(read_cells(path), path), path, flow)
    images = series_by_patient(folder, [case.case_id for case in cases])
    rule = IndexRule()
    cases = [
        add_index_images(case, images.get(case.case_id, []), {"admission_date": case.admitted}, rule, flow)
        for case in cases
    ]
    flow.log()
    return Cohort(cases, flow)


def select_set_columns(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Select the columns of the set, measured ones by LOINC code. Raises UserError if the id or the age is missing."""
    by_code = {column: found[1] for column in map(str, cells) if (found := LOINC.match(column))}
    wanted = ["to_patient_id", "covid19_statuses", "visit_start_datetime", *COLUMNS, *ENDPOINTS]
    return rename_columns(cells.rename(columns=by_code), path, wanted, ["to_patient_id", "age.splits"])


def make_patients(cells: pd.DataFrame, path: Path, flow: Flow) -> list[Case]:
    """Make patients without images from a table in our spelling."""
    flow.rows = len(cells)
    rows = drop_unusable_ids(cells, "to_patient_id", flow)
    if "covid19_statuses" in rows:
        positive = rows["covid19_statuses"].str.casefold().eq("positive") | rows["covid19_statuses"].isna()
        if not positive.all():
            flow.excluded["COVID-19 not confirmed"] = int((~positive).sum())
        rows = rows[positive]
    outcomes = convert_columns(rows, ENDPOINTS, path, flow).reindex(columns=["ventilation", "icu", "death"])
    admitted = rows.get("visit_start_datetime", pd.Series(None, rows.index, dtype=object)).map(us_day)
    of_patient = zip(
        rows["to_patient_id"],
        admitted,
        convert_to_rows(convert_columns(rows, COLUMNS, path, flow)),
        convert_to_rows(outcomes),
        strict=True,
    )
    without_sex = int(rows["gender_concept_name"].isna().sum()) if "gender_concept_name" in rows else 0
    flow.counts["cases whose sex was removed, taken for men: its absence tells the outcome"] = without_sex
    cases = [
        Case(patient, SITE, patient, clinical=clinical, endpoints=endpoints, admitted=day)
        for patient, day, clinical, endpoints in of_patient
    ]
    flow.cases = len(cases)
    return cases


def us_day(cell: object) -> date | None:
    """Parse the day of a date in United States format (month first) or ISO format; None if it is not a date."""
    for form in ("%m/%d/%Y", "%Y-%m-%d"):
        try:
            return datetime.strptime(str(cell).split()[0], form).date()
        except (ValueError, IndexError):
            continue
    return None

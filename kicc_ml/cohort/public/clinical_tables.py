"""Public clinical tables without images as cohorts of mortality; docs/public-data.md says where to get them.

``root`` of each function is the folder in ``KICC_DATA``. Nothing that was decided or measured after the time of
prediction is a feature: no length of stay, no treatments, no laboratory values of later days.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case

CATANZARO = Path("clinical/catanzaro_527.csv")
#: Columns that are known on admission. Not used: ``los`` and treatments, because they follow the course; ``statin`` and
#: ``diuretics``, because the authors do not state whether they were taken at home; ``who``, because its day is unknown.
CATANZARO_YES_NO = (
    *("dyspnea", "oncology", "htn", "cvdnothtn", "neuro", "stroke", "dm", "cpulmonary", "copd", "asthma"),
    *("ckd", "obesity", "vaccine"),
)
CATANZARO_COLUMNS = {"idpatient": "patient_id", "wave": "site", "age": "age_years", "sex": "sex", "death": "death"}

WUHAN = Path("clinical/wuhan_labs_375_timeseries.csv")
#: The laboratory values used, which are common on admission, under names with their units.
WUHAN_LABS = {
    "lymphocyte count": "lymphocyte_1e9_l",
    "neutrophils count": "neutrophil_1e9_l",
    "Platelet count": "platelet_1e9_l",
    "High sensitivity C-reactive protein": "crp_mg_l",
    "Lactate dehydrogenase": "ldh_u_l",
    "albumin": "albumin_g_l",
    "hemoglobin": "hemoglobin_g_l",
    "aspartate aminotransferase": "ast_u_l",
    "Total bilirubin": "bilirubin_umol_l",
    "Urea": "urea_mmol_l",
    "creatinine": "creatinine_umol_l",
    "D-D dimer": "d_dimer_ug_ml",
}
WUHAN_TIMES = {"RE_DATE": "drawn", "Admission time": "admitted", "Discharge time": "left"}
#: The time of prediction. Later values are unknown then; patients who left or died before then are excluded.
LANDMARK = pd.Timedelta(hours=24)


def catanzaro(root: str | Path | None) -> Cohort:
    """Read patients admitted to Catanzaro from March 2020 to June 2022. The wave (a to d) is the site.

    The endpoint is in-hospital death; features are age, sex, comorbidities, dyspnoea and vaccination.

    Source:
        github.com/MassimoBorelli/MovingTargetsCovid19.

    Raises:
        UserError: the file or columns are missing.
    """
    table = _read(root, CATANZARO, [*CATANZARO_COLUMNS, *CATANZARO_YES_NO]).rename(columns=CATANZARO_COLUMNS)
    table["sex"] = table["sex"].map({"male": 1.0, "female": 0.0})
    features = ["age_years", "sex", *CATANZARO_YES_NO]
    return _cohort(table, "catanzaro", features, Flow(rows=len(table)))


def wuhan(root: str | Path | None) -> Cohort:
    """Read patients of Tongji Hospital in January and February 2020. The endpoint is death.

    Features are age, sex and the laboratory values of the first day: for each, the first value within 24 hours after
    admission. Patients who left or died within 24 hours are excluded. Patients without a laboratory value in that time
    stay, with all of them unknown. The set was selected by outcome and half of the patients died, so a probability
    learnt here does not hold at another hospital.

    Source:
        Yan L et al., Nat Mach Intell 2020;2:283; the copy of github.com/HAIRLAB/Pre_Surv_COVID_19.

    Raises:
        UserError: the file or columns are missing.
    """
    drawn = _read(root, WUHAN, ["PATIENT_ID", "age", "gender", "outcome", *WUHAN_TIMES, *WUHAN_LABS])
    drawn = drawn.rename(columns={"PATIENT_ID": "patient_id", **WUHAN_TIMES, **WUHAN_LABS})
    for time in WUHAN_TIMES.values():
        drawn[time] = pd.to_datetime(drawn[time])
    patients = drawn.groupby("patient_id").first()
    still_there = patients[patients["left"] - patients["admitted"] >= LANDMARK]
    labs = first_day(drawn)
    table = still_there.drop(columns=list(WUHAN_LABS.values())).join(labs).reset_index()
    table = table.assign(site="wuhan", death=table["outcome"], sex=table["gender"].map({1: 1.0, 2: 0.0}))
    table = table.rename(columns={"age": "age_years"})
    flow = Flow(rows=len(patients), unit="patients of the table")
    flow.excluded["left or died within 24 hours"] = len(patients) - len(table)
    flow.counts["results drawn later than 24 hours, not used"] = int(
        (drawn["drawn"] - drawn["admitted"] > LANDMARK).sum()
    )
    flow.counts["cases without a result of the first 24 hours"] = int((~table["patient_id"].isin(labs.index)).sum())
    return _cohort(table, "wuhan", ["age_years", "sex", *WUHAN_LABS.values()], flow)


def first_day(drawn: pd.DataFrame) -> pd.DataFrame:
    """Select each patient's first value of each laboratory test within 24 hours; negative values become NaN."""
    after = drawn["drawn"] - drawn["admitted"]
    of_first_day = drawn[(after >= pd.Timedelta(0)) & (after <= LANDMARK)].sort_values("drawn")
    values = of_first_day[list(WUHAN_LABS.values())].apply(pd.to_numeric, errors="coerce")
    return values.where(values >= 0).groupby(of_first_day["patient_id"]).first()


def _read(root: str | Path | None, file: Path, columns: list[str]) -> pd.DataFrame:
    if root is None or not str(root):
        raise UserError(f"no folder of public data is given: set KICC_DATA=DIR (or cohort.root=DIR), with {file} in it")
    path = Path(root) / file
    if not path.is_file():
        raise UserError(f"{path} does not exist; docs/public-data.md says where to get the table and how to lay it out")
    table = pd.read_csv(path)
    if missing := sorted(set(columns) - set(table)):
        raise UserError(f"{path}: column(s) missing: {', '.join(missing)}")
    return table[columns]


def _cohort(table: pd.DataFrame, prefix: str, features: list[str], flow: Flow) -> Cohort:
    flow.cases = len(table)
    flow.log()
    return Cohort([_case(row, prefix, features) for row in table.to_dict("records")], flow)


def _case(row: Mapping, prefix: str, features: list[str]) -> Case:
    name = row["patient_id"] if isinstance(row["patient_id"], str) else f"{row['patient_id']:.0f}"
    clinical = {feature: float(row[feature]) for feature in features}
    return Case(f"{prefix}_{name}", row["site"], name, clinical=clinical, endpoints={"death": float(row["death"])})

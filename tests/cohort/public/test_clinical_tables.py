"""Public clinical tables: what was known at the moment of prediction, and nothing later."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.public.clinical_tables import CATANZARO_YES_NO, WUHAN_LABS, catanzaro, wuhan
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case

real_data = pytest.mark.skipif(
    not (Path(os.environ.get("KICC_DATA", "nowhere")) / "clinical").is_dir(), reason="KICC_DATA with clinical/ needed"
)


@pytest.fixture
def catanzaro_root(tmp_path: Path) -> Path:
    table = pd.DataFrame(
        {"idpatient": ["p1", "p2"], "wave": ["a", "d"], "age": [50.0, 80.0], "sex": ["male", "female"]}
    )
    table = table.assign(death=[0, 1], los=[3, 40], steroids=[0, 1], who=["moderate", "severe"])
    table = table.assign(**dict.fromkeys(CATANZARO_YES_NO, 0))
    (tmp_path / "clinical").mkdir()
    table.to_csv(tmp_path / "clinical" / "catanzaro_527.csv", index=False)
    return tmp_path


def test_a_wave_is_a_site_and_what_followed_the_course_no_feature(catanzaro_root: Path):
    cases = catanzaro(catanzaro_root)
    assert [(case.case_id, case.site) for case in cases] == [("catanzaro_p1", "a"), ("catanzaro_p2", "d")]
    assert set(cases[0].clinical) == {"age_years", "sex", *CATANZARO_YES_NO}
    assert [case.endpoints for case in cases] == [{"death": 0.0}, {"death": 1.0}]
    assert cases.flow.cases == 2


def result(patient: int, hours: float, outcome: int = 0, stay_hours: float = 240, **labs: float) -> dict[str, object]:
    admitted = pd.Timestamp("2020-02-01 08:00")
    plain: dict[str, object] = {
        "PATIENT_ID": float(patient), "age": 60, "gender": 2, "outcome": outcome, "Admission time": admitted,
        "RE_DATE": admitted + pd.Timedelta(hours=hours), "Discharge time": admitted + pd.Timedelta(hours=stay_hours),
    }  # fmt: skip
    return dict.fromkeys(WUHAN_LABS, np.nan) | plain | {name.replace("_", " "): value for name, value in labs.items()}


@pytest.fixture
def wuhan_cases(tmp_path: Path) -> dict[str, Case]:
    rows = [
        result(1, 30, Lactate_dehydrogenase=900),
        result(1, 20, Lactate_dehydrogenase=400, albumin=-1),
        result(1, 5, Lactate_dehydrogenase=300),
        result(1, 5.5, Urea=4),
        result(2, 26, outcome=1, Urea=9),
        result(3, 2, outcome=1, stay_hours=10, Urea=12),
    ]
    (tmp_path / "clinical").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "clinical" / "wuhan_labs_375_timeseries.csv", index=False)
    return {case.case_id: case for case in wuhan(tmp_path)}


def test_the_first_value_of_the_first_day_is_taken_whatever_the_order_of_the_rows(wuhan_cases: dict[str, Case]):
    first = wuhan_cases["wuhan_1"].clinical
    assert (first["ldh_u_l"], first["urea_mmol_l"], first["sex"]) == (300, 4, 0)


def test_a_code_below_zero_is_no_value(wuhan_cases: dict[str, Case]):
    assert np.isnan(wuhan_cases["wuhan_1"].clinical["albumin_g_l"])


def test_a_value_of_the_second_day_is_not_known_yet(wuhan_cases: dict[str, Case]):
    assert np.isnan([wuhan_cases["wuhan_2"].clinical[name] for name in WUHAN_LABS.values()]).all()
    assert wuhan_cases["wuhan_2"].endpoints == {"death": 1.0}


def test_who_died_before_the_moment_of_prediction_is_not_asked_about(wuhan_cases: dict[str, Case]):
    assert set(wuhan_cases) == {"wuhan_1", "wuhan_2"}


@pytest.mark.parametrize("cohort", [catanzaro, wuhan])
def test_a_table_that_is_not_there_is_said_with_the_remedy(cohort, tmp_path: Path):
    for root in (None, tmp_path):
        with pytest.raises(UserError, match=r"KICC_DATA|docs/public-data\.md"):
            cohort(root)


def test_a_table_without_a_column_is_refused_by_name(catanzaro_root: Path):
    path = catanzaro_root / "clinical" / "catanzaro_527.csv"
    pd.read_csv(path).drop(columns="dyspnea").to_csv(path, index=False)
    with pytest.raises(UserError, match="dyspnea"):
        catanzaro(catanzaro_root)


@real_data
def test_the_public_tables_have_the_patients_and_deaths_of_their_papers_less_the_left_out():
    waves = catanzaro(os.environ["KICC_DATA"])
    assert (len(waves), sum(case.endpoints["death"] for case in waves)) == (367, 53)
    assert {case.site for case in waves} == set("abcd")
    patients = wuhan(os.environ["KICC_DATA"])
    assert len(patients) == patients.flow.rows - patients.flow.excluded["left or died within 24 hours"] == 252

"""COVID-19-AR by its layout: names of columns in the second row, comorbidities by their own names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.public.covid_19_ar import TABLES, covid_19_ar
from kicc_ml.core.errors import UserError
from tests.support.consortium import write_patient

NAMES = [
    *("PATIENT_ID", "AGE", "SEX", "LATEST BMI", "DIABETES TYPE II", "LENGTH OF STAY", "RACE"),
    *("ICU Admit", "# ICU admits", "MORTALITY"),
]
HEAD = [["DEMOGRAPHICS", None, None, None, "COMORBIDITIES", None, None, "OUTCOME", None, None], NAMES]
ROWS = [
    ["COVID-19-AR-16406488", 61, "M", 31.5, "Y", "Y", "WHITE", "Y", 2, "N"],
    ["COVID-19-AR-16406489", "89", "female", 300, "n", "N", "BLACK", "N", 0, "Y"],
    [None, 50, "F", 25, "N", "N", "WHITE", "N", 0, "N"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pd.DataFrame(HEAD + ROWS).to_excel(tmp_path / TABLES[0], header=False, index=False)
    return tmp_path


def test_columns_named_in_the_second_row_are_read_and_comorbidities_keep_their_names(folder: Path):
    first, second = covid_19_ar(folder)
    assert first.clinical == {"age_years": 61.0, "sex": 1.0, "bmi_kg_m2": 31.5, "diabetes_type_ii": 1.0}
    assert (first.endpoints, second.endpoints) == ({"icu": 1.0, "death": 0.0}, {"icu": 0.0, "death": 1.0})
    assert (second.clinical["sex"], second.clinical["diabetes_type_ii"]) == (0.0, 0.0)


def test_a_body_mass_index_that_cannot_be_and_a_row_without_id_are_counted(folder: Path):
    cohort = covid_19_ar(folder)
    assert np.isnan(cohort[1].clinical["bmi_kg_m2"])
    assert cohort.flow.counts["values of bmi_kg_m2 outside 10 to 80, now unknown"] == 1
    assert cohort.flow.excluded["no usable id"] == 1


def test_scans_of_the_tree_are_joined(folder: Path):
    write_patient(folder / "manifest-1" / "COVID-19-AR", "COVID-19-AR-16406489", "COVID-19-AR-16406489")
    assert [case.case_id for case in covid_19_ar(folder) if case.ct] == ["COVID-19-AR-16406489"]


def test_a_copy_without_the_row_of_titles_is_read_all_the_same_and_another_table_refused(folder: Path):
    pd.DataFrame(HEAD[1:] + ROWS).to_excel(folder / TABLES[0], header=False, index=False)
    assert len(covid_19_ar(folder)) == 2
    pd.DataFrame(ROWS).to_excel(folder / TABLES[0], index=False)
    with pytest.raises(UserError, match="PATIENT_ID"):
        covid_19_ar(folder)

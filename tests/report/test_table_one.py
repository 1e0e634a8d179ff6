"""Table 1 describes the patients by hospital."""

import math
import re

import pytest

from kicc_ml.cohort.case_summary import summarise_cases
from kicc_ml.cohort.clinical_table import UNIT_AT_END
from kicc_ml.report.feature_names import format_value, name_feature
from kicc_ml.report.table_one import MAX_HOSPITALS_BESIDE, make_table_one, split_by_width
from tests.support.planted import clinical_case

CASES = [
    clinical_case("a", 1, 1.0, age_years=80.0, sex=1.0, crp_mg_l=5.0, lymphocyte_1e9_l=1.0, copd=1.0),
    clinical_case("a", 2, 0.0, age_years=60.0, sex=0.0, crp_mg_l=15.0, lymphocyte_1e9_l=2.0, copd=0.0),
    clinical_case("b", 1, math.nan, age_years=math.nan, sex=1.0, crp_mg_l=1.0, lymphocyte_1e9_l=3.0, copd=math.nan),
]


def test_counts_are_of_the_known_and_what_nobody_knows_is_a_dash_or_no_row():
    table = make_table_one(summarise_cases(CASES)).set_index("characteristic")
    assert table.loc["Men"].to_dict() == {"all": "2/3 (67 %)", "a": "1/2 (50 %)", "b": "1/1 (100 %)"}
    assert table.loc["Died"].to_dict() == {"all": "1/2 (50 %)", "a": "1/2 (50 %)", "b": "–"}
    assert table.loc["Age in years, mean (range)", "b"] == "–"
    assert "Fever" not in table.index


def test_laboratory_values_are_named_with_their_units():
    table = make_table_one(summarise_cases(CASES)).set_index("characteristic")
    assert table.loc["CRP, mg/L", "all"] == "5 (3–10)"
    assert {"Lymphocyte, 10⁹/L", "COPD"} <= set(table.index)


def test_many_hospitals_are_printed_side_by_side_in_parts_that_each_hold_everybody():
    cases = [clinical_case(f"h{n:02}", 1, 0.0, age_years=50.0) for n in range(MAX_HOSPITALS_BESIDE + 1)]
    first, second = split_by_width(make_table_one(summarise_cases(cases)))
    assert list(second.columns) == ["characteristic", "all", f"h{MAX_HOSPITALS_BESIDE:02}"]
    assert len(first.columns) == MAX_HOSPITALS_BESIDE + 2


def test_hospitals_that_are_called_like_the_tables_own_columns_have_columns_of_their_own():
    names = ("all", "characteristic", "hospital all", "b")
    cases = [clinical_case(name, 1, 0.0, age_years=50.0) for name in names]
    table = make_table_one(summarise_cases(cases)).set_index("characteristic")
    assert table.loc["Cases"].to_dict() == {"all": "4"} | dict.fromkeys(
        ("hospital hospital all", "hospital characteristic", "hospital all", "b"), "1"
    )


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("rbc_1e12_l", "RBC, 10¹²/L"),
        ("d_dimer_ug_l", "D-dimer, µg/L"),
        ("creatinine_mg_dl", "Creatinine, mg/dL"),
        ("pct_ng_ml", "PCT, ng/mL"),
        ("sodium_mmol_l", "Sodium, mmol/L"),
        ("pao2_mmhg", "PaO₂, mmHg"),
        ("egfr_ml_per_min", "eGFR, mL/min"),
        ("heart_rate_per_min", "Heart rate, per min"),
        ("bmi_kg_m2", "BMI, kg/m²"),
        ("spo2_percent", "SpO₂, %"),
        ("temperature_celsius", "Temperature, °C"),
        ("kidney_transplant", "Kidney transplant"),
    ],
)
def test_a_column_is_named_as_a_reader_writes_it(column: str, name: str):
    assert name_feature(column) == name


def test_every_unit_that_a_table_may_have_is_written_as_a_unit():
    endings = ("1e9_l", "1e12_l", "mg_dl", "ug_ml", "ng_l", "u_l", "iu_l", "umol_l", "mmhg", "kpa", "percent", "kg_m2")
    for ending in (*endings, "celsius", "per_min", "l_min", "mm_h"):
        assert UNIT_AT_END.search(f"x_{ending}")
        assert not re.search(r"_|1e|percent|celsius|mmhg", name_feature(f"x_{ending}").split(", ")[1]), ending


def test_values_have_three_digits_and_no_exponent():
    shown = [format_value(value) for value in (1662.4, 204.0, 99.96, 30.42, 1.0349, 0.0, 0.00001234, -12.345)]
    assert shown == ["1662", "204", "100", "30.4", "1.03", "0", "0.0000123", "-12.3"]

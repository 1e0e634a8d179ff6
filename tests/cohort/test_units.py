"""Units as hospitals write them, converted to those in the names of our columns."""

import pandas as pd
import pytest

from kicc_ml.cohort.units import UnitError, convert_unit, unit_in_name

#: Column, unit as stated, a value in it, the value in the unit of the column's name. Factors of textbooks, by hand.
CONVERSIONS = [
    ("crp_mg_l", "mg/dL", 5.0, 50.0),
    ("crp_mg_l", "MG/DL", 5.0, 50.0),
    ("crp_mg_l", "mg/l", 5.0, 5.0),
    ("lymphocyte_1e9_l", "/µL", 800.0, 0.8),
    ("lymphocyte_1e9_l", "cells/mm3", 800.0, 0.8),
    ("lymphocyte_1e9_l", "10^3/uL", 0.8, 0.8),
    ("lymphocyte_1e9_l", "x10^9/L", 0.8, 0.8),
    ("lymphocyte_1e9_l", "Tsd/µl", 0.8, 0.8),
    ("lymphocyte_1e9_l", "K/uL", 0.8, 0.8),
    ("lymphocyte_1e9_l", "G/L", 0.8, 0.8),
    ("rbc_1e12_l", "10^6/µL", 4.5, 4.5),
    ("ldh_u_l", "µkat/L", 4.0, 240.0),
    ("ldh_u_l", "IU/L", 240.0, 240.0),
    ("creatinine_umol_l", "mg/dL", 1.0, 88.4),
    ("creatinine_mg_dl", "µmol/L", 88.4, 1.0),
    ("glucose_mmol_l", "mg/dl", 180.16, 10.0),
    ("urea_nitrogen_mg_dl", "mmol/L", 10.0, 28.01),
    ("urea_mmol_l", "mg/dL", 60.06, 10.0),
    ("bilirubin_umol_l", "mg/dL", 1.0, 17.1),
    ("hemoglobin_g_l", "g/dL", 14.2, 142.0),
    ("hemoglobin_g_dl", "mmol/L", 8.8, 14.18),
    ("d_dimer_ug_ml", "ng/mL", 500.0, 0.5),
    ("troponin_ng_ml", "ng/L", 14.0, 0.014),
    ("temperature_celsius", "°F", 98.6, 37.0),
    ("temperature_celsius", "C", 37.0, 37.0),
    ("pao2_mmhg", "kPa", 10.0, 75.0),
    ("heart_rate_per_min", "bpm", 90.0, 90.0),
    ("symptoms_days", "h", 48.0, 2.0),
    ("spo2_percent", "%", 93.0, 93.0),
    ("bmi_kg_m2", "kg/m²".replace("²", "^2"), 31.0, 31.0),
]


@pytest.mark.parametrize(("column", "stated", "value", "ours"), CONVERSIONS)
def test_a_value_comes_to_the_unit_of_its_column(column: str, stated: str, value: float, ours: float):
    assert convert_unit(pd.Series([value, None]), column, stated).tolist()[0] == pytest.approx(ours, rel=1e-3)


@pytest.mark.parametrize(
    ("column", "stated", "told"),
    [
        ("crp_mg_l", "mmol/L", "'mmol/L' cannot become mg/L: it is of another quantity"),
        ("crp_mg_l", "U/L", "another quantity"),
        ("crp_mg_l", "furlong per", "'furlong per' is no unit that is known"),
        ("crp_mg_l", "9**9**9**9", "no unit"),
        ("crp_mg_l", "mg/dL" * 20, "no unit"),
        ("cough", "mg/dL", "the name cough ends in no unit"),
    ],
)
def test_a_unit_that_cannot_be_meant_is_told(column: str, stated: str, told: str):
    with pytest.raises(UnitError, match=told.replace("*", r"\*")):
        convert_unit(pd.Series([1.0]), column, stated)


def test_the_longest_ending_of_a_name_is_its_unit():
    assert (unit_in_name("glucose_mmol_l"), unit_in_name("bmi_kg_m2"), unit_in_name("cough")) == (
        "mmol/L",
        "kg/m**2",
        None,
    )

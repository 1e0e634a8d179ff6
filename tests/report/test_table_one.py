"""Table 1 describes the patients by hospital."""

import math

from kicc_ml.cohort.case_summary import summarise_cases
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
    assert {"Lymphocyte, 10⁹/L", "Copd"} <= set(table.index)


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

"""What is counted of a cohort's cases, overall and by hospital."""

import math

from kicc_ml.cohort.case_summary import summarise_cases
from kicc_ml.core.types import Case
from tests.support.planted import clinical_case

CASES = [
    clinical_case("a", 1, 1.0, age_years=80.0, sex=1.0, fever=1.0, crp_mg_l=5.0, copd=1.0),
    clinical_case("a", 2, 0.0, age_years=60.0, sex=0.0, fever=0.0, crp_mg_l=15.0, copd=0.0),
    clinical_case("b", 1, math.nan, age_years=math.nan, sex=1.0, fever=1.0, crp_mg_l=1.0, copd=math.nan),
]


def test_counts_are_over_the_known_and_by_hospital():
    found = summarise_cases(CASES)
    assert (found["patients"], found["men"], found["fever"], found["died"]) == (3, 2, 2, 1)
    assert (found["known"]["died"], found["by_site"]["b"]["died"]) == (2, None)
    assert found["age_mean"] == 70
    assert found["elevated_crp"] == 1


def test_further_columns_are_counts_where_yes_or_no_and_quartiles_where_numbers():
    found = summarise_cases(CASES)
    assert found["features"]["copd"] == {"known": 2, "count": 1}
    assert found["features"]["crp_mg_l"] == {"known": 3, "median": 5.0, "low": 3.0, "high": 10.0}
    assert found["by_site"]["b"]["features"]["crp_mg_l"]["median"] == 1.0  # a number, though it is 1 here


def test_cases_without_a_table_are_counted_all_the_same():
    found = summarise_cases([Case("x", "a", "p"), Case("y", "b", "q")])
    assert (found["patients"], found["sites"], found["age_mean"], found["men"]) == (2, 2, None, None)

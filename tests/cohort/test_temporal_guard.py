"""A clinical value of after the outcome does not predict it."""

from datetime import date, timedelta

import numpy as np
import pytest

from kicc_ml.cohort.index_image import IndexRule
from kicc_ml.cohort.temporal_guard import remove_late_values

ADMITTED = date(2020, 3, 10)
RULE = IndexRule(ct_window_days=(-1, 7), cxr_window_days=(-1, 3))


def dated(day: int | None, **row: object) -> dict[str, object]:
    """A row whose CRP was drawn on that day from admission."""
    drawn = None if day is None else ADMITTED + timedelta(days=day)
    return {"admission_date": ADMITTED, "crp_mg_l_date": drawn, **row}


def kept(row: dict[str, object], rule: IndexRule = RULE) -> bool:
    values, obstacles = remove_late_values({"crp_mg_l": 30.0, "age_years": 50.0}, row, rule)
    assert values["age_years"] == 50
    assert bool(obstacles) == np.isnan(values["crp_mg_l"])
    return not obstacles


@pytest.mark.parametrize(("day", "used"), [(-40, True), (0, True), (7, True), (8, False)])
def test_a_value_counts_until_the_last_day_of_the_later_window(day: int, used: bool):
    assert kept(dated(day)) == used


@pytest.mark.parametrize(("day", "used"), [(1, True), (2, True), (3, False)])
def test_a_value_of_the_day_of_an_endpoint_counts_and_a_later_one_does_not(day: int, used: bool):
    assert kept(dated(day, icu=1.0, icu_date=ADMITTED + timedelta(days=2))) == used


def test_the_first_of_several_endpoints_is_the_bound():
    row = dated(4, icu=1.0, icu_date=ADMITTED + timedelta(days=6), oxygen=1.0, oxygen_date=ADMITTED)
    assert not kept(row)
    assert kept(row, IndexRule(guard_endpoints=("icu",)))


def test_the_date_of_an_endpoint_that_did_not_happen_bars_nothing():
    assert kept(dated(4, icu=0.0, icu_date=ADMITTED))


def test_a_value_without_its_date_is_not_used_where_a_date_binds_it():
    assert not kept(dated(None))
    assert kept(dated(None) | {"admission_date": None})


def test_a_column_without_dates_is_taken_as_known_at_admission():
    assert kept({"admission_date": ADMITTED, "icu": 1.0, "icu_date": ADMITTED})


def test_without_windows_only_endpoints_bind():
    rule = IndexRule(ct_window_days=None, cxr_window_days=None)
    assert kept(dated(60), rule)
    assert not kept(dated(60, icu=1.0, icu_date=ADMITTED), rule)


def test_what_is_not_used_is_counted_by_column_and_what_was_missing_is_not():
    _, obstacles = remove_late_values({"crp_mg_l": 30.0, "ldh_u_l": np.nan}, dated(9) | {"ldh_u_l_date": None}, RULE)
    assert obstacles == {"values of crp_mg_l not used: dated after the window around admission": 1}

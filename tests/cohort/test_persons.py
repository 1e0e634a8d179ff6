"""One person at several hospitals, or under several numbers, stays one person."""

from datetime import date

import pytest

from kicc_ml.cohort.persons import PersonConflictError, link_persons, resolve_conflicts
from kicc_ml.core.types import Case


def test_persons_are_linked_also_through_a_third():
    assert link_persons([{"a"}, {"b"}, {"b", "c"}, {"c", "a"}, set(), {"d"}]) == [0, 0, 0, 0, 4, 5]


def test_no_traces_leave_everybody_alone():
    assert link_persons([set(), set()]) == [0, 1]


CASES = [
    Case("B_1", "B", "one", admitted=date(2020, 3, 9)),
    Case("A_1", "A", "one", admitted=date(2020, 3, 2)),
    Case("A_2", "A", "two"),
    Case("A_3", "A", "two"),
]


def test_one_person_at_two_hospitals_is_refused_with_the_case_ids():
    with pytest.raises(PersonConflictError, match="B_1, A_1"):
        resolve_conflicts(CASES, "refuse")


def test_dropping_keeps_the_first_admission_and_counts():
    kept, dropped = resolve_conflicts(CASES, "drop")
    assert [case.case_id for case in kept] == ["A_1", "A_2", "A_3"]
    assert dropped == 1

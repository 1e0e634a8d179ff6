"""Folds of any cohort, drawn by hypothesis: nobody is on two sides, and everybody is tested once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kicc_ml.cohort import splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Split

#: Persons have several cases, at several hospitals too.
COHORTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12)), min_size=1, max_size=30).map(
    lambda rows: [Case(f"c{number}", site, f"p{person}") for number, (site, person) in enumerate(rows)]
)
WAYS = st.sampled_from([splits.leave_one_site_out, splits.site_kfold, splits.site_pairs, splits.patient_kfold])


def check_persons_apart(split: Split, cases: list[Case]) -> None:
    person_of = {case.case_id: case.person for case in cases}
    sides = [{person_of[case_id] for case_id in side} for side in (split.train, split.val, split.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert sides[0]
    assert sides[1]
    assert max(Counter((*split.train, *split.val, *split.test)).values()) == 1


@given(COHORTS, WAYS, st.floats(0.05, 0.9), st.integers(0, 5))
def test_nobody_is_on_two_sides_and_every_case_is_tested_once(cases: list[Case], way, val_fraction: float, seed: int):
    try:
        folds = way(cases, val_fraction=val_fraction, seed=seed)
    except UserError:
        return
    for split in folds:
        check_persons_apart(split, cases)
    tested = Counter(case_id for split in folds for case_id in split.test)
    assert tested == Counter(case.case_id for case in cases)
    again = way(list(reversed(cases)), val_fraction=val_fraction, seed=seed)
    if way is splits.leave_one_site_out:  # whatever the order of the cases
        assert again == folds or {one.fold: one for one in again} == {one.fold: one for one in folds}


@given(COHORTS, st.floats(0.05, 0.9), st.integers(0, 5))
def test_one_fold_asked_for_is_that_of_all(cases: list[Case], val_fraction: float, seed: int):
    try:
        folds = splits.leave_one_site_out(cases, val_fraction=val_fraction, seed=seed)
    except UserError:
        return
    for split in folds:
        assert splits.leave_one_site_out(cases, val_fraction=val_fraction, seed=seed, fold=split.fold) == [split]


@given(COHORTS, st.floats(0, 0.9), st.integers(0, 5))
def test_a_model_for_elsewhere_sees_every_case(cases: list[Case], val_fraction: float, seed: int):
    try:
        (split,) = splits.all_cases(cases, val_fraction=val_fraction, seed=seed)
    except UserError:
        return
    assert Counter((*split.train, *split.val)) == Counter(case.case_id for case in cases)
    assert split.test == ()

"""Folds: what each function promises of who is trained on and who is tested."""

from itertools import product

import numpy as np
import pytest

from kicc_ml.cohort.splits import (
    all_cases,
    leave_one_site_out,
    patient_kfold,
    read_splits,
    site_kfold,
    site_pairs,
    write_splits,
)
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case

SEEDS = range(30)


def cohort(seed: int, sites: int | None = None, shared_persons: bool = True) -> list[Case]:
    """Sites of very unequal size; some persons have several cases, some of them at another site."""
    rng = np.random.default_rng(seed)
    cases = []
    for site in range(sites or int(rng.integers(3, 12))):
        for patient in range(int(rng.geometric(0.08)) + 1):
            person = f"p{site}-{patient}"
            if shared_persons and rng.random() < 0.1:
                person = f"p{rng.integers(0, 3)}-{rng.integers(0, 4)}"
            cases.append(Case(f"s{site}_{patient}", f"s{site}", person))
    return cases


def every_split(cases: list[Case], seed: int) -> list:
    ways = (leave_one_site_out, lambda c, seed: site_kfold(c, folds=3, seed=seed), patient_kfold, all_cases)
    ways += (site_pairs,) * (len({case.site for case in cases}) >= 6)
    return [split for way in ways for split in way(cases, seed=seed)]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_person_and_no_case_is_on_two_sides(seed):
    cases = cohort(seed)
    person = {case.case_id: case.person for case in cases}
    for split in every_split(cases, seed):
        ids = [*split.train, *split.val, *split.test]
        assert len(ids) == len(set(ids))
        sides = [{person[one] for one in side} for side in (split.train, split.val, split.test)]
        assert len(set().union(*sides)) == sum(map(len, sides))
        assert split.train
        assert split.val


@pytest.mark.parametrize("seed", SEEDS)
def test_every_case_is_tested_once_and_by_a_model_that_never_saw_its_site(seed):
    cases = cohort(seed)
    site = {case.case_id: case.site for case in cases}
    for splits in (leave_one_site_out(cases, seed=seed), site_kfold(cases, folds=3, seed=seed)):
        assert sorted(one for split in splits for one in split.test) == sorted(site)
        for split in splits:
            assert not {site[one] for one in split.test} & {site[one] for one in (*split.train, *split.val)}


@pytest.mark.parametrize("seed", SEEDS)
def test_for_any_two_sites_some_model_of_site_pairs_saw_neither_and_every_case_is_tested_once(seed):
    cases = cohort(seed, sites=9, shared_persons=False)
    site = {case.case_id: case.site for case in cases}
    splits = site_pairs(cases, seed=seed)
    assert len(splits) == 6
    assert sorted(one for split in splits for one in split.test) == sorted(site)
    seen = [{site[one] for one in (*split.train, *split.val)} for split in splits]
    for one, other in product(set(site.values()), repeat=2):
        assert any(not {one, other} & of_fold for of_fold in seen)
    for split, of_fold in zip(splits, seen, strict=True):
        assert not {site[one] for one in split.test} & of_fold


@pytest.mark.parametrize("seed", SEEDS)
def test_a_person_of_a_left_out_site_is_trained_on_nowhere_else(seed):
    cases = cohort(seed, sites=8)
    person = {case.case_id: case.person for case in cases}
    site = {case.case_id: case.site for case in cases}
    for split in site_pairs(cases, seed=seed):
        side = {*split.train, *split.val}
        seen = {site[one] for one in side}
        assert not {person[one] for one in side} & {case.person for case in cases if case.site not in seen}


@pytest.mark.parametrize(("sites", "groups"), [(3, 4), (5, 2)])
def test_too_few_sites_or_groups_for_pairs_are_refused(sites, groups):
    with pytest.raises(UserError, match=r"split\.groups"):
        site_pairs(cohort(0, sites=sites), groups=groups)


@pytest.mark.parametrize("seed", SEEDS)
def test_patient_folds_test_every_case_once_with_sites_spread(seed):
    cases = cohort(seed, sites=3, shared_persons=False)
    splits = patient_kfold(cases, folds=3, seed=seed)
    assert sorted(one for split in splits for one in split.test) == sorted(case.case_id for case in cases)


def test_validation_cases_are_whole_sites_where_three_remain_to_train_on():
    cases = cohort(1, sites=6, shared_persons=False)
    site = {case.case_id: case.site for case in cases}
    for split in leave_one_site_out(cases):
        assert not {site[one] for one in split.val} & {site[one] for one in split.train}


def test_validation_cases_are_persons_where_two_sites_remain():
    cases = [Case(f"s{site}_{one}", f"s{site}", f"{site}-{one}") for site in range(3) for one in range(20)]
    for split in leave_one_site_out(cases, val_fraction=0.2):
        assert len(split.val) == 8
        assert {one[:2] for one in split.train} == {f"s{site}" for site in range(3)} - {split.fold}


def test_about_the_fraction_asked_for_is_held_back():
    cases = [Case(f"s{site}_{one}", f"s{site}", f"{site}-{one}") for site in range(17) for one in range(30)]
    assert {len(split.val) for split in leave_one_site_out(cases, val_fraction=0.2)} == {90}  # 3 of 16 sites


def test_a_split_depends_on_the_seed_alone():
    cases = cohort(3)
    assert leave_one_site_out(cases, seed=1) == leave_one_site_out(cases[::-1], seed=1)
    assert leave_one_site_out(cases, seed=1) != leave_one_site_out(cases, seed=2)


def test_one_fold_is_the_same_alone_as_among_all():
    cases = cohort(4)
    assert leave_one_site_out(cases, fold="s1") == [split for split in leave_one_site_out(cases) if split.fold == "s1"]


def test_a_person_tested_at_one_site_is_not_trained_on_at_another():
    cases = [Case(f"{site}_{one}", site, f"{site}{one}") for site in "ABC" for one in range(4)]
    cases.append(Case("B_9", "B", "A0"))
    (split,) = leave_one_site_out(cases, fold="A")
    assert "B_9" not in (*split.train, *split.val, *split.test)


def test_small_sites_are_tested_together():
    cases = [Case(f"{site}_{one}", site, f"{site}{one}") for site in "ABCD" for one in range(2 if site > "B" else 5)]
    splits = {split.fold: split for split in leave_one_site_out(cases, min_patients=3)}
    assert set(splits) == {"A", "B", "other"}
    assert set(splits["other"].test) == {"C_0", "C_1", "D_0", "D_1"}


def test_a_site_with_one_patient_is_a_fold_of_its_own():
    cases = [Case(f"{site}_{one}", site, f"{site}{one}") for site in "ABC" for one in range(1 if site == "C" else 5)]
    assert {split.fold: len(split.test) for split in leave_one_site_out(cases)} == {"A": 5, "B": 5, "C": 1}


def test_one_site_cannot_be_left_out():
    with pytest.raises(UserError, match="split=patient_kfold"):
        leave_one_site_out([Case("A_1", "A", "1"), Case("A_2", "A", "2")])


def test_a_fold_without_two_persons_to_train_and_select_on_is_refused():
    with pytest.raises(UserError, match="fold A: 1 case"):
        leave_one_site_out([Case("A_1", "A", "1"), Case("A_2", "A", "2"), Case("B_1", "B", "3")])


def test_a_fold_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UserError, match="there is no fold X; this split has: s0, s1, s2"):
        leave_one_site_out(cohort(0, sites=3), fold="X")


def test_more_folds_than_sites_or_persons_are_refused():
    cases = cohort(0, sites=3)
    with pytest.raises(UserError, match="4 folds of 3 site"):
        site_kfold(cases, folds=4)
    with pytest.raises(UserError, match="999 folds"):
        patient_kfold(cases, folds=999)


def test_all_trains_on_everything_but_a_small_validation_part():
    cases = [Case(f"A_{one}", "A", str(one)) for one in range(50)]
    (split,) = all_cases(cases, val_fraction=0.1)
    assert (split.fold, len(split.train), len(split.val), split.test) == ("all", 45, 5, ())


def test_fold_names_are_folder_names():
    sites = ("United Kingdom", "a/b", "대구")
    cases = [Case(f"{number}_{n}", site, f"{site}{n}") for number, site in enumerate(sites) for n in range(3)]
    assert [split.fold for split in leave_one_site_out(cases)] == ["United-Kingdom", "a-b", "대구"]


def test_splits_are_read_back_as_they_were_written(tmp_path):
    splits = leave_one_site_out(cohort(5))
    write_splits(tmp_path / "run" / "split.json", splits)
    assert read_splits(tmp_path / "run" / "split.json") == splits
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["split.json"]


def test_a_saved_split_that_shares_a_person_is_refused(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(
        '{"folds": [{"fold": "A", "train": ["a"], "val": ["b"], "test": ["c"], '
        '"person_of": {"a": "1", "b": "2", "c": "1"}}]}'
    )
    with pytest.raises(UserError, match="in both train and test"):
        read_splits(path)


@pytest.mark.parametrize("content", ["", "{}", '{"folds": [{"fold": "A"}]}'])
def test_what_is_no_split_file_is_refused(tmp_path, content):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"split\.json.*; remove it and start"):
        read_splits(path)

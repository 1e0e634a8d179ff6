"""Extent as a feature: never from a segmenter that saw the tested hospital, nor the case's own."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.splits import leave_one_site_out, patient_kfold, site_pairs, write_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Series
from kicc_ml.models.baselines.tabular import EXTENT
from kicc_ml.training.extent import EXTENT_TABLE, add_extent, select_unseen_cases

SITES = "abcdefgh"


def ct(site: str, number: int, uid: str = "") -> Series:
    return Series(
        site=site, patient=f"{site}{number}", study="", uid=uid or f"ct-{site}{number}", modality="CT", files=(),
        rows=4, columns=4, slices=9, spacing_mm=None, units="hu", verdict="usable",
    )  # fmt: skip


def cohort() -> list[Case]:
    """Three patients at each of eight hospitals; the last has no CT."""
    return [
        Case(
            f"{site}{number}",
            site,
            f"{site}{number}",
            ct=ct(site, number) if number < 2 else None,
            clinical={"age_years": 50.0},
            endpoints={"icu": float(number == 0)},
        )
        for site in SITES
        for number in range(3)
    ]


def write_run(run: Path, cases: list[Case], table: str = EXTENT_TABLE) -> Path:
    """A run of ``experiment=extent`` in which the involved percentage is the number of the fold."""
    for number, split in enumerate(site_pairs(cases), start=1):
        folder = run / split.fold
        write_splits(folder / "split.json", [split])
        (folder / "config.yaml").touch()
        (folder / "predictions.csv").touch()
        taken = [case for case in select_unseen_cases(cases, split) if case.ct]
        rows = pd.DataFrame({"case_id": [case.case_id for case in taken], "series": [f"ct-{c.case_id}" for c in taken]})
        rows.assign(**dict.fromkeys(EXTENT, number)).to_csv(folder / table, index=False)
    return run


def seen_by_fold(cases: list[Case]) -> dict[float, set[str]]:
    splits = enumerate(site_pairs(cases), start=1)
    return {float(number): {one[0] for one in (*split.train, *split.val)} for number, split in splits}


def test_features_come_from_a_segmenter_that_saw_neither_hospital(tmp_path: Path):
    cases = cohort()
    run, seen = write_run(tmp_path, cases), seen_by_fold(cases)
    for split in leave_one_site_out(cases):
        found = add_extent(cases, split, run)
        assert [case.case_id for case in found] == [case.case_id for case in cases]
        for case in (case for case in found if case.ct):
            assert set(EXTENT) <= set(case.clinical)
            assert not seen[case.clinical["ct_percent_involved"]] & {case.site, split.fold}
            assert case.clinical["age_years"] == 50


def test_a_patient_without_a_ct_has_no_extent(tmp_path: Path):
    cases = cohort()
    (split, *_) = leave_one_site_out(cases)
    lacking = [case for case in add_extent(cases, split, write_run(tmp_path, cases)) if not case.ct]
    assert all(set(case.clinical) == {"age_years"} for case in lacking)


def test_where_every_segmenter_saw_a_tested_hospital_the_run_is_refused(tmp_path: Path):
    cases = cohort()
    run = write_run(tmp_path, cases)
    (split, *_) = patient_kfold(cases, folds=3)
    with pytest.raises(UserError, match=r"would leak.*split=site_pairs"):
        add_extent(cases, split, run)


def test_with_a_fold_missing_the_hospitals_it_left_out_are_refused_and_never_taken_from_another(tmp_path: Path):
    cases = cohort()
    run = write_run(tmp_path, cases)
    (run / "without-1-2" / "predictions.csv").unlink()  # not finished
    refused = 0
    for split in leave_one_site_out(cases):
        try:
            add_extent(cases, split, run)
        except UserError:
            refused += 1
    groups = [{case.site for case in cases} - seen for seen in seen_by_fold(cases).values()]
    assert refused == len(groups[0]) == 4


def test_a_segmentation_of_another_ct_is_refused(tmp_path: Path):
    cases = cohort()
    run = write_run(tmp_path, cases)
    cases[0] = Case("a0", "a", "a0", ct=ct("a", 0, uid="a later one"))
    with pytest.raises(UserError, match="another CT"):
        add_extent(cases, leave_one_site_out(cases)[0], run)


def test_a_run_of_another_cohort_is_refused(tmp_path: Path):
    cases = cohort()
    run = write_run(tmp_path, cases)
    fewer = [case for case in cases if case.site != "h"]
    with pytest.raises(UserError, match="the same cohort"):
        add_extent(fewer, leave_one_site_out(fewer)[0], run)


def test_a_run_without_features_is_told_how_to_make_them(tmp_path: Path):
    cases = cohort()
    run = write_run(tmp_path, cases, table="something-else.csv")
    with pytest.raises(UserError, match="experiment=extent"):
        add_extent(cases, leave_one_site_out(cases)[0], run)


def test_any_two_hospitals_have_a_segmenter_that_saw_neither():
    seen = seen_by_fold(cohort()).values()
    assert all(any(not {one, other} & of_fold for of_fold in seen) for one, other in combinations(SITES, 2))
    assert np.mean([len(of_fold) for of_fold in seen]) == 4

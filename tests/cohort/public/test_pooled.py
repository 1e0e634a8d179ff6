"""Public sets are pooled only where no scan of one is in the other, and what may be shared stays on one side."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.cohort.public.known_sets import shared_patients
from kicc_ml.cohort.public.pooled import CT_SETS, pooled
from kicc_ml.cohort.splits import leave_one_site_out, patient_kfold
from kicc_ml.core.errors import UserError
from kicc_ml.dicom.series.image_files import write_nifti

SCAN = np.full((6, 5, 4), -700, np.int16)
MASK = np.pad(np.ones((2, 5, 4), np.int16), ((0, 4), (0, 0), (0, 0)))


def lay(root: Path, scan: str, *masks: str, value: int = -700) -> None:
    for path, content in ((scan, np.full_like(SCAN, value)), *((mask, MASK) for mask in masks)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_nifti(root / path, content, np.diag([-0.8, -0.8, 5.0, 1.0]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (3, 11, 12):
        name = f"covid19_20/Train/volume-covid19-A-00{number:02}"
        lay(tmp_path, f"{name}_ct.nii.gz", f"{name}_seg.nii.gz")
    for name in ("coronacases_001", "coronacases_002", "radiopaedia_4_85506_1", "radiopaedia_7_85703_0"):
        lay(
            tmp_path / "covid19_ct_seg",
            f"{name}.nii.gz",
            f"Lung_Mask/{name}.nii.gz",
            f"Infection_Mask/{name}.nii.gz",
            value=9,
        )
    for number in (1, 2, 3):
        lay(tmp_path, f"medseg/rp_im/{number}.nii.gz", f"medseg/rp_msk/{number}.nii.gz")
    return tmp_path


def test_sets_without_shared_patients_keep_their_cases_hospitals_and_persons(root: Path):
    cohort = pooled(root, ["covid19_20", "covid19_ct_seg"])
    assert [case.site for case in cohort] == ["covid19_20"] * 3 + ["coronacases"] * 2 + ["radiopaedia"] * 2
    assert len({case.person for case in cohort}) == 7
    assert (cohort.flow.rows, cohort.flow.cases) == (7, 7)
    assert {split.fold for split in leave_one_site_out(cohort)} == {"covid19_20", "coronacases", "radiopaedia"}


def test_cases_of_a_source_that_two_sets_may_share_stay_on_one_side(root: Path, caplog):
    cohort = pooled(root, ["covid19_20", "covid19_ct_seg", "medseg"])
    assert "scans of Radiopaedia may be in both; all cases of radiopaedia stay on one side" in caplog.text
    shared = {case.case_id for case in cohort if case.site == "radiopaedia"}
    assert len(shared) == 5
    for split in patient_kfold(cohort, folds=3):
        sides = [set(side) & shared for side in (split.train, split.val, split.test)]
        assert sum(map(bool, sides)) == 1


def test_a_set_alone_of_a_pair_keeps_its_persons(root: Path):
    cohort = pooled(root, ["covid19_20", "medseg"])
    assert len({case.person for case in cohort}) == 6


def test_two_sets_of_the_same_scans_are_refused(root: Path):
    with pytest.raises(UserError, match=r"covid19_ct_seg and covid_ct_seg are not pooled: .*leave one of them out"):
        pooled(root, ["covid_ct_seg", "covid19_20", "covid19_ct_seg"])


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["covid19_20"], "name two or more sets"),
        (["medseg", "medseg"], "name two or more sets, each once"),
        (["medseg", "stoic"], "stoic cannot be pooled; there are"),
    ],
)
def test_sets_that_make_no_pool_are_one_sentence(root: Path, sets: list[str], message: str):
    with pytest.raises(UserError, match=message):
        pooled(root, sets)


def test_every_pair_of_sets_that_shares_scans_has_a_rule_that_acts():
    acting = {frozenset(rule.sets) for rule in shared_patients() if rule.rule != "note"}
    noted = {frozenset(rule.sets) for rule in shared_patients() if rule.rule == "note"}
    pairs = {frozenset(pair) for pair in combinations(CT_SETS, 2)}
    assert acting <= pairs
    assert not noted & pairs

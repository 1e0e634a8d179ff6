"""A folder of several runs, or a run named by another option, is told before anything is loaded."""

from pathlib import Path

import pytest
import yaml

from kicc_ml.clinic.loaded_runs import RunChoice, load_runs
from kicc_ml.core.errors import UserError
from kicc_ml.runs.folder import CONFIG, PREDICTIONS, ZONE_RIDGES
from kicc_ml.runs.run_kind import MASKS, OUTCOMES, SCORES, refuse_other_kinds

CT, FILM = {"_target_": "kicc_ml.data.canonical.CanonicalCT"}, {"_target_": "kicc_ml.data.canonical.CanonicalCXR"}


def fold(folder: Path, **data: object) -> Path:
    """A finished fold that has its settings and no weights, which nobody may want here."""
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(yaml.safe_dump({"data": data}))
    (folder / PREDICTIONS).write_text("case_id\n")
    return folder


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    for hospital in ("busan-1", "seoul-1"):
        fold(tmp_path / "demo" / "lesion_ct" / hospital, canonical=CT)
        fold(tmp_path / "demo" / "outcome" / hospital, canonical_ct=CT, canonical_cxr=FILM)
    return tmp_path / "demo"


def said(run: Path, option: str = MASKS) -> str:
    with pytest.raises(UserError) as refused:
        refuse_other_kinds(run, option)
    return str(refused.value)


def test_a_folder_of_two_runs_is_told_with_the_options_that_fit(demo: Path):
    with pytest.raises(UserError) as refused:
        load_runs(RunChoice(demo))
    assert str(refused.value) == (
        f"{demo} holds several runs (lesion_ct: masks of CT, outcome: outcomes); name one: --run {demo}/lesion_ct; "
        f"beside it you may name --outcome-run {demo}/outcome"
    )


@pytest.mark.parametrize("part", ["outcome", "outcome/busan-1"])
def test_an_outcome_run_as_the_run_of_masks_is_told_its_option(demo: Path, part: str):
    assert said(demo / part) == (
        f"{demo / part} predicts outcomes, not masks; name it with --outcome-run, beside a run of masks with --run"
    )


def test_a_run_of_masks_as_outcome_run_and_a_folder_of_both_are_told(demo: Path):
    assert said(demo / "lesion_ct", OUTCOMES).endswith("predicts masks, not outcomes; name it with --run")
    assert said(demo, OUTCOMES).endswith(f"; name one: --outcome-run {demo}/outcome")
    assert said(demo, SCORES).endswith("; none predicts a radiologist's scores of radiographs")


def test_runs_for_ct_and_for_radiographs_are_not_one_run(demo: Path):
    fold(demo / "lesion_cxr" / "seoul-1", canonical=FILM)
    assert f"--run {demo}/lesion_ct or --run {demo}/lesion_cxr" in said(demo)


def test_scores_of_radiographs_are_told_from_outcomes(tmp_path: Path):
    (fold(tmp_path / "severity_cxr" / "fold-0", canonical_cxr=FILM) / ZONE_RIDGES).write_text("{}")
    assert "name it with --score-run" in said(tmp_path / "severity_cxr")
    refuse_other_kinds(tmp_path / "severity_cxr", SCORES)


def test_a_run_its_fold_and_what_is_not_understood_pass(demo: Path):
    for part in ("lesion_ct", "lesion_ct/busan-1"):
        refuse_other_kinds(demo / part, MASKS)
    refuse_other_kinds(demo / "outcome", OUTCOMES)
    (fold(demo / "broken" / "one") / CONFIG).write_text("[")
    refuse_other_kinds(demo / "broken", MASKS)
    refuse_other_kinds(demo / "not-there", MASKS)

"""Held-out predictions of a run scored against the masks of its cohort."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from kicc_ml.apps.evaluate import grade_reference, print_results, read_quarantine, score_segmented
from kicc_ml.clinic.held_out_case import OofCase
from kicc_ml.clinic.outputs import ModelProvenance, OofCases
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json
from kicc_ml.core.progress import StageTimer
from kicc_ml.core.types import Case
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.prediction.risk import OutcomeRecord
from kicc_ml.prediction.segmentation import grade_severity, write_case
from kicc_ml.severity.plain_values import severity_to_row
from tests.support.finished_run import evaluate, outcome_run

AFFINE = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 30], [0, 0, 4.0, -20], [0, 0, 0, 1]])


def truth() -> dict[str, np.ndarray]:
    """Two lungs, and a lesion at the foot of the left one (LPS by index: large x is the patient's left)."""
    left, right, lesion = (np.zeros((24, 16, 12), bool) for _ in range(3))
    right[2:10, 3:13, 1:10] = True
    left[14:22, 3:13, 1:10] = True
    lesion[16:20, 5:11, 1:5] = True
    return {"left_lung": left, "right_lung": right, "lesion": lesion}


def case_of(folder: Path, units: str = "hu") -> Case:
    folder.mkdir(parents=True, exist_ok=True)
    masks = truth()
    hu = np.where(masks["left_lung"] | masks["right_lung"], -850, 30)
    hu[masks["lesion"]] = -200
    nib.save(nib.Nifti1Image(hu.astype(np.int16), AFFINE), folder / "ct.nii.gz")
    paths = {region: folder / f"{region}.nii.gz" for region in masks}
    for region, path in paths.items():
        nib.save(nib.Nifti1Image(masks[region].astype(np.uint8), AFFINE), path)
    series = make_nifti_series(folder / "ct.nii.gz", site="seoul", patient="1", units=units)  # type: ignore[arg-type]
    return Case("seoul_1", "seoul", "p1", ct=series, masks=paths)


def predicted_as(folder: Path, case: Case, masks: dict[str, np.ndarray]) -> tuple[pd.Series, Path]:
    """Lay down a prediction as the line does, and give its row of ``predictions.csv`` and its folder."""
    assert case.ct is not None
    out = folder / "severity" / case.case_id
    volume = read_volume(case.ct)
    severity = grade_severity(volume, masks)
    write_case(out, masks, volume, severity, {}, StageTimer())
    return pd.Series({"case_id": case.case_id, "site": case.site, "fold": "seoul", **severity_to_row(severity)}), out


def scored(tmp_path: Path, masks: dict[str, np.ndarray]) -> dict:
    case = case_of(tmp_path / "data")
    row, out = predicted_as(tmp_path / "run", case, masks)
    return score_segmented(row, {case.case_id: case}, out)


def whole(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return masks | {"lung": masks["left_lung"] | masks["right_lung"]}


def test_a_perfect_prediction_has_dice_1_and_the_reference_severity(tmp_path: Path):
    row = scored(tmp_path, whole(truth()))
    assert {row[f"{region}_dice"] for region in ("lung", "left_lung", "right_lung", "lesion")} == {1.0}
    assert row["lesion_hd95_mm"] == row["lesion_volume_error_ml"] == 0
    assert row["severity_score"] == row["severity_score_truth"]
    assert row["percent_involved"] == pytest.approx(row["percent_involved_truth"])
    assert row["percent_involved"] == pytest.approx(100 * (4 * 6 * 4) / (2 * 8 * 10 * 9))


def test_a_shifted_lesion_is_scored_in_millimetres_of_the_scan(tmp_path: Path):
    masks = whole(truth())
    masks["lesion"] = np.roll(masks["lesion"], 1, axis=2)  # 4 mm towards the head
    row = scored(tmp_path, masks)
    assert row["lesion_dice"] == pytest.approx(3 / 4)
    assert row["lesion_hd95_mm"] == pytest.approx(4.0)
    assert row["distance_unit"] == "mm"


def test_a_lesion_in_the_other_lung_scores_nothing(tmp_path: Path):
    masks = whole(truth())
    masks["lesion"] = masks["lesion"][::-1]
    row = scored(tmp_path, masks)
    assert row["lesion_dice"] == 0
    assert row["percent_involved"] == pytest.approx(row["percent_involved_truth"])


def test_a_predicted_mask_may_cover_the_whole_scan(tmp_path: Path):
    masks = whole(truth())
    masks["lesion"] = np.ones_like(masks["lesion"])
    assert 0 < scored(tmp_path, masks)["lesion_dice"] < 1


def test_a_montage_is_drawn_beside_the_masks(tmp_path: Path):
    scored(tmp_path, whole(truth()))
    assert (tmp_path / "run" / "severity" / "seoul_1" / "montage.png").stat().st_size > 1000


def test_an_image_with_text_burned_in_stands_neither_in_the_montage_nor_on_the_page_of_a_run(tmp_path: Path):
    """The same masks over two images, of which nobody can tell one from the other."""
    shown = []
    for added_hu in (0, 400):
        case = case_of(tmp_path / "data")
        assert case.ct is not None
        hu = np.asarray(nib.load(tmp_path / "data" / "ct.nii.gz").dataobj)
        beside = (hu == 30) & (np.arange(24) % 2 == 1)[:, None, None]  # what is graded stays as it is
        nib.save(
            nib.Nifti1Image(np.where(beside, hu + added_hu, hu).astype(np.int16), AFFINE),
            tmp_path / "data" / "ct.nii.gz",
        )
        for reasons in (("burned_in",), ()):
            named = replace(case, ct=replace(case.ct, reasons=reasons))
            row, out = predicted_as(tmp_path / "run", case, whole(truth()))
            score_segmented(row, {case.case_id: named}, out)
            OofCase(named, out, OutcomeRecord()).write_page(OofCases(pd.DataFrame()), ModelProvenance("ab" * 32, {}))
            page = html.unescape((out / "page.html").read_text(encoding="utf-8"))
            assert ("text is burned into it" in page) == bool(reasons)
            shown.append([(out / "montage.png").read_bytes(), re.findall(r'"slices": \[(.+?)\]', page)])
    for medium in (0, 1):
        assert shown[0][medium] == shown[2][medium]
        assert shown[1][medium] != shown[3][medium]
    assert len(shown[0][1]) == 1


def test_a_case_that_left_the_cohort_is_a_users_error(tmp_path: Path):
    case = case_of(tmp_path / "data")
    row, out = predicted_as(tmp_path / "run", case, whole(truth()))
    with pytest.raises(UserError, match="seoul_1"):
        score_segmented(row, {}, out)


def test_a_prediction_on_another_grid_is_a_users_error(tmp_path: Path):
    case = case_of(tmp_path / "data")
    row, out = predicted_as(tmp_path / "run", case, whole(truth()))
    nib.save(nib.Nifti1Image(np.zeros((12, 16, 12), np.uint8), AFFINE), out / "lesion.nii.gz")
    message = r"lesion\.nii\.gz has 12 x 16 x 12 voxels and its scan 24 x 16 x 12; predict that scan again"
    with pytest.raises(UserError, match=message):
        score_segmented(row, {case.case_id: case}, out)


def test_without_a_lesion_reference_there_is_no_reference_severity(tmp_path: Path):
    case = case_of(tmp_path)
    assert case.ct is not None
    volume = read_volume(case.ct)
    assert grade_reference({"left_lung": truth()["left_lung"]}, volume) == {}


def fold_with_quarantine(folder: Path, reasons: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "quarantine.json", reasons)
    return folder


def test_cases_set_aside_on_intake_and_on_prediction_are_both_named(tmp_path: Path):
    folds = [
        fold_with_quarantine(tmp_path / "run" / "seoul", {"seoul_2": "the file is cut short"}),
        fold_with_quarantine(tmp_path / "run" / "busan", {}),
    ]
    write_json(tmp_path / "run" / "quarantine.json", {"busan_7": "no volume"})
    assert read_quarantine(folds) == {"seoul_2": "the file is cut short", "busan_7": "no volume"}


@pytest.mark.parametrize(("reasons", "status"), [({}, 0), ({"seoul_2": "cut short"}, 3)])
def test_cases_set_aside_are_printed_and_change_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture, reasons: dict[str, str], status: int
):
    run = outcome_run(tmp_path, reasons)
    assert print_results(evaluate(run)) == status
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"report: {run / 'report.html'}"
    assert all(case_id in printed for case_id in reasons)


def test_an_outcome_run_is_scored_from_its_table_alone(tmp_path: Path):
    run = outcome_run(tmp_path)
    page = evaluate(run)
    summary = json.loads((run / "summary.json").read_text())
    assert page == run / "report.html"
    assert summary["outcome"]["icu"]["network"]["auroc"]["value"] > 0.9
    assert set(summary["sites"]) == {"seoul", "busan"}
    assert summary["outcome"]["death"]["network"]["auroc"]["value"] is None


def test_judging_again_gives_the_same_figures(tmp_path: Path):
    run = outcome_run(tmp_path)
    evaluate(run)
    first = (run / "summary.json").read_text()
    evaluate(run)
    assert (run / "summary.json").read_text() == first


def test_severity_of_the_reference_is_plain_numbers(tmp_path: Path):
    case = case_of(tmp_path)
    assert case.ct is not None
    found = grade_reference(whole(truth()), read_volume(case.ct))
    json.dumps(found, allow_nan=False)
    assert set(found) == {"severity_score_truth", "percent_involved_truth"}


def test_a_held_out_case_has_the_risks_of_the_outcome_run_on_its_page(tmp_path: Path):
    case = case_of(tmp_path / "data")
    _, out = predicted_as(tmp_path / "run", case, whole(truth()))
    row = {"case_id": "seoul_1", "site": "seoul", "endpoint": "icu", "probability": 0.37, "label": 1.0}
    rows = [row | {"model": "network"}, row | {"model": "clinical", "probability": 0.21}]
    held = OofCase(case, out, OutcomeRecord(pd.DataFrame(rows)))
    held.write_page(OofCases(pd.DataFrame()), ModelProvenance("ab" * 32, {}))
    page = (out / "page.html").read_text(encoding="utf-8")
    assert "<strong>37 %</strong>" in page
    assert "<td>21 %</td>" in page

"""Predictions made without this project, scored against a cohort."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from kicc_ml.benchmark import evaluate_predictions, model_names
from kicc_ml.dicom.image_files import nifti_series
from kicc_ml.records import Case, UserError

AFFINE = np.diag([-2.0, -2.0, 4.0, 1.0])


def lesion(number: int) -> np.ndarray:
    mask = np.zeros((16, 16, 8), np.uint8)
    mask[3 : 8 + number % 4, 4:9, 2:6] = 1
    return mask


def cohort(folder: Path) -> dict[str, Case]:
    """Nine patients of three hospitals, each with a CT, a lesion and an endpoint."""
    folder.mkdir()
    cases = {}
    for number in range(9):
        case_id, site = f"c{number}", ("busan", "jeju", "seoul")[number % 3]
        image, mask = folder / f"{case_id}_ct.nii.gz", folder / f"{case_id}_lesion.nii.gz"
        nib.save(nib.Nifti1Image(np.zeros((16, 16, 8), np.int16), AFFINE), image)
        nib.save(nib.Nifti1Image(lesion(number), AFFINE), mask)
        ct = replace(nifti_series(image, site=site, patient=case_id, units="hu"), vendor="Siemens")
        endpoints = {"icu": float(number // 3 == 1)}
        cases[case_id] = Case(case_id, site, f"p{number}", ct=ct, endpoints=endpoints, masks={"lesion": mask})
    return cases


def masks(folder: Path, cases: dict[str, Case], shift: int) -> Path:
    folder.mkdir()
    for number, case_id in enumerate(cases):
        moved = np.roll(lesion(number), shift, axis=0)
        nib.save(nib.Nifti1Image(moved, AFFINE), folder / f"{case_id}.nii.gz")
    return folder


def probabilities(path: Path, cases: dict[str, Case], seed: int) -> Path:
    generator = np.random.default_rng(seed)
    rows = [(case_id, "icu", generator.uniform()) for case_id in cases]
    pd.DataFrame(rows, columns=["case_id", "endpoint", "probability"]).to_csv(path, index=False)
    return path


def summary_of(page: Path) -> dict:
    return json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))


def test_two_files_are_two_models_compared_on_the_same_cases(tmp_path: Path) -> None:
    cases = cohort(tmp_path / "cohort")
    files = [probabilities(tmp_path / f"{name}.csv", cases, seed) for seed, name in enumerate(("ours", "theirs"))]
    summary = summary_of(evaluate_predictions(model_names(files), cases, tmp_path / "report"))
    assert set(summary["outcome"]["icu"]) == {"ours", "theirs"}
    assert [(row["model"], row["against"], row["n"]) for row in summary["comparisons"] if row["metric"] == "brier"] == [
        ("ours", "theirs", 9)
    ]
    assert {row["grouping"] for row in summary["subgroups"]} == {"vendor"}


def test_a_folder_of_masks_is_scored_in_millimetres_of_the_scans(tmp_path: Path) -> None:
    cases = cohort(tmp_path / "cohort")
    folder = masks(tmp_path / "net", cases, 1)
    summary = summary_of(evaluate_predictions(model_names([folder]), cases, tmp_path / "report"))
    assert summary["segmentation"]["lesion"]["hd95_mm"]["mean"] == pytest.approx(2.0)
    assert summary["segmentation"]["lesion"]["dice"]["n"] == 9


def test_two_folders_have_a_report_each_and_are_compared_in_a_third(tmp_path: Path) -> None:
    cases = cohort(tmp_path / "cohort")
    named = model_names([masks(tmp_path / "near", cases, 1), masks(tmp_path / "far", cases, 3)])
    page = evaluate_predictions(named, cases, tmp_path / "report")
    (row,) = summary_of(page)["comparisons"]
    assert (row["model"], row["against"], row["better"]) == ("near", "far", "near")
    assert "near, far" in page.read_text(encoding="utf-8")
    assert summary_of(tmp_path / "report" / "far" / "report.html")["segmentation"]["lesion"]["dice"]["mean"] < 0.6


def test_a_mask_that_is_missing_or_on_another_grid_is_refused(tmp_path: Path) -> None:
    cases = cohort(tmp_path / "cohort")
    folder = masks(tmp_path / "net", cases, 1)
    (folder / "c4.nii.gz").unlink()
    with pytest.raises(UserError, match=r"1 missing \(c4\)"):
        evaluate_predictions(model_names([folder]), cases, tmp_path / "report")
    nib.save(nib.Nifti1Image(lesion(4)[::2], AFFINE), folder / "c4.nii.gz")
    with pytest.raises(UserError, match="grid"):
        evaluate_predictions(model_names([folder]), cases, tmp_path / "report")


def test_files_that_are_not_there_or_share_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"theirs\.csv: there is no such file"):
        model_names([tmp_path / "theirs.csv"])
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "x.csv", tmp_path / "a" / "x.csv"):
        path.touch()
    with pytest.raises(UserError, match="same name"):
        model_names([tmp_path / "x.csv", tmp_path / "a" / "x.csv"])

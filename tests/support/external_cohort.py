"""A small cohort, and predictions of it that were made elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from kicc_ml.core.types import Case
from kicc_ml.dicom.series.image_files import make_nifti_series

AFFINE = np.diag([-2.0, -2.0, 4.0, 1.0])


def make_lesion(number: int) -> np.ndarray:
    mask = np.zeros((16, 16, 8), np.uint8)
    mask[3 : 8 + number % 4, 4:9, 2:6] = 1
    return mask


def make_cohort(folder: Path) -> dict[str, Case]:
    """Nine patients of three hospitals, each with a CT, a lesion and an endpoint."""
    folder.mkdir()
    cases = {}
    for number in range(9):
        case_id, site = f"c{number}", ("busan", "jeju", "seoul")[number % 3]
        image, mask = folder / f"{case_id}_ct.nii.gz", folder / f"{case_id}_lesion.nii.gz"
        nib.save(nib.Nifti1Image(np.zeros((16, 16, 8), np.int16), AFFINE), image)
        nib.save(nib.Nifti1Image(make_lesion(number), AFFINE), mask)
        ct = replace(make_nifti_series(image, site=site, patient=case_id, units="hu"), vendor="Siemens")
        endpoints = {"icu": float(number // 3 == 1)}
        cases[case_id] = Case(case_id, site, f"p{number}", ct=ct, endpoints=endpoints, masks={"lesion": mask})
    return cases


def write_masks(folder: Path, cases: dict[str, Case], shift: int) -> Path:
    folder.mkdir()
    for number, case_id in enumerate(cases):
        moved = np.roll(make_lesion(number), shift, axis=0)
        nib.save(nib.Nifti1Image(moved, AFFINE), folder / f"{case_id}.nii.gz")
    return folder


def write_probabilities(path: Path, cases: dict[str, Case], seed: int) -> Path:
    generator = np.random.default_rng(seed)
    rows = [(case_id, "icu", generator.uniform()) for case_id in cases]
    pd.DataFrame(rows, columns=["case_id", "endpoint", "probability"]).to_csv(path, index=False)
    return path


def read_summary(page: Path) -> dict:
    return json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))

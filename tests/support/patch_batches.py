"""Patients with a lesion in a known place, and batches of patches of them."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from kicc_ml.core.types import Case, Split
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_nifti_series

CANONICAL = CanonicalCT(spacing_mm=(2.0, 2.0, 2.0))


def write(path: Path, array: np.ndarray) -> Path:
    """Write a NIfTI file with voxels of 1 mm."""
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    return path


def segmentation_case(folder: Path, number: int, lesion_voxels: int = 4, spacing_known: bool = True) -> Case:
    """Patient ``number`` with noise for a CT and a box for a lesion."""
    rng = np.random.default_rng(number)
    shape = (40 + 2 * number, 40, 24)
    ct = write(folder / f"ct{number}.nii.gz", rng.integers(-1000, 200, shape).astype(np.int16))
    lesion = np.zeros(shape, np.uint8)
    lesion[30 : 30 + lesion_voxels, 4:8, 16:20] = 1
    return Case(
        case_id=f"c{number}",
        site=f"s{number % 2}",
        person=f"p{number}",
        ct=make_nifti_series(ct, site=f"s{number % 2}", patient=str(number), units="hu", spacing_known=spacing_known),
        masks={"lesion": write(folder / f"lesion{number}.nii.gz", lesion)},
    )


def split_of(cases: list[Case], train: int, val: int = 1) -> Split:
    """The first ``train`` cases, then ``val``, then the test."""
    ids = tuple(case.case_id for case in cases)
    return Split("f", ids[:train], ids[train : train + val], ids[train + val :], {i: i for i in ids})


def started(module: Any) -> Any:
    """A data module as Lightning has it when a training begins."""
    module.prepare_data()
    module.setup("fit")
    return module


def patches(folder: Path, spacing_known: bool = True, **settings: Any) -> PatchDataModule:
    """Patches of four patients, two of each of two hospitals."""
    cases = [segmentation_case(folder, number, spacing_known=spacing_known) for number in range(4)]
    defaults: dict[str, Any] = {"patch_size": (8, 8, 8), "patches_per_epoch": 12}
    module = PatchDataModule(
        cases, split_of(cases, 3), VolumeStore(folder / "store"), CANONICAL, **(defaults | settings)
    )
    return started(module)

"""Small cases for a store, and the folders that it makes of them."""

from pathlib import Path

import nibabel as nib
import numpy as np

from kicc_ml.core.types import Case
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.dicom.series.image_files import make_nifti_series

CANONICAL = CanonicalCT(spacing_mm=(2.0, 2.0, 2.0))
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])  # index grows to left, back, head; 1 mm


def write(path: Path, array: np.ndarray) -> Path:
    """Write a NIfTI file with voxels of 1 mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def make_case(folder: Path, name: str, regions: tuple[str, ...] = ()) -> Case:
    """A noisy CT of 24 x 20 x 16 voxels; each region is a box of its own."""
    rng = np.random.default_rng(int(name))
    hu = rng.integers(-1000, 200, (24, 20, 16)).astype(np.int16)
    masks = {}
    for number, region in enumerate(regions):
        box = np.zeros(hu.shape, np.uint8)
        box[4 * number : 4 * number + 4, 2:12, 4:8] = 1
        masks[region] = write(folder / name / f"{region}.nii.gz", box)
    ct = make_nifti_series(write(folder / f"{name}.nii.gz", hu), site="a", patient=name, units="hu")
    return Case(case_id=name, site="a", person=name, ct=ct, masks=masks)


def folders(root: Path) -> list[Path]:
    """The folders of a store: one for each volume."""
    return [path for path in root.iterdir() if path.is_dir()]

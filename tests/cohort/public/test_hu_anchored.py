"""Grey values of a public CT data set come to Hounsfield units by lung and muscle, and mix with synthetic scans."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kicc_ml.cohort.public.hu_anchored import LUNG_HU, MUSCLE_HU, anchored_hu, hu_ct
from kicc_ml.core.errors import UserError
from kicc_ml.dicom.volume.read import read_volume


def chest(lung_grey: int, muscle_grey: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey values with lung in the middle, a lesion in it half way to muscle, and muscle about."""
    grey_xyz = np.full((20, 20, 6), muscle_grey, np.uint8)
    lung_xyz = np.zeros(grey_xyz.shape, bool)
    lung_xyz[5:15, 5:15] = True
    lesion_xyz = np.zeros(grey_xyz.shape, bool)
    lesion_xyz[5:8, 5:8] = True
    grey_xyz[lung_xyz] = lung_grey
    grey_xyz[lesion_xyz] = (lung_grey + muscle_grey) // 2
    return grey_xyz, lung_xyz, lesion_xyz


def test_lung_and_muscle_come_to_their_hu_and_what_lies_between_stays_between() -> None:
    grey_xyz, lung_xyz, lesion_xyz = chest(60, 160)
    hu_xyz = anchored_hu(grey_xyz, lung_xyz, lesion_xyz)
    assert set(hu_xyz[lung_xyz & ~lesion_xyz]) == {int(LUNG_HU)}
    assert set(hu_xyz[~lung_xyz]) == {int(MUSCLE_HU)}
    assert set(hu_xyz[lesion_xyz]) == {int((LUNG_HU + MUSCLE_HU) / 2)}


def test_a_lung_no_darker_than_the_body_is_not_guessed_at() -> None:
    with pytest.raises(UserError, match="without healthy lung"):
        anchored_hu(*chest(160, 160))


def test_the_file_that_cannot_be_anchored_is_named(tmp_path) -> None:
    path = laid(tmp_path / "data", chest(160, 160))
    with pytest.raises(UserError, match=path.name):
        hu_ct(tmp_path / "data", tmp_path / "made", patients=8, sites=2, seed=1)


def laid(root: Path, arrays: tuple[np.ndarray, ...]) -> Path:
    """One scan with its masks where the public set has them; the scan's file."""
    folder = root / "ct_volumes/covid_seg_u8"
    folder.mkdir(parents=True)
    for name, array in zip(("ct", "lung", "lesion"), arrays, strict=True):
        nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4)), folder / f"radiopaedia_1_{name}.nii.gz")
    return folder / "radiopaedia_1_ct.nii.gz"


def test_the_cohort_holds_real_scans_in_hu_of_unknown_spacing_and_synthetic_ones_with_sides(tmp_path) -> None:
    laid(tmp_path / "data", chest(60, 160))
    real, *synthetic = hu_ct(tmp_path / "data", tmp_path / "made", patients=8, sites=2, seed=1)
    volume = read_volume(real.ct)
    assert (volume.units, volume.spacing_known) == ("hu", False)
    assert np.median(volume.array) == MUSCLE_HU
    assert synthetic
    assert all({"left_lung", "right_lung", "consolidation"} <= set(case.masks) for case in synthetic)

"""Reference masks meet their CT voxel by voxel."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Volume
from kicc_ml.data.masks import reference_masks

AFFINE = np.array([[-0.7, 0, 0, 100], [0, -0.7, 0, 90], [0, 0, 5.0, -300], [0, 0, 0, 1]])
SHAPE = (9, 8, 6)
ONE_SLICE = np.array([[0.0] * 4, [0] * 4, [0, 0, 0, 5], [0] * 4])


def mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE) > 0.6


def case_with(folder: Path, axes: str = "LPS", **masks: np.ndarray) -> Case:
    paths = {}
    for region, array in masks.items():
        image = nib.Nifti1Image(array.astype(np.uint8), AFFINE)
        own = nib.orientations.io_orientation(AFFINE)
        turn = nib.orientations.ornt_transform(own, nib.orientations.axcodes2ornt(axes))
        paths[region] = folder / f"{region}.nii.gz"
        nib.save(image.as_reoriented(turn), paths[region])
    return Case("a", "seoul", "p", masks=paths)


def ct(affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE) -> Volume:
    return Volume(np.zeros(shape, np.int16), affine, "hu")


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SPL", "AIR"])
def test_a_mask_saved_along_other_axes_lands_on_the_same_voxels(tmp_path: Path, axes: str):
    found = reference_masks(case_with(tmp_path, axes, lesion=mask(0)), ct())
    np.testing.assert_array_equal(found["lesion"], mask(0))
    assert found["lesion"].dtype == bool


def test_lung_and_lesion_are_made_up_of_their_parts(tmp_path: Path):
    parts = {"left_lung": mask(1), "right_lung": mask(2), "ground_glass": mask(3), "consolidation": mask(4)}
    found = reference_masks(case_with(tmp_path, **parts), ct())
    assert set(found) == {"lung", "left_lung", "right_lung", "lesion", "consolidation"}
    np.testing.assert_array_equal(found["lung"], mask(1) | mask(2))
    np.testing.assert_array_equal(found["lesion"], mask(3) | mask(4))


def test_one_part_alone_leaves_the_whole_unknown(tmp_path: Path):
    assert set(reference_masks(case_with(tmp_path, consolidation=mask(4)), ct())) == {"consolidation"}


def test_a_case_without_masks_has_none():
    assert reference_masks(Case("a", "seoul", "p"), ct()) == {}


@pytest.mark.parametrize(
    "volume",
    [ct(shape=(9, 8, 7)), ct(AFFINE @ np.diag([1, 1, 1.5, 1])), ct(AFFINE + ONE_SLICE)],
    ids=["more slices", "thicker slices", "moved by a slice"],
)
def test_a_mask_on_another_grid_is_refused(tmp_path: Path, volume: Volume):
    with pytest.raises(UserError):
        reference_masks(case_with(tmp_path, lesion=mask(0)), volume)

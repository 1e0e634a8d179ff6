"""A radiograph as it hangs, and masks on its pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Case
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.data.radiograph import divide_lungs, flat_masks
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_radiograph_series, write_nifti
from kicc_ml.dicom.volume.read import place_frontal

SHAPE = (40, 30)


def two_lungs() -> np.ndarray:
    lung_xy = np.zeros(SHAPE, bool)
    lung_xy[4:16, 5:25] = lung_xy[24:34, 5:25] = True
    return lung_xy


def picture(path: Path, array_xy: np.ndarray) -> Path:
    Image.fromarray(array_xy.T.astype(np.uint8) * 255).convert("1").save(path)
    return path


def case_with(folder: Path, **masks: tuple[Path, ...]) -> Case:
    grey = np.random.default_rng(0).integers(0, 255, SHAPE[::-1]).astype(np.uint8)
    Image.fromarray(grey).save(folder / "x.png")
    return Case("x", "a", "p", cxr=make_radiograph_series(folder / "x.png", site="a", patient="x"), cxr_masks=masks)


def test_the_top_left_pixel_is_right_and_high_in_the_patient():
    volume = place_frontal(np.zeros(SHAPE, np.float32), "arbitrary", (0.25, 0.5))
    corners = volume.affine_ras @ np.array([[0, 0, 0, 1], [39, 29, 0, 1]]).T
    right_to_left_mm, head_to_foot_mm = corners[0, 0] - corners[0, 1], corners[2, 0] - corners[2, 1]
    assert (right_to_left_mm, head_to_foot_mm) == pytest.approx((39 * 0.5, 29 * 0.25))
    assert volume.array.shape == (*SHAPE, 1)
    assert np.linalg.det(volume.affine_ras[:3, :3]) > 0  # no mirror image


def test_lungs_marked_together_are_told_apart_by_where_they_hang():
    found = divide_lungs(two_lungs())
    assert found["right_lung"][10, 10]
    assert found["left_lung"][30, 10]
    np.testing.assert_array_equal(found["right_lung"] | found["left_lung"], two_lungs())


def test_lungs_in_one_piece_or_three_are_not_told_apart():
    joined, three = two_lungs(), two_lungs()
    joined[16:24, 10] = True
    three[:, 14:16] = False
    three[24:34, 14:16] = True
    assert divide_lungs(joined) == divide_lungs(three) == divide_lungs(np.zeros(SHAPE, bool)) == {}


def test_a_region_is_the_union_of_its_files_and_empty_without_one(tmp_path: Path):
    lesion = np.zeros(SHAPE, bool)
    lesion[5:9, 6:9] = True
    other = np.roll(lesion, 20, axis=0)
    write_nifti(tmp_path / "b.nii.gz", other[..., None], np.eye(4))
    case = case_with(tmp_path, lesion=(picture(tmp_path / "a.png", lesion), tmp_path / "b.nii.gz"), consolidation=())
    found = flat_masks(case, SHAPE)
    np.testing.assert_array_equal(found["lesion"], lesion | other)
    assert not found["consolidation"].any()


def test_a_mask_of_another_size_is_refused_by_name(tmp_path: Path):
    case = case_with(tmp_path, lung=(picture(tmp_path / "small.png", np.eye(20, 15, dtype=bool)),))
    with pytest.raises(UserError, match=r"small.png: a mask of 20 x 15 pixels for a radiograph of 40 x 30"):
        flat_masks(case, SHAPE)


def test_masks_are_stored_on_the_padded_square_of_their_radiograph(tmp_path: Path):
    case = case_with(tmp_path, lung=(picture(tmp_path / "lung.png", two_lungs()),))
    store, canonical = VolumeStore(tmp_path / "store"), CanonicalCXR(size=40)
    assert store.prepare([case], canonical) == {}
    mask_cxy = store.load([case], canonical)["x"].mask_cxyz[..., 0]
    padded = np.pad(two_lungs(), ((0, 0), (5, 5)))  # 30 rows in 40
    np.testing.assert_array_equal(mask_cxy[REGIONS.index("lung")], padded)
    np.testing.assert_array_equal(mask_cxy[REGIONS.index("right_lung")][:20], padded[:20])

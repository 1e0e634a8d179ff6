"""Scans as networks see them: window, voxel size, orientation."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Volume
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR, Canonicald
from kicc_ml.data.resampling import resample
from kicc_ml.dicom.volume.read import RepositoryReader, place_frontal


def ct(
    shape: tuple[int, ...] = (40, 30, 20),
    axes: str = "LPS",
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 2.0),
    seed: int = 0,
) -> Volume:
    """Noise in HU with an affine whose axes grow towards the named sides."""
    array = np.random.default_rng(seed).integers(-1000, 400, shape).astype(np.int16)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt(axes), nib.orientations.axcodes2ornt("RAS"))
    affine_ras = nib.orientations.inv_ornt_aff(turn, shape)
    affine_ras = np.linalg.inv(affine_ras)
    affine_ras[:3, :3] *= np.asarray(spacing_mm)
    return Volume(array, affine_ras, "hu")


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SRA", "PIL", "AIR"])
def test_any_orientation_gives_the_same_lps_volume(axes: str) -> None:
    """nibabel's closest canonical (RAS), turned to LPS, is the oracle."""
    volume = ct(axes=axes)
    canonical = CanonicalCT(spacing_mm=None, window_hu=(-1000, 1000))(volume)
    closest = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.affine_ras)).get_fdata()
    np.testing.assert_allclose(canonical.image_cxyz[0], (closest[::-1, ::-1] + 1000) / 2000, atol=1e-6)
    assert nib.aff2axcodes(canonical.affine_ras) == ("L", "P", "S")
    assert canonical.image_cxyz.dtype == torch.float32


def test_a_landmark_keeps_its_place_in_the_patient() -> None:
    array = np.full((60, 50, 30), -1024, np.int16)
    affine_ras = np.array([[0, 0, 2.0, -40], [-1.5, 0, 0, 60], [0, 1.0, 0, -300], [0, 0, 0, 1.0]])
    array[20:25, 30:36, 10:14] = 400
    canonical = CanonicalCT(spacing_mm=(1.0, 1.0, 1.0))(Volume(array, affine_ras, "hu"))
    weight = canonical.image_cxyz[0].numpy()
    index = np.array([(weight * grid).sum() / weight.sum() for grid in np.indices(weight.shape)])
    centre_ras = canonical.affine_ras @ [*index, 1]
    np.testing.assert_allclose(centre_ras, affine_ras @ [22, 32.5, 11.5, 1], atol=0.05)


def test_spacing_becomes_the_configured_one_over_the_same_extent() -> None:
    volume = ct(shape=(64, 64, 33), spacing_mm=(0.8, 0.8, 2.5))
    canonical = CanonicalCT(spacing_mm=(2.0, 2.0, 4.0))(volume)
    assert tuple(canonical.image_cxyz.shape) == (1, 26, 26, 21)
    np.testing.assert_allclose(np.linalg.norm(canonical.affine_ras[:3, :3], axis=0), (2, 2, 4))
    middle = canonical.affine_ras @ [12.5, 12.5, 10, 1]
    np.testing.assert_allclose(middle, volume.affine_ras @ [31.5, 31.5, 16, 1], atol=1e-6)


def test_unknown_spacing_keeps_the_grid_unless_a_matrix_is_given() -> None:
    known = ct(shape=(64, 64, 30))
    unknown = Volume(known.array, known.affine_ras, "arbitrary", spacing_known=False)
    assert CanonicalCT()(unknown).image_cxyz.shape == (1, 64, 64, 30)
    assert CanonicalCT(matrix=(32, 32, None))(unknown).image_cxyz.shape == (1, 32, 32, 30)
    assert CanonicalCT(matrix=(48, 48, 16))(known).image_cxyz.shape == (1, 48, 48, 16)


def test_window_maps_air_to_0_and_padding_values_do_not_bleed() -> None:
    volume = ct()
    volume.array[:] = -1024
    volume.array[0:2] = -3024
    volume.array[20:] = 3000
    image = CanonicalCT(spacing_mm=(1.5, 1.0, 2.0))(volume).image_cxyz
    assert image[0, :10].abs().max() == 0
    assert image[0, -1].min() == 1


def test_arbitrary_units_are_scaled_by_their_own_percentiles() -> None:
    volume = ct()
    scaled = Volume(volume.array * 0.01 + 7, volume.affine_ras, "arbitrary")
    plain = CanonicalCT(spacing_mm=None)(Volume(volume.array, volume.affine_ras, "arbitrary")).image_cxyz
    torch.testing.assert_close(CanonicalCT(spacing_mm=None)(scaled).image_cxyz, plain, atol=1e-4, rtol=0)
    assert (plain.min(), plain.max()) == (0, 1)
    constant = Volume(np.full((4, 4, 4), 9.0), np.eye(4), "arbitrary")
    assert CanonicalCT()(constant).image_cxyz.abs().max() == 0


def test_masks_of_another_orientation_land_on_the_image() -> None:
    volume = ct(shape=(40, 40, 40), spacing_mm=(1, 1, 1))
    lesion = np.zeros(volume.array.shape, bool)
    lesion[10:20, 24:36, 8:30] = True
    stored = nib.as_closest_canonical(nib.Nifti1Image(lesion.astype(np.uint8), volume.affine_ras))
    masks = CanonicalCT(spacing_mm=(2.0, 2.0, 2.0)).masks({"lesion": (stored.get_fdata() > 0, stored.affine)}, volume)
    expected = np.zeros((20, 20, 20), np.uint8)
    expected[5:10, 12:18, 4:15] = 1
    np.testing.assert_array_equal(masks["lesion"], expected)


def test_a_mask_beside_its_image_is_refused() -> None:
    volume = ct()
    moved = volume.affine_ras.copy()
    moved[2, 3] += 10
    with pytest.raises(UserError, match=r"5\.0 voxels beside"):
        CanonicalCT().mask(volume.array > 0, moved, volume)
    with pytest.raises(UserError, match="mask of"):
        CanonicalCT().mask(np.zeros((40, 30, 21), bool), volume.affine_ras, volume)


def test_there_and_back_again_keeps_a_smooth_map() -> None:
    volume = ct(axes="RAS", shape=(48, 40, 24), spacing_mm=(1, 1, 1))
    x, y, z = np.indices(volume.array.shape) / 10
    smooth = torch.from_numpy(np.sin(x) + np.cos(y) + np.sin(z)).float()[None]
    grid = CanonicalCT(spacing_mm=(2.0, 2.0, 2.0)).grid(volume)
    there = resample(smooth, volume.affine_ras, grid.affine_ras, grid.shape)
    back = resample(there, grid.affine_ras, volume.affine_ras, volume.array.shape)
    assert (back - smooth)[:, 2:-2, 2:-2, 2:-2].abs().max() < 0.02


def test_a_radiograph_keeps_its_aspect() -> None:
    array_xy = np.zeros((300, 200))
    array_xy[100:200, 50:150] = 1000  # a square, in the middle
    image_cxyz = CanonicalCXR(size=60)(place_frontal(array_xy, "arbitrary", (0.2, 0.2))).image_cxyz
    assert image_cxyz.shape == (1, 60, 60, 1)
    image = image_cxyz[..., 0]
    inside = image[0] > 0.5
    assert inside.any(1).sum() == inside.any(0).sum() == 20
    assert image[0, :, :10].abs().max() == 0
    assert inside[20:40, 20:40].all()


def test_radiographs_and_volumes_come_through_the_repository_reader(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (50, 40)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "cxr.png")
    volume = ct(axes="PIL")
    nib.save(nib.Nifti1Image(volume.array, volume.affine_ras), tmp_path / "ct.nii.gz")
    pipeline = Compose(
        [
            LoadImaged(("ct", "cxr"), reader=RepositoryReader()),
            Canonicald("ct", CanonicalCT()),
            Canonicald("cxr", CanonicalCXR(size=25)),
        ]
    )
    sample = pipeline({"ct": tmp_path / "ct.nii.gz", "cxr": tmp_path / "cxr.png"})
    torch.testing.assert_close(sample["ct"], CanonicalCT()(volume).image_cxyz)
    flat = CanonicalCXR(size=25)(place_frontal(grey.T.astype(np.float32), "arbitrary", None))
    torch.testing.assert_close(sample["cxr"], flat.image_cxyz)
    np.testing.assert_allclose(sample["cxr_affine_ras"], flat.affine_ras)
    assert type(sample["cxr"]) is torch.Tensor


def test_masks_of_an_image_without_spacing_count_in_voxels_too() -> None:
    """A reader drops millimetres that are not to be believed; the masks beside still have them."""
    volume = ct(spacing_mm=(0.7, 0.7, 5.0))
    in_voxels = volume.affine_ras @ np.diag([*1 / np.linalg.norm(volume.affine_ras[:3, :3], axis=0), 1])
    unknown = Volume(volume.array, in_voxels, "arbitrary", spacing_known=False)
    mask = CanonicalCT().mask(volume.array > 0, volume.affine_ras, unknown)
    np.testing.assert_array_equal(mask, volume.array > 0)


def test_the_dictionary_form_stands_in_a_plain_monai_pipeline(tmp_path: Path) -> None:
    volume = ct(axes="RAS")
    nib.save(nib.Nifti1Image(volume.array, volume.affine_ras), tmp_path / "ct.nii.gz")
    lesion = (volume.array > 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(lesion, volume.affine_ras), tmp_path / "lesion.nii.gz")
    canonical = CanonicalCT(spacing_mm=(2.0, 2.0, 4.0))
    for channel in ([], [EnsureChannelFirstd(("image", "lesion"))]):
        pipeline = Compose(
            [
                LoadImaged(("image", "lesion"), reader="NibabelReader"),
                *channel,
                Canonicald(("image", "lesion"), canonical, mask_keys=("lesion",)),
            ]
        )
        sample = pipeline({"image": tmp_path / "ct.nii.gz", "lesion": tmp_path / "lesion.nii.gz"})
        assert not isinstance(sample["image"], MetaTensor)
        torch.testing.assert_close(sample["image"], canonical(volume).image_cxyz)
        expected = canonical.mask(volume.array > 0, volume.affine_ras, volume)
        np.testing.assert_array_equal(sample["lesion"][0].numpy(), expected)

"""Resampling against SciPy and SimpleITK, and by what must hold on any grid."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
import torch
from scipy import ndimage

from kicc_ml.data.resampling import SAME_PLACE_VOXELS, resample

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rotation(rng: np.random.Generator, degrees: float = 25.0) -> np.ndarray:
    a, b, c = np.deg2rad(rng.uniform(-degrees, degrees, 3))
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def affine(turn: np.ndarray, spacing_mm: tuple[float, ...], origin_mm: tuple[float, ...]) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3] = turn * np.asarray(spacing_mm)
    result[:3, 3] = origin_mm
    return result


def smooth_image(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return ndimage.gaussian_filter(rng.normal(size=shape), 1.0).astype(np.float32)


def by_simpleitk(
    array: np.ndarray, from_affine: np.ndarray, to_affine: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    def geometry(image: sitk.Image, affine_ras: np.ndarray) -> None:
        affine_lps = RAS_TO_LPS @ affine_ras
        spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine_lps[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(affine_lps[:3, 3].tolist())

    moving = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    geometry(moving, from_affine)
    reference = sitk.Image([int(n) for n in shape], sitk.sitkFloat32)
    geometry(reference, to_affine)
    moved = sitk.Resample(moving, reference, sitk.Transform(), sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(moved).transpose(2, 1, 0)


@pytest.mark.parametrize("seed", range(4))
def test_oblique_resampling_agrees_with_simpleitk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = smooth_image(rng, (21, 17, 13))
    source = affine(rotation(rng), (1.0, 1.3, 2.0), (-10.0, 5.0, 30.0))
    target = affine(rotation(rng), (1.1, 1.2, 1.7), (-11.0, 4.0, 28.0))
    shape = (20, 18, 15)
    ours = resample(torch.from_numpy(array)[None], source, target, shape, padding="zeros")[0].numpy()
    index = np.einsum("ij,jxyz->ixyz", np.linalg.inv(source) @ target, np.stack([*np.indices(shape), np.ones(shape)]))
    to_face = np.abs(np.abs(index[:3].T - (np.array(array.shape) - 1) / 2) - np.array(array.shape) / 2).T.min(axis=0)
    clear = to_face > 2e-3  # whether a point on the very face is inside is a matter of rounding
    assert clear.mean() > 0.99
    np.testing.assert_allclose(ours[clear], by_simpleitk(array, source, target, shape)[clear], atol=2e-5)


@pytest.mark.parametrize("mode", ["trilinear", "nearest"])
@pytest.mark.parametrize("oblique", [True, False])
def test_border_padding_agrees_with_scipy(mode: str, oblique: bool) -> None:
    rng = np.random.default_rng(7)
    array = smooth_image(rng, (19, 15, 11))
    turn = rotation(rng) if oblique else np.diag([-1.0, 1.0, 1.0])[:, [1, 0, 2]]
    source, target = (
        affine(np.eye(3), (1.0, 1.0, 1.5), (0.0, 0.0, 0.0)),
        affine(turn, (0.93, 1.31, 1.1), (9.1, 2.2, 1.3)),
    )
    index_map = np.linalg.inv(source) @ target
    expected = ndimage.affine_transform(
        array,
        index_map[:3, :3],
        index_map[:3, 3],
        (16, 17, 12),
        order=1 if mode == "trilinear" else 0,
        mode="nearest",
    )
    ours = resample(torch.from_numpy(array)[None], source, target, (16, 17, 12), mode=mode)[0].numpy()  # type: ignore[arg-type]
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_flips_and_permutations_are_exact_copies() -> None:
    array = np.random.default_rng(0).normal(size=(7, 9, 11))
    image = nib.Nifti1Image(array, affine(np.eye(3)[:, [2, 0, 1]] * [-1, 1, -1], (2.0, 0.7, 1.3), (3.0, -8.0, 1.0)))
    closest = nib.as_closest_canonical(image)
    ours = resample(torch.from_numpy(array)[None], image.affine, closest.affine, closest.shape)
    np.testing.assert_array_equal(ours[0].numpy(), closest.get_fdata())


def test_an_integer_shift_crops_and_fills_with_zeros_or_the_border() -> None:
    array = torch.arange(5.0).view(1, 5, 1, 1)
    shifted = affine(np.eye(3), (1, 1, 1), (-2, 0, 0))
    zeros = resample(array, np.eye(4), shifted, (6, 1, 1), padding="zeros")
    border = resample(array, np.eye(4), shifted, (6, 1, 1), padding="border")
    assert zeros.flatten().tolist() == [0, 0, 0, 1, 2, 3]
    assert border.flatten().tolist() == [0, 0, 0, 1, 2, 3]
    assert resample(array + 9, np.eye(4), shifted, (6, 1, 1)).flatten().tolist() == [9, 9, 9, 10, 11, 12]


def test_a_linear_ramp_stays_a_ramp_in_patient_space() -> None:
    """Half-voxel conventions: a value equal to the position in mm must still be so on any other grid."""
    source = affine(np.eye(3), (1.0, 1.0, 1.0), (-20.0, -20.0, -20.0))
    ramp = torch.arange(-20.0, 20.0)[None, :, None, None].expand(1, 40, 40, 40).contiguous()
    for spacing_mm in (0.7, 1.9, 2.0, 3.0):
        target = affine(np.eye(3), (spacing_mm, 1.0, 1.0), (-12.3, 0.0, 0.0))
        moved = resample(ramp, source, target, (8, 4, 4))[0, :, 0, 0]
        expected = -12.3 + spacing_mm * torch.arange(8)
        torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


def test_shrinking_averages_instead_of_skipping() -> None:
    checkers = torch.from_numpy((np.indices((24, 24, 24)).sum(axis=0) % 2).astype(np.float32))[None]
    coarse = affine(np.eye(3), (4.0, 4.0, 4.0), (1.5, 1.5, 1.5))
    torch.testing.assert_close(resample(checkers, np.eye(4), coarse, (6, 6, 6)), torch.full((1, 6, 6, 6), 0.5))


def test_oblique_and_parallel_paths_agree_and_slabs_join(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    image = torch.from_numpy(smooth_image(rng, (12, 12, 12)))[None]
    target = affine(np.eye(3), (1.2, 0.8, 1.1), (0.3, 0.2, 0.4))
    parallel = resample(image, np.eye(4), target, (9, 9, 9))
    monkeypatch.setattr("kicc_ml.data.resampling.SLAB_VOXELS", 2 * 81)
    oblique = resample(image, np.eye(4), sheared(target, 1.1 * SAME_PLACE_VOXELS / 9), (9, 9, 9))
    torch.testing.assert_close(oblique, parallel, atol=float(steepest(image)) * 1.1 * SAME_PLACE_VOXELS, rtol=0)


def sheared(grid: np.ndarray, per_voxel: float) -> np.ndarray:
    """A grid whose first axis leans by so much of a voxel of 1 mm for each of its own."""
    moved = grid.copy()
    moved[1, 0] += per_voxel
    return moved


def steepest(image_cxyz: torch.Tensor) -> torch.Tensor:
    """The largest step between neighbours."""
    return torch.stack([image_cxyz.diff(dim=axis).abs().max() for axis in (1, 2, 3)]).max()

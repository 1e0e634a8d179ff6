"""Conversion from the scanner's grid to the network's grid, and back: orientation, voxel size, grey values.

The canonical orientation is LPS by index: x grows to the patient's left, y to the back, z to the head. Axes are only
permuted and flipped to the nearest directions, so an oblique scan is not rotated.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Modality, Volume
from kicc_ml.data.resampling import moved_origin, resample, source_box

#: An image without units is scaled between these percentiles of its values, so that a bright marker or a few dead
#: pixels do not determine the scale.
PERCENTILES = (0.5, 99.5)

#: A canonical voxel belongs to a region if the region fills more than this share of it, by linear interpolation.
MASK_SHARE = 0.5

#: The number of voxels scaled to 0..1 at a time: a whole CT as float32 would take twice its own size.
SLAB_VOXELS = 1_000_000

CPU = torch.device("cpu")

#: Largest distance, in voxels, between the corners of the grids of a mask and its image.
SAME_GRID_VOXELS = 0.1


@dataclass(frozen=True)
class Grid:
    """The positions of voxels: ``affine_ras`` of index ``[x, y, z]``, and the number of voxels along each axis."""

    affine_ras: np.ndarray
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Canonical:
    """An image in the form that a network takes: ``image_cxyz`` float32 from 0 to 1, 0 = air."""

    image_cxyz: torch.Tensor
    affine_ras: np.ndarray


def lps_grid(affine_ras: np.ndarray, shape: Sequence[int]) -> Grid:
    """Reorder a grid to LPS: axes are permuted and flipped to the nearest directions, nothing is interpolated."""
    own = nib.orientations.io_orientation(affine_ras)
    turn = nib.orientations.ornt_transform(own, nib.orientations.axcodes2ornt("LPS"))
    to_affine = affine_ras @ nib.orientations.inv_ornt_aff(turn, tuple(shape))
    order = np.argsort(turn[:, 0])
    return Grid(to_affine, tuple(int(shape[axis]) for axis in order))


def rescaled_grid(grid: Grid, shape: Sequence[int], voxel_ratio: Sequence[float]) -> Grid:
    """Make a grid with the same centre and voxels ``voxel_ratio`` times as large along each axis."""
    index_map = np.diag([*voxel_ratio, 1.0])
    centre, to_centre = (np.asarray(grid.shape) - 1) / 2, (np.asarray(shape) - 1) / 2
    index_map[:3, 3] = centre - np.asarray(voxel_ratio) * to_centre
    return Grid(grid.affine_ras @ index_map, tuple(int(n) for n in shape))


def scale_to_unit(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Clip to ``low..high`` and scale to float32 0..1. NaN becomes 0; a constant image becomes 0."""
    unit = array.astype(np.float32)
    if np.issubdtype(array.dtype, np.floating):
        np.nan_to_num(unit, copy=False, nan=low)
    np.clip(unit, low, high, out=unit)
    unit -= np.float32(low)
    unit /= np.float32(high - low if high > low else 1.0)
    return unit


def scale_by_percentiles(array: np.ndarray) -> np.ndarray:
    """Scale an image to 0..1 between ``PERCENTILES`` of its finite values."""
    return scale_to_unit(array, *percentile_limits(array))


def percentile_limits(array: np.ndarray) -> tuple[float, float]:
    """Compute ``PERCENTILES`` of the finite values of an image. Raises UserError if it has none."""
    finite = array[np.isfinite(array)] if np.issubdtype(array.dtype, np.floating) else array
    if finite.size == 0:
        raise UserError("the image holds no finite value; export it again")
    low, high = np.percentile(finite, PERCENTILES)
    return float(low), float(high)


@dataclass(frozen=True)
class CanonicalCT:
    """A converter of CT to LPS orientation, ``spacing_mm`` and values from 0 to 1.

    ``spacing_mm`` None, or a file without spacing, keeps the voxel size. An entry of ``matrix`` (x, y, z) sets the
    number of voxels over the whole extent of that axis and overrides the spacing; None leaves the axis to the spacing.
    HU are clipped to ``window_hu`` *before* interpolation, so that padding values such as -3024 do not blur into the
    skin; other units are scaled between ``PERCENTILES``. Voxels beyond the field of view are air (0).
    """

    modality: ClassVar[Modality] = "CT"
    spacing_mm: tuple[float, float, float] | None = (2.0, 2.0, 4.0)
    window_hu: tuple[float, float] = (-1024.0, 600.0)
    matrix: tuple[int | None, int | None, int | None] | None = None

    def __call__(self, volume: Volume, device: torch.device = CPU) -> Canonical:
        """Convert a volume; interpolation runs on ``device``, where the image then lies."""
        grid = self.grid(volume)
        low, high = self.window_hu if volume.units == "hu" else percentile_limits(volume.array)
        image_cxyz = torch.empty(1, *grid.shape, device=device)
        thickness = max(1, SLAB_VOXELS * grid.shape[2] // volume.array.size)
        for first in range(0, grid.shape[2], thickness):
            slab = Grid(
                moved_origin(grid.affine_ras, (0, 0, first)), (*grid.shape[:2], min(thickness, grid.shape[2] - first))
            )
            box = source_box(volume.affine_ras, volume.array.shape, slab.affine_ras, slab.shape)
            unit_cxyz = torch.from_numpy(scale_to_unit(volume.array[box], low, high))[None].to(device)
            own_affine_ras = moved_origin(volume.affine_ras, [axis.start for axis in box])
            image_cxyz[..., first : first + thickness] = resample(
                unit_cxyz, own_affine_ras, slab.affine_ras, slab.shape, padding="zeros"
            )
        return Canonical(image_cxyz, grid.affine_ras)

    def grid(self, volume: Volume) -> Grid:
        """Compute the canonical grid of a volume from its geometry."""
        own = lps_grid(volume.affine_ras, volume.array.shape)
        wanted = self.matrix or (None, None, None)
        ratio, shape = [1.0] * 3, list(own.shape)
        for axis, mm in enumerate(np.linalg.norm(own.affine_ras[:3, :3], axis=0)):
            count = wanted[axis]
            if count is not None:
                ratio[axis], shape[axis] = own.shape[axis] / count, count
            elif self.spacing_mm is not None and volume.spacing_known:
                ratio[axis] = self.spacing_mm[axis] / float(mm)
                shape[axis] = max(1, round(own.shape[axis] / ratio[axis]))
        return rescaled_grid(own, shape, ratio)

    def mask(self, mask_xyz: np.ndarray, mask_affine_ras: np.ndarray, volume: Volume) -> np.ndarray:
        """Resample a mask of ``volume`` to the canonical grid: uint8, 1 where its share exceeds ``MASK_SHARE``.

        The mask may be stored in another orientation. Raises UserError if it is not on the grid of the volume.
        """
        if not volume.spacing_known:  # then sizes are counted in voxels, and the affine of the file is ignored
            mask_affine_ras = mask_affine_ras @ np.diag([*1 / np.linalg.norm(mask_affine_ras[:3, :3], axis=0), 1])
        require_same_grid(mask_xyz.shape, mask_affine_ras, volume)
        return _mask_on(self.grid(volume), mask_xyz, mask_affine_ras)

    def masks(self, masks: Mapping[str, tuple[np.ndarray, np.ndarray]], volume: Volume) -> dict[str, np.ndarray]:
        """Resample masks by name, each (array ``[x, y, z]``, affine_ras), to the canonical grid of ``volume``."""
        return {name: self.mask(array, affine, volume) for name, (array, affine) in masks.items()}


def _mask_on(grid: Grid, mask_xyz: np.ndarray, affine_ras: np.ndarray) -> np.ndarray:
    """Resample a mask to a grid: uint8, 1 where the share of a voxel that the mask fills exceeds ``MASK_SHARE``."""
    share = torch.from_numpy(np.ascontiguousarray(mask_xyz, dtype=np.float32))[None]
    share = resample(share, affine_ras, grid.affine_ras, grid.shape, padding="zeros")[0]
    return (share > MASK_SHARE).numpy().astype(np.uint8)


def require_same_grid(mask_shape: Sequence[int], mask_affine_ras: np.ndarray, volume: Volume) -> None:
    """Raise UserError if a mask and an image do not have the same voxels, in any order of axes."""
    mask = lps_grid(mask_affine_ras, mask_shape)
    image = lps_grid(volume.affine_ras, volume.array.shape)
    if mask.shape != image.shape:
        raise UserError(f"mask of {mask.shape} voxels for an image of {image.shape} (LPS order)")
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in mask.shape])).reshape(3, -1)
    index_map = np.linalg.inv(image.affine_ras) @ mask.affine_ras
    drift = np.abs(index_map[:3, :3] @ corners + index_map[:3, 3:] - corners).max()
    if drift > SAME_GRID_VOXELS:
        raise UserError(f"the affine of the mask places it {drift:.1f} voxels beside its image")


@dataclass(frozen=True)
class CanonicalCXR:
    """A converter of a radiograph ``[x, y, 1]`` to ``(1, size, size, 1)``, scaled to 0..1 between ``PERCENTILES``.

    The aspect is kept: the shorter side is padded with 0 (black) on both sides.
    """

    modality: ClassVar[Modality] = "CXR"
    size: int = 128

    def __call__(self, volume: Volume, device: torch.device = CPU) -> Canonical:
        """Convert a radiograph; interpolation runs on ``device``, where the image then lies."""
        unit = torch.from_numpy(scale_by_percentiles(volume.array))[None].to(device)
        grid = self.grid(volume)
        image_cxyz = resample(unit, volume.affine_ras, grid.affine_ras, grid.shape, padding="zeros")
        return Canonical(image_cxyz.contiguous(), grid.affine_ras)

    def grid(self, volume: Volume) -> Grid:
        """Compute the canonical grid of a radiograph: ``size`` pixels along its longer side, one slice."""
        own = Grid(volume.affine_ras, volume.array.shape)
        ratio = max(own.shape) / self.size
        return rescaled_grid(own, (self.size, self.size, 1), (ratio, ratio, 1.0))

    def masks(self, masks: Mapping[str, tuple[np.ndarray, np.ndarray]], volume: Volume) -> dict[str, np.ndarray]:
        """Resample masks by name, each (array ``[x, y, 1]`` on the pixels of ``volume``, affine_ras), to uint8 0/1."""
        grid = self.grid(volume)
        return {name: _mask_on(grid, array, affine) for name, (array, affine) in masks.items()}


class Canonicald(MapTransform):
    """Canonical images as a MONAI transform: it takes a :class:`Volume`, or the output of ``LoadImaged``.

    ``canonical`` is a :class:`CanonicalCT` or :class:`CanonicalCXR`; keys in ``mask_keys`` are masks (CT only). Units
    are read from the metadata key ``units``, else they are ``units``. It returns plain tensors; the canonical affine is
    stored under ``<key>_affine_ras``, and whether the voxel size is known under ``<key>_spacing_known``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        canonical: CanonicalCT | CanonicalCXR,
        mask_keys: Sequence[str] = (),
        units: Literal["hu", "arbitrary"] = "hu",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.canonical = canonical
        self.mask_keys = tuple(mask_keys)
        self.units = units

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring each volume and mask onto the canonical grid."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = self._volume(result[key])
            if key in self.mask_keys and isinstance(self.canonical, CanonicalCT):
                mask = self.canonical.mask(volume.array > 0, volume.affine_ras, volume)
                result[key] = torch.from_numpy(mask)[None]
                result[f"{key}_affine_ras"] = self.canonical.grid(volume).affine_ras
            else:
                canonical = self.canonical(volume)
                result[key] = canonical.image_cxyz
                result[f"{key}_affine_ras"] = canonical.affine_ras
            result[f"{key}_spacing_known"] = volume.spacing_known
        return result

    def _volume(self, image: Any) -> Volume:
        """Convert a MetaTensor, with or without a leading channel of one, to a Volume; a flat image gets one slice."""
        if isinstance(image, Volume):
            return image
        array = np.asarray(image.as_tensor())
        if array.ndim == 4:
            array = array.reshape(array.shape[1:]) if array.shape[0] == 1 else array[..., 0]
        elif isinstance(self.canonical, CanonicalCXR) and array.shape[-1] != 1:
            array = (array if array.ndim == 2 else array[0])[..., None]
        units = str(image.meta.get("units", self.units))
        affine_ras = np.eye(4)
        affine = np.asarray(image.affine, dtype=float)  # 3 x 3 if MONAI treats the image as 2-D
        affine_ras[: len(affine) - 1, : len(affine) - 1] = affine[:-1, :-1]
        affine_ras[: len(affine) - 1, 3] = affine[:-1, -1]
        return Volume(
            array,
            affine_ras,
            "hu" if units == "hu" else "arbitrary",
            bool(image.meta.get("spacing_known", True)),
        )

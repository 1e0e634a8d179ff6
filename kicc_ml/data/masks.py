"""Reference masks of a case, on the grid of its CT or radiograph."""

from collections.abc import Mapping

import numpy as np
import torch

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import CHEST, RegionSet
from kicc_ml.core.types import Case, Modality, Volume
from kicc_ml.data.canonical import require_same_grid
from kicc_ml.data.mask_file import PlacedMask, read_placed_masks
from kicc_ml.data.radiograph import flat_masks
from kicc_ml.data.resampling import resample


def read_masks(
    case: Case, volume: Volume, modality: Modality = "CT", regions: RegionSet = CHEST
) -> dict[str, PlacedMask]:
    """Read what is marked on an image of a case, each mask where its own file places it.

    Args:
        case: the case.
        volume: its CT or its radiograph.
        modality: which of the two.
        regions: the regions of the task.

    Returns:
        every known region, those that two others make up too.

    Raises:
        UserError: a file cannot be read, or the two parts of a region lie on different grids.
    """
    if modality == "CXR":
        flat = flat_masks(case, volume.array.shape[:2])
        masks = {region: (mask_xy[..., None], volume.affine_ras) for region, mask_xy in flat.items()}
    else:
        masks = read_placed_masks(
            case.masks, {region: case.labels_of(region) for region in case.masks}, case.ct, volume
        )
    found = {region: _find_placed(masks, region, dict(regions.derived)) for region in regions.names}
    return {region: mask for region, mask in found.items() if mask is not None}


def _find_placed(
    masks: Mapping[str, PlacedMask], region: str, derived: Mapping[str, tuple[str, str]]
) -> PlacedMask | None:
    """Find a region like :func:`find_region`, among masks with an affine: its own mask, else both of its parts."""
    if region in masks:
        return masks[region]
    one, other = derived.get(region, ("", ""))
    if one not in masks or other not in masks:
        return None
    (array, affine_ras), (other_array, other_affine_ras) = masks[one], masks[other]
    if array.shape != other_array.shape or not np.allclose(affine_ras, other_affine_ras, atol=1e-3):
        raise UserError(f"the masks {one} and {other} lie on different grids; save both on the CT's")
    return np.asarray(array, bool) | np.asarray(other_array, bool), affine_ras


def reference_masks(
    case: Case, volume: Volume, modality: Modality = "CT", regions: RegionSet = CHEST
) -> dict[str, np.ndarray]:
    """Read what is marked on an image of a case, bool ``[x, y, z]`` by region on the grid of the image.

    Args:
        case: the case.
        volume: its CT or its radiograph.
        modality: which of the two.
        regions: the regions of the task.

    Raises:
        UserError: a mask lies on another grid.
    """
    masks = read_masks(case, volume, modality, regions)
    return {region: _on_grid(mask_xyz, affine_ras, volume) for region, (mask_xyz, affine_ras) in masks.items()}


def _on_grid(mask_xyz: np.ndarray, affine_ras: np.ndarray, volume: Volume) -> np.ndarray:
    """Reorder the voxels of a mask like the image: only flips and permutations, because the grids are the same."""
    require_same_grid(mask_xyz.shape, affine_ras, volume)
    mask_cxyz = torch.from_numpy(np.ascontiguousarray(mask_xyz, dtype=np.uint8))[None]
    return resample(mask_cxyz, affine_ras, volume.affine_ras, volume.array.shape, mode="nearest")[0].numpy() > 0

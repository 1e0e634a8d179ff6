"""Reference masks of a case, on the grid of its CT or radiograph."""

import numpy as np
import torch

from kicc_ml.core.types import Case, Volume
from kicc_ml.data.canonical import require_same_grid
from kicc_ml.data.resampling import resample
from kicc_ml.data.store import read_masks


def reference_masks(case: Case, volume: Volume) -> dict[str, np.ndarray]:
    """The regions labelled for a case, bool ``[x, y, z]`` on the grid of ``volume``, its CT.

    On a flat radiograph they are ``[x, y]``.

    Raises UserError where a mask lies on another grid.
    """
    masks = read_masks(case, volume)
    if volume.array.ndim == 2:
        return {region: mask_xy for region, (mask_xy, _) in masks.items()}
    return {region: _on_grid(mask_xyz, affine_ras, volume) for region, (mask_xyz, affine_ras) in masks.items()}


def _on_grid(mask_xyz: np.ndarray, affine_ras: np.ndarray, volume: Volume) -> np.ndarray:
    """The same voxels in the order of the image: flips and permutations alone, since the grids are the same."""
    require_same_grid(mask_xyz.shape, affine_ras, volume)
    mask_cxyz = torch.from_numpy(np.ascontiguousarray(mask_xyz, dtype=np.uint8))[None]
    return resample(mask_cxyz, affine_ras, volume.affine_ras, volume.array.shape, mode="nearest")[0].numpy() > 0

"""Affine resampling for every change of grid: to the network's grid and back to the scanner's.

Indices are voxel centres; a voxel extends half an index to either side, and the outermost value is constant up to
its outer face (the convention of ITK's linear interpolator).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from kicc_ml.core.boxes import Box

#: A target voxel larger than this many source voxels is averaged first. Without that, linear interpolation would skip
#: source voxels and thin structures would alias.
AVERAGE_ABOVE = 1.5

#: Drift, in source voxels over the whole grid, below which an axis counts as parallel and a position as a voxel
#: centre; affines in files are rounded to single precision.
SAME_PLACE_VOXELS = 1e-3

#: The number of target voxels computed at a time where whole intermediate copies would take gigabytes.
SLAB_VOXELS = 4_000_000


def resample(
    image_cxyz: torch.Tensor,
    affine_ras: np.ndarray,
    to_affine_ras: np.ndarray,
    to_shape: Sequence[int],
    mode: Literal["trilinear", "nearest"] = "trilinear",
    padding: Literal["border", "zeros"] = "border",
) -> torch.Tensor:
    """Resample ``image_cxyz`` to the grid ``to_affine_ras``, ``to_shape``; dtype and device stay the same.

    Trilinear mode needs a floating dtype. It averages blocks of voxels first if the new voxels are more than
    ``AVERAGE_ABOVE`` times as large. Beyond the outer faces the image is extended (``border``) or 0 (``zeros``). Grids
    with parallel axes are interpolated axis by axis, and copied exactly if they differ only by flips, permutations or
    crops; all others are resampled by ``grid_sample``.

    Args:
        image_cxyz: the image, ``[c, x, y, z]``.
        affine_ras: its affine (4 x 4).
        to_affine_ras: the affine of the target grid.
        to_shape: the number of voxels of the target grid along x, y, z.
        mode: the interpolation.
        padding: the values beyond the outer faces.
    """
    index_map = np.linalg.inv(affine_ras) @ to_affine_ras  # index on the new grid -> index on the old grid
    if mode == "trilinear":
        image_cxyz, index_map = _average_blocks(image_cxyz, index_map)
    if _is_parallel(index_map, to_shape):
        return _resample_by_axis(image_cxyz, index_map, to_shape, mode, padding)
    return _resample_oblique(image_cxyz, index_map, to_shape, mode, padding)


def source_box(affine_ras: np.ndarray, shape: Sequence[int], to_affine_ras: np.ndarray, to_shape: Sequence[int]) -> Box:
    """Find the part of a grid that :func:`resample` needs for a target grid: whole blocks and one more on each side.

    Args:
        affine_ras: the affine of the grid, to patient mm.
        shape: its numbers of voxels.
        to_affine_ras: the affine of the target grid.
        to_shape: the target's numbers of voxels.
    """
    index_map = np.linalg.inv(affine_ras) @ to_affine_ras
    block = _blocks(index_map, shape)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in to_shape])).reshape(3, -1)
    places = index_map[:3, :3] @ corners + index_map[:3, 3:]
    first = np.floor(places.min(axis=1) / block - 1).astype(int) * block
    last = np.ceil(places.max(axis=1) / block + 2).astype(int) * block
    # keep at least one whole block: in a part of a block, the mean would differ from that in the whole volume
    first = np.clip(first, 0, np.maximum(np.array(shape) // block - 1, 0) * block)
    last = np.clip(last, np.minimum(first + block, shape), shape)
    return tuple(slice(int(low), int(high)) for low, high in zip(first, last, strict=True))


def moved_origin(affine_ras: np.ndarray, first_voxel: Sequence[int]) -> np.ndarray:
    """Compute the affine of the part of a grid that begins at ``first_voxel``."""
    shift = np.eye(4)
    shift[:3, 3] = first_voxel
    return affine_ras @ shift


def _blocks(index_map: np.ndarray, shape: Sequence[int] | np.ndarray) -> np.ndarray:
    """Compute the number of source voxels that are averaged to one, along each axis."""
    step = np.linalg.norm(index_map[:3, :3], axis=1)
    return np.where(step > AVERAGE_ABOVE, np.minimum(np.rint(step), shape), 1).astype(int)


def _average_blocks(image_cxyz: torch.Tensor, index_map: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Average whole blocks of source voxels along axes where the target voxels are large."""
    sizes = np.array(image_cxyz.shape[1:])
    block = _blocks(index_map, sizes)
    if (block == 1).all():
        return image_cxyz, index_map
    short = (-sizes) % block
    padded = F.pad(image_cxyz, [0, int(short[2]), 0, int(short[1]), 0, int(short[0])], mode="replicate")
    to_voxel = np.diag([*block, 1.0])
    to_voxel[:3, 3] = (block - 1) / 2
    return F.avg_pool3d(padded, tuple(block.tolist())), np.linalg.inv(to_voxel) @ index_map


def _is_parallel(index_map: np.ndarray, to_shape: Sequence[int]) -> bool:
    moves = np.abs(index_map[:3, :3]) * np.asarray(to_shape) > SAME_PLACE_VOXELS
    return bool((moves.sum(axis=0) <= 1).all() and (moves.sum(axis=1) <= 1).all())


def _resample_by_axis(
    image_cxyz: torch.Tensor, index_map: np.ndarray, to_shape: Sequence[int], mode: str, padding: str
) -> torch.Tensor:
    source_axes = np.abs(index_map[:3, :3]).argmax(axis=0).tolist()
    image_cxyz = image_cxyz.permute(0, *(1 + axis for axis in source_axes))
    # gathering along the last axis is slow, so that axis is first, while the image is small
    for axis, source_axis in reversed(list(enumerate(source_axes))):
        position = index_map[source_axis, axis] * np.arange(to_shape[axis]) + index_map[source_axis, 3]
        image_cxyz = _interpolate_axis(image_cxyz, 1 + axis, position, mode, padding)
    return image_cxyz


def _interpolate_axis(
    image_cxyz: torch.Tensor, axis: int, position: np.ndarray, mode: str, padding: str
) -> torch.Tensor:
    """Interpolate along one axis at fractional indices ``position``."""
    last = image_cxyz.shape[axis] - 1
    outside = (position < -0.5 - SAME_PLACE_VOXELS) | (position > last + 0.5 + SAME_PLACE_VOXELS)
    if mode == "nearest" or np.abs(position - np.rint(position)).max() < SAME_PLACE_VOXELS:
        position = np.rint(position)
    position = np.clip(position, 0, last)
    lower = np.floor(position).astype(np.int64)
    result = _between(image_cxyz, axis, lower, position - lower)
    if padding == "zeros" and outside.any():
        result.index_fill_(axis, torch.from_numpy(np.flatnonzero(outside)).to(result.device), 0)
    return result


def _between(image_cxyz: torch.Tensor, axis: int, lower: np.ndarray, weight: np.ndarray) -> torch.Tensor:
    """Interpolate between index ``lower`` and the next with weight ``weight``; the next is fetched in small pieces.

    Enlarged probabilities of a whole CT take gigabytes, so only one copy of them is made.
    """
    index = torch.from_numpy(lower).to(image_cxyz.device)
    result = image_cxyz.index_select(axis, index)
    if not weight.any():
        return result
    upper = (index + 1).clamp(max=image_cxyz.shape[axis] - 1)
    share = torch.from_numpy(weight).to(image_cxyz.device, image_cxyz.dtype)
    share = share.view(-1, *[1] * (image_cxyz.ndim - axis - 1))
    thickness = max(1, SLAB_VOXELS * len(lower) // result.numel())
    for start in range(0, len(lower), thickness):
        piece = slice(start, start + thickness)
        part = result.narrow(axis, start, len(lower[piece]))
        part.lerp_(image_cxyz.index_select(axis, upper[piece]), share[piece])
    return result


def _resample_oblique(
    image_cxyz: torch.Tensor, index_map: np.ndarray, to_shape: Sequence[int], mode: str, padding: str
) -> torch.Tensor:
    thickness = max(1, SLAB_VOXELS // max(1, to_shape[1] * to_shape[2]))
    slabs = []
    for start in range(0, to_shape[0], thickness):
        x_range = range(start, min(start + thickness, to_shape[0]))
        slabs.append(_sample_slab(image_cxyz, index_map, x_range, to_shape, mode, padding))
    return torch.cat(slabs, dim=1).to(image_cxyz.dtype)


def _sample_slab(
    image_cxyz: torch.Tensor,
    index_map: np.ndarray,
    x_range: range,
    to_shape: Sequence[int],
    mode: str,
    padding: str,
) -> torch.Tensor:
    matrix = torch.from_numpy(index_map).to(image_cxyz.device)
    sizes = torch.tensor(image_cxyz.shape[1:], device=image_cxyz.device)
    axes = [torch.arange(r.start, r.stop, device=image_cxyz.device) for r in (x_range, *map(range, to_shape[1:]))]
    x, y, z = axes[0][:, None, None, None], axes[1][:, None, None], axes[2][:, None]
    # the sum is in double precision: single precision would lose 1e-4 voxel far from the origin
    index_xyz3 = x * matrix[:3, 0] + y * matrix[:3, 1] + z * matrix[:3, 2] + matrix[:3, 3]
    unit_xyz3 = ((2 * index_xyz3 + 1) / sizes - 1).float()
    sampled = F.grid_sample(
        image_cxyz[None].float(),
        unit_xyz3.flip(-1)[None],  # grid_sample expects the last array axis first
        mode="bilinear" if mode == "trilinear" else "nearest",
        padding_mode="border",
        align_corners=False,
    )[0]
    if padding == "zeros":
        reach = 0.5 + SAME_PLACE_VOXELS
        sampled *= ((index_xyz3 > -reach) & (index_xyz3 < sizes - 1 + reach)).all(dim=-1)
    return sampled

"""Flips, rotation and scaling of a batch in one resampling pass: image linear, masks nearest.

The results are those of ``torch.nn.functional.grid_sample`` (``reflection``, ``align_corners=False``), which computes
one voxel at a time on as many cores as there are samples. Here, values are gathered from one flat image, with indices
computed once for image and masks, in a sixth of the time on two cores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SourceVoxels:
    """The source of each voxel of a moved batch, for images and masks alike.

    Attributes:
        lower: int32 indices of the lower neighbours in a flat batch.
        strides: for each axis with more than one voxel, the distance in the flat batch to the upper neighbour.
        weights: for each of these axes, the distance of the source from its lower neighbour, from 0 to 1.
    """

    lower: torch.Tensor
    strides: Sequence[int]
    weights: Sequence[torch.Tensor]

    def linear(self, image_bxyz: torch.Tensor) -> torch.Tensor:
        """Interpolate an image linearly at the source voxels."""
        return _between(image_bxyz.reshape(-1), self.lower, self.strides, self.weights).view_as(image_bxyz)

    def nearest(self, bits_bxyz: torch.Tensor) -> torch.Tensor:
        """Take the region bits of the nearest source voxel."""
        voxel = self.lower.clone()
        for stride, weight in zip(self.strides, self.weights, strict=True):
            voxel.add_(weight.round().int(), alpha=stride)
        return bits_bxyz.reshape(-1).index_select(0, voxel).view_as(bits_bxyz)


def source_voxels(index_map_b33: torch.Tensor, shape_xyz: Sequence[int]) -> SourceVoxels:
    """Compute the source of each voxel. Outside the volume the image is mirrored.

    Args:
        index_map_b33: for each sample, the matrix that maps an offset from the centre, in voxels, to the source's
        offset.
        shape_xyz: the number of voxels along each axis.

    Returns:
        The source voxels. Farther outside than the width of the volume, the value at the edge is repeated.
    """
    size_x, size_y, size_z = shape_xyz
    stride_of = (size_y * size_z, size_z, 1)
    axes = [axis for axis, size in enumerate(shape_xyz) if size > 1]
    sample = torch.arange(len(index_map_b33), dtype=torch.int32, device=index_map_b33.device)
    voxel = (sample * size_x * size_y * size_z).view(-1, 1, 1, 1).repeat(1, *shape_xyz)
    weights = []
    for axis in axes:
        lower, weight = _neighbours(index_map_b33[:, axis], axis, shape_xyz)
        voxel.add_(lower, alpha=stride_of[axis])
        weights.append(weight.view(-1))
    return SourceVoxels(voxel.view(-1), [stride_of[axis] for axis in axes], weights)


def _neighbours(row_b3: torch.Tensor, axis: int, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute, along one source axis, the lower neighbour (int32) of each voxel and the distance from it."""
    size = shape[axis]
    x, y, z = (
        row_b3[:, to, None] * (torch.arange(n, device=row_b3.device) - (n - 1) / 2) for to, n in enumerate(shape)
    )
    from_face_bxyz = (x[:, :, None] + y[:, None, :] + size / 2)[..., None] + z[:, None, None, :]
    from_other_bxyz = from_face_bxyz.abs_().sub_(size).abs_()  # mirrored at both outer faces
    position = from_other_bxyz.neg_().add_(size - 0.5).clamp_(0, size - 1)
    lower = position.floor().clamp_(max=size - 2)
    return lower.int(), position.sub_(lower)


def _between(
    flat: torch.Tensor, lower: torch.Tensor, strides: Sequence[int], weights: Sequence[torch.Tensor], offset: int = 0
) -> torch.Tensor:
    """Interpolate linearly along the first axis between two results of interpolation along the other axes."""
    if not strides:
        return flat[offset:].index_select(0, lower)
    near = _between(flat, lower, strides[1:], weights[1:], offset)
    return near.lerp_(_between(flat, lower, strides[1:], weights[1:], offset + strides[0]), weights[0])

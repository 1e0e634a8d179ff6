"""The weighted mean over the windows of a volume, of which only the part that is not final is held in float32."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from kicc_ml.models.device_memory import place_of_volume

#: Weights decrease from the middle of a window; this share of its size is the standard deviation (as in nnU-Net). The
#: lowest weight is per axis. MONAI limits their product instead, which would give all voxels of a thin window the same
#: weight.
WEIGHT_SIGMA, LEAST_WEIGHT = 0.125, 0.03


class WindowBlend:
    """Windows are added slab by slab along the axis that has most of them; what no later window reaches is final.

    The sums of one slab lie on the device of the networks, as float32. The result (float16) lies there too, or on the
    CPU if it takes too much of a GPU's memory.

    Args:
        channels: the number of regions.
        shape: the number of voxels of the volume along x, y, z.
        window: the number of voxels of a window.
        starts: for each axis, the first voxels of windows, ascending; together they cover the volume.
        device: where windows are predicted.
    """

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        window: Sequence[int],
        starts: Sequence[Sequence[int]],
        device: torch.device,
    ) -> None:
        self.axis = max(range(3), key=lambda axis: len(starts[axis]))
        self.shape, self.window, self.starts = shape, window, starts
        along = [_weights(length, size).to(device) for length, size in zip(shape, window, strict=True)]
        self.weight_xyz = along[0][:, None, None] * along[1][:, None] * along[2]
        self.sums = [_sums(weights, firsts) for weights, firsts in zip(along, starts, strict=True)]
        held = [firsts[-1] + size for firsts, size in zip(starts, window, strict=True)]
        held[self.axis] = window[self.axis]
        self.held_cxyz = torch.zeros(channels, *held, device=device)
        place = place_of_volume(2 * channels * prod(shape), device)
        self.result_cxyz = torch.empty(channels, *shape, dtype=torch.float16, device=place)

    def add(self, place: Sequence[int], probability_cxyz: Tensor) -> None:
        """Add a window of the present slab, which begins at voxel ``place`` of the volume."""
        first = [0 if axis == self.axis else start for axis, start in enumerate(place)]
        inside = tuple(slice(start, start + size) for start, size in zip(first, self.window, strict=True))
        self.held_cxyz[:, *inside] += probability_cxyz * self.weight_xyz

    def finish_slab(self, start: int, following: int | None) -> None:
        """Divide what is final by its weights, and move on from the slab at ``start`` to the one at ``following``."""
        length, size = self.shape[self.axis], self.window[self.axis]
        count = (min(length, start + size) if following is None else following) - start
        final_cxyz = self.held_cxyz.narrow(1 + self.axis, 0, count)
        final_cxyz = final_cxyz[:, *(slice(0, n) for axis, n in enumerate(self._within(count)))]
        for axis, sums in enumerate(self.sums):
            first = start if axis == self.axis else 0
            final_cxyz.div_(sums[first : first + final_cxyz.shape[1 + axis]].view(-1, *[1] * (2 - axis)))
        self.result_cxyz.narrow(1 + self.axis, start, count).copy_(final_cxyz)
        kept_cxyz = self.held_cxyz.narrow(1 + self.axis, count, size - count).clone()
        self.held_cxyz.zero_().narrow(1 + self.axis, 0, size - count).copy_(kept_cxyz)

    def _within(self, count: int) -> list[int]:
        return [count if axis == self.axis else length for axis, length in enumerate(self.shape)]


def _weights(length: int, size: int) -> Tensor:
    """Compute the weights of a window along an axis; equal weights if one window covers it."""
    if size >= length:
        return torch.ones(size)
    away = (torch.arange(size) - (size - 1) / 2) / (WEIGHT_SIGMA * size)
    return torch.exp(-0.5 * away**2).clamp(min=LEAST_WEIGHT)


def _sums(weights: Tensor, starts: Sequence[int]) -> Tensor:
    """Sum the weights of all windows along an axis."""
    sums = torch.zeros(starts[-1] + len(weights), device=weights.device)
    for start in starts:
        sums[start : start + len(weights)] += weights
    return sums

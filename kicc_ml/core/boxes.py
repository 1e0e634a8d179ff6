"""Boxes of voxels: the part of a grid that holds a mask, as slices."""

from collections.abc import Sequence

import numpy as np

#: A slice along each axis, with ``start`` and ``stop`` in voxels of the grid.
Box = tuple[slice, ...]


def find_bounding_box(*masks: np.ndarray) -> Box | None:
    """Find the smallest box that holds every marked voxel of all masks together.

    Args:
        masks: bool arrays of one shape, ``[x, y]`` or ``[x, y, z]`` in any order of axes.

    Returns:
        a slice along each axis of the masks, in voxels, ``stop`` excluded; None where nothing is marked.
    """
    box: list[slice] = []
    for axis in range(masks[0].ndim):
        others = tuple(other for other in range(masks[0].ndim) if other != axis)
        # each axis is searched only within what the ones before it left
        marked = np.logical_or.reduce([mask[tuple(box)].any(axis=others) for mask in masks])
        places = np.flatnonzero(marked)
        if not places.size:
            return None
        box.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(box)


def make_whole_box(shape: Sequence[int]) -> Box:
    """Make the box of all voxels of a grid of ``shape``."""
    return tuple(slice(0, int(size)) for size in shape)


def grow_box(box: Box, margin_voxels: Sequence[int], shape: Sequence[int]) -> Box:
    """Add ``margin_voxels`` on both sides of each axis, as far as a grid of ``shape`` reaches."""
    return tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, int(size)))
        for side, margin, size in zip(box, margin_voxels, shape, strict=True)
    )


def measure_box(box: Box) -> tuple[int, ...]:
    """Measure the number of voxels along each axis."""
    return tuple(side.stop - side.start for side in box)

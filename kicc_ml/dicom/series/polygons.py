"""Outlines that were drawn on a slice, as voxels."""

import numpy as np

#: Corners below which an outline has no inside.
MIN_CORNERS = 3
#: By how much of a voxel outlines are moved, so that none runs through a centre. Such a point is inside or outside by
#: the direction of the edge (matplotlib), which would tear holes along the seam of an outline with a hole.
NUDGE_VOXELS = (1e-6, 2.3e-6)


def fill_polygon(corners_n2: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Fill the voxels of a slice whose centres lie within a polygon.

    Where a polygon crosses itself, a point is inside if a line from it to the edge of the slice crosses the outline an
    odd number of times.

    Args:
        corners_n2: corners ``[n, 2]`` as index of the slice's two axes; whole numbers are centres of voxels.
        shape: number of voxels along these axes.

    Returns:
        bool, of this shape. What lies outside of the slice is cut off.
    """
    from matplotlib.path import Path  # half a second, for those who have outlines

    filled = np.zeros(shape, bool)
    low = np.clip(np.floor(corners_n2.min(axis=0)), 0, shape).astype(int)
    high = np.clip(np.ceil(corners_n2.max(axis=0)) + 1, 0, shape).astype(int)
    if len(corners_n2) < MIN_CORNERS or (high <= low).any():
        return filled
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    points_n2 = np.argwhere(np.ones(high - low, bool)) + low
    filled[box] = Path(corners_n2 + NUDGE_VOXELS).contains_points(points_n2).reshape(filled[box].shape)
    return filled

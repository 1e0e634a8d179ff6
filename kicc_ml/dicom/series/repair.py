"""Turn a sheared or uneven stack into a regular grid, by the true positions of its slices.

With a tilted gantry the slices are oblique while the table moves straight, so that each slice is shifted within its
plane against the one before. Such slices are shifted back by linear interpolation within each slice; neighbouring
slices are not mixed. Uneven slices are interpolated along the normal between their true neighbours. Slices that already
lie on the even grid are copied.
"""

from collections.abc import Collection

import numpy as np
from scipy.ndimage import shift

from kicc_ml.dicom.series import geometry
from kicc_ml.dicom.series.geometry import SAME_POSITION_MM

#: Value outside the image after slices have been shifted: air, the lowest value of 12-bit CT.
AIR_HU = -1024
#: Decimals to which the drift in pixels is rounded: less is rounding noise of the header, and a tiny deviation from a
#: whole pixel would turn the outermost row or column to air.
DRIFT_DIGITS = 3


def repair_stack(
    volume_zyx: np.ndarray,
    positions_mm: np.ndarray,
    orientation: np.ndarray,
    pixel_spacing_mm: np.ndarray,
    reasons: Collection[str] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Put a stack on a regular grid.

    Args:
        volume_zyx: HU, slices in order of their heights.
        positions_mm: as in :mod:`kicc_ml.dicom.series.geometry`.
        orientation: as there.
        pixel_spacing_mm: as there.
        reasons: reason codes of the series. Without ``gantry_tilt``, ``missing_slice`` or ``uneven_spacing`` the stack
            is returned unchanged.

    Returns:
        the volume in its own type, and the affine [4, 4] of its index (x, y, z) to RAS millimetres. A straightened
        volume is larger by the shifts of its slices, so that no voxel is lost; the rest is air.
    """
    if "gantry_tilt" in reasons:
        volume_zyx, positions_mm = _straighten(volume_zyx, positions_mm, orientation, pixel_spacing_mm)
    if geometry.UNEVEN & set(reasons):
        volume_zyx, positions_mm = _resample_evenly(volume_zyx, positions_mm, orientation)
    return volume_zyx, geometry.compute_affine_ras(positions_mm, orientation, pixel_spacing_mm)


def _straighten(
    volume_zyx: np.ndarray, positions_mm: np.ndarray, orientation: np.ndarray, pixel_spacing_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shift slices within their planes until their corners lie on one line along the normal."""
    directions = np.stack([orientation[3:], orientation[:3]])  # of y (down a column), then of x
    drift_yx = ((positions_mm - positions_mm[0]) @ directions.T / pixel_spacing_mm).round(DRIFT_DIGITS)
    before = np.ceil(-drift_yx.min(axis=0)).astype(int)
    after = np.ceil(drift_yx.max(axis=0)).astype(int)
    rows, columns = np.array(volume_zyx.shape[1:]) + before + after
    straight = np.full((len(volume_zyx), rows, columns), AIR_HU, volume_zyx.dtype)
    for source_yx, target_yx, pixels_yx in zip(volume_zyx, straight, drift_yx + before, strict=True):
        _shift_into(target_yx, source_yx, pixels_yx)
    normal = geometry.compute_slice_normal(orientation)
    corner = positions_mm[0] - (before * pixel_spacing_mm) @ directions
    heights = geometry.compute_heights_mm(positions_mm, orientation)
    return straight, corner + np.outer(heights - heights[0], normal)


def _shift_into(target_yx: np.ndarray, source_yx: np.ndarray, pixels_yx: np.ndarray) -> None:
    """Write a slice into an empty one, ``pixels_yx`` further down and right. Shifts by whole pixels are copies."""
    whole = np.floor(pixels_yx).astype(int)
    rows, columns = np.minimum(np.array(source_yx.shape) + 1, target_yx.shape - whole)
    padded = np.pad(source_yx, ((0, 1), (0, 1)), constant_values=AIR_HU)[:rows, :columns]
    part = pixels_yx - whole
    moved = padded if not part.any() else shift(padded.astype(np.float32), part, order=1, cval=AIR_HU)
    target_yx[whole[0] : whole[0] + rows, whole[1] : whole[1] + columns] = _convert_like(moved, target_yx)


def _resample_evenly(
    volume_zyx: np.ndarray, positions_mm: np.ndarray, orientation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate slices at even heights from the first to the last, with the median gap as spacing."""
    heights = geometry.compute_heights_mm(positions_mm, orientation)
    usual = float(np.median(np.diff(heights)))
    count = int((heights[-1] - heights[0]) / usual + SAME_POSITION_MM) + 1
    wanted = heights[0] + usual * np.arange(count)
    above = np.clip(np.searchsorted(heights, wanted), 1, len(heights) - 1)
    share = ((wanted - heights[above - 1]) / (heights[above] - heights[above - 1])).clip(0, 1)
    even = np.empty((count, *volume_zyx.shape[1:]), volume_zyx.dtype)
    for slice_yx, upper, weight in zip(even, above, share.astype(np.float32), strict=True):
        slice_yx[:] = _convert_like(volume_zyx[upper - 1] * (1 - weight) + volume_zyx[upper] * weight, even)
    return even, positions_mm[0] + np.outer(wanted - heights[0], geometry.compute_slice_normal(orientation))


def _convert_like(values: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Convert ``values`` to the type of ``pattern``, rounded if that is an integer type."""
    return (values.round() if pattern.dtype.kind == "i" else values).astype(pattern.dtype)

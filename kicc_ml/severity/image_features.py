"""Measure image features that are compared with those of other hospitals: the grid, the grey values, and the lungs."""

from collections.abc import Mapping

import numpy as np
from PIL import Image
from scipy import ndimage

from kicc_ml.core.boxes import find_bounding_box, measure_box
from kicc_ml.core.regions import LUNG_SIDES, find_region
from kicc_ml.core.types import Modality, Volume
from kicc_ml.data.canonical import scale_by_percentiles

#: Range of soft tissue, in HU.
SOFT_HU = (-150.0, 200.0)
#: Maximum pixels along the longer side of a radiograph when it is measured. Files store the same radiograph at 0.1 to
#: 1 mm per pixel, and features must not depend on that.
MAX_RADIOGRAPH_PIXELS = 256
#: Position of heart and spine: shares of a radiograph's width, in its lower half. On an inverted image they are dark.
MEDIASTINUM = (0.42, 0.58)

#: Features of a CT, and the minimum spread of each. Without a minimum, hospitals with the same scanner would have a
#: spread of nearly 0, and any small difference would count as domain shift.
CT_FEATURES: Mapping[str, float] = {
    "slice_mm": 1.0,
    "pixel_mm": 0.05,
    "lung_ml": 400.0,
    "lung_hu": 20.0,
    "soft_hu": 10.0,
    "noise_hu": 5.0,
    "cut_percent": 5.0,
    "side_percent": 4.0,
}
RADIOGRAPH_FEATURES: Mapping[str, float] = {
    "lungs_mm": 25.0,
    "lungs_wide_percent": 8.0,
    "field_percent": 6.0,
    "field_grey": 8.0,
    "middle_grey": 6.0,
    "grain": 0.4,
    "heights_percent": 6.0,
    "side_percent": 4.0,
}
#: Features of both kinds of image.
FEATURES = {**CT_FEATURES, **RADIOGRAPH_FEATURES}
#: Features that may be negative.
SIGNED = ("lung_hu", "soft_hu", "middle_grey")


def measure_features(volume: Volume, masks: Mapping[str, np.ndarray], modality: Modality) -> dict[str, float | None]:
    """Measure :data:`CT_FEATURES` or :data:`RADIOGRAPH_FEATURES` of an image.

    Args:
        volume: the image ``[x, y, z]``; a radiograph is ``[x, y, 1]``.
        masks: bool ``[x, y, z]`` by region, on the same grid.
        modality: ``CT`` or ``CXR``.

    Returns:
        values by feature, None for a feature that is not known; empty for a CT in other units than HU.
    """
    if modality == "CXR":
        return measure_radiograph_features(volume, masks)
    return measure_ct_features(volume, masks) if volume.units == "hu" else {}


def measure_ct_features(volume: Volume, masks: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Measure :data:`CT_FEATURES` of one CT; None without a voxel size, separate lungs or aerated lung, as needed."""
    lung = find_lungs(masks)
    lesion = find_region(masks, "lesion")
    aerated = lung if lesion is None else lung & ~lesion
    known = volume.spacing_known
    along = int(np.abs(volume.affine_ras[2, :3]).argmax())
    spacing_mm = volume.spacing_mm
    return {
        "slice_mm": spacing_mm[along] if known else None,
        "pixel_mm": min(spacing_mm) if known else None,
        "lung_ml": float(np.count_nonzero(lung) * np.prod(spacing_mm) / 1000) if known else None,
        "lung_hu": float(np.median(volume.array[aerated])) if aerated.any() else None,
        **_measure_soft_tissue(volume.array),
        "cut_percent": _measure_cut_off_lung(lung),
        "side_percent": _compute_right_share(masks, lung),
    }


def measure_radiograph_features(volume: Volume, masks: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Measure :data:`RADIOGRAPH_FEATURES` of one radiograph ``[x, y, 1]``; None for a feature that is not known.

    Grey values are in per cent from black to white, scaled as for the network.
    """
    lung_xy = find_lungs(masks)[..., 0]
    box = find_bounding_box(lung_xy)
    if box is None:
        return dict.fromkeys(RADIOGRAPH_FEATURES)
    grey_xy = 100 * _downsample(scale_by_percentiles(volume.array[..., 0]))
    width, height = measure_box(box)
    return {
        "lungs_mm": width * volume.spacing_mm[0] if volume.spacing_known else None,
        "lungs_wide_percent": 100 * width / height,
        "field_percent": float(100 * lung_xy.mean()),
        **_measure_field_grey(grey_xy, _downsample(lung_xy) > 0.5),
        "middle_grey": _measure_mediastinal_grey(grey_xy),
        "heights_percent": _compare_lung_heights(masks),
        "side_percent": _compute_right_share(masks, lung_xy),
    }


def find_lungs(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Find the mask of both lungs, from one mask or two; an empty mask if no lungs were segmented."""
    lung = find_region(masks, "lung")
    return np.zeros_like(next(iter(masks.values())), bool) if lung is None else lung


def _measure_soft_tissue(array_xyz: np.ndarray) -> dict[str, float | None]:
    """Measure the median of soft tissue, and the noise: a robust SD of differences between neighbours within it.

    The difference of two values has sqrt(2) times their standard deviation.
    """
    sample = array_xyz[:, :, :: max(1, array_xyz.shape[2] // 20)].astype(np.float32)
    soft = (sample >= SOFT_HU[0]) & (sample <= SOFT_HU[1])
    both = soft[1:] & soft[:-1]
    if not both.any():
        return {"soft_hu": None, "noise_hu": None}
    noise = _compute_robust_sd(np.diff(sample, axis=0)[both]) / np.sqrt(2)
    return {"soft_hu": float(np.median(sample[soft])), "noise_hu": float(noise)}


def _measure_field_grey(grey_xy: np.ndarray, lung_xy: np.ndarray) -> dict[str, float | None]:
    """Measure the median grey of the lung fields, and their grain.

    The grain is a robust SD of the difference of each pixel from the mean of its four neighbours. Vessels and ribs
    hardly change it. For noise this difference has sqrt(5 / 4) times the standard deviation of the noise.
    """
    if not lung_xy.any():  # a small mask can vanish when it is downsampled
        return {"field_grey": None, "grain": None}
    neighbours = ndimage.convolve(grey_xy, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4, mode="nearest")
    grain = _compute_robust_sd((grey_xy - neighbours)[lung_xy]) / np.sqrt(5 / 4)
    return {"field_grey": float(np.median(grey_xy[lung_xy])), "grain": float(grain)}


def _measure_mediastinal_grey(grey_xy: np.ndarray) -> float:
    """Measure how much brighter the ``MEDIASTINUM`` is than the whole radiograph."""
    columns, rows = grey_xy.shape
    left, right = (round(share * columns) for share in MEDIASTINUM)
    return float(np.median(grey_xy[left : right + 1, rows // 2 :]) - np.median(grey_xy))


def _compute_robust_sd(differences: np.ndarray) -> np.floating:
    """Compute a robust SD about 0: the median absolute value over 0.6745, which is the SD of a normal distribution."""
    return np.median(np.abs(differences)) / 0.6745


def _downsample(radiograph_xy: np.ndarray) -> np.ndarray:
    """Downsample to at most ``MAX_RADIOGRAPH_PIXELS`` along the longer side by means over boxes; float32."""
    ratio = min(1.0, MAX_RADIOGRAPH_PIXELS / max(radiograph_xy.shape))
    size = tuple(max(1, round(pixels * ratio)) for pixels in radiograph_xy.shape)
    return np.asarray(Image.fromarray(radiograph_xy.T.astype(np.float32)).resize(size, Image.Resampling.BOX)).T


def _compare_lung_heights(masks: Mapping[str, np.ndarray]) -> float | None:
    """Compute the height of the shorter lung field in per cent of the taller one; None without both lungs."""
    boxes = [find_bounding_box(masks[name]) for name in LUNG_SIDES if name in masks]
    heights = [measure_box(box)[1] for box in boxes if box]
    return 100 * min(heights) / max(heights) if len(heights) == 2 else None


def _compute_right_share(masks: Mapping[str, np.ndarray], lung: np.ndarray) -> float | None:
    if "right_lung" not in masks or not lung.any():
        return None
    return float(100 * masks["right_lung"].sum() / lung.sum())


def _measure_cut_off_lung(lung_xyz: np.ndarray) -> float | None:
    """Measure the largest cross-section of lung on a face of the scan, in per cent of the largest one inside."""
    cut = []
    for axis in range(3):
        areas = lung_xyz.sum(axis=tuple({0, 1, 2} - {axis}))
        if not areas.max():
            return None
        cut.append(max(areas[0], areas[-1]) / areas.max())
    return float(100 * max(cut))

"""Find the image of a series on which a lesion is seen best."""

import numpy as np
from pydicom.dataset import Dataset

from kicc_ml.core.types import Volume
from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.series.geometry import LPS_TO_RAS


def find_key_image(source: PredictionSource, volume: Volume, lesion_xyz: np.ndarray | None) -> Dataset | None:
    """Find the slice with the largest area of the lesion.

    Args:
        source: the series.
        volume: the volume that was predicted; a repaired one has other slices than the files.
        lesion_xyz: the lesion on its grid.

    Returns:
        the header of the slice; None without a lesion, and of a multi-frame object, whose frames have no header.
    """
    if lesion_xyz is None or not lesion_xyz.any() or source.series.frames:
        return None
    level = int(lesion_xyz.sum(axis=(0, 1)).argmax())
    middle_xy = np.argwhere(lesion_xyz[:, :, level]).mean(axis=0)
    place_lps = (LPS_TO_RAS @ volume.affine_ras @ [*middle_xy, level, 1])[:3]
    return min(source.images, key=lambda image: _find_distance_mm(image, place_lps))


def _find_distance_mm(image: Dataset, place_lps: np.ndarray) -> float:
    """Find the distance of a place from the plane of an image."""
    cosines = np.array(image.ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    return abs(float(normal @ (place_lps - np.array(image.ImagePositionPatient, float))))

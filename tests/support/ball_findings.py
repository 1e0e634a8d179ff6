"""A prediction of balls at known places in a phantom, with all that is written of it."""

from pathlib import Path

import numpy as np
from PIL import Image

from kicc_ml.core.types import Risk, Series
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.results.write import ScanFindings
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.verdict import classify_series
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.severity.grade import grade
from tests.support.phantoms import CENTRE_MM

#: Balls at places in the patient (LPS, mm from the middle), so that a flip or a shift shows.
BALLS = {
    "right_lung": ((-22.0, 0.0, 2.0), 17.0),
    "left_lung": ((22.0, 4.0, 0.0), 15.0),
    "lesion": ((-24.0, 6.0, -8.0), 9.0),
    "consolidation": ((-25.0, 7.0, -8.0), 4.0),
}


def points_lps_mm(shape_xyz: tuple[int, ...], affine_ras: np.ndarray) -> np.ndarray:
    """Patient coordinates (LPS) of the voxels of a grid."""
    index = np.moveaxis(np.indices(shape_xyz), 0, -1)
    return (index @ affine_ras[:3, :3].T + affine_ras[:3, 3]) * np.array([-1, -1, 1])


def find_balls(folder: Path) -> tuple[Series, ScanFindings]:
    """The series of a folder, and the balls as what was found in it."""
    (series,), _ = classify_series(folder, scan(folder, b"key"), GeometryPolicy(gaps="resample", tilt="shear"))
    volume = read_volume(series)
    points = points_lps_mm(volume.array.shape, volume.affine_ras)
    masks = {
        name: np.linalg.norm(points - CENTRE_MM - centre, axis=-1) < radius for name, (centre, radius) in BALLS.items()
    }
    probability = np.exp(-np.linalg.norm(points - CENTRE_MM - BALLS["lesion"][0], axis=-1) / 20).astype(np.float32)
    montage = folder.parent / f"{folder.name}.png"
    Image.new("RGB", (64, 48), (10, 20, 30)).save(montage)
    severity = grade(masks, volume.affine_ras, volume.array)
    risks = (Risk("icu", 0.31, 0.22, 0.43, {"slope": "0.90"}, 0.18), Risk("death", 0.05, None, None, {}))
    return series, ScanFindings(volume, masks, probability, severity, montage, b"%PDF-1.4\n%%EOF", risks=risks)

"""A prediction of balls at known places in phantoms, all that is written of it, and where the pixels of that lie."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from kicc_ml.core.types import Risk, Series
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.results.write import ScanFindings
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.verdict import classify_series
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.severity.grade import grade
from tests.support.phantom_files import write_enhanced, write_series
from tests.support.phantoms import AXIAL, CENTRE_MM, FEET_FIRST, Grid, even_mm, rotated, tilted

#: Balls at places in the patient (LPS, mm from the middle), so that a flip or a shift shows.
BALLS = {
    "right_lung": ((-22.0, 0.0, 2.0), 17.0),
    "left_lung": ((22.0, 4.0, 0.0), 15.0),
    "lesion": ((-24.0, 6.0, -8.0), 9.0),
    "consolidation": ((-25.0, 7.0, -8.0), 4.0),
}
STACKS: dict[str, Callable[[Path], object]] = {
    "axial": lambda folder: write_series(folder, Grid(even_mm(), AXIAL)),
    "feet first": lambda folder: write_series(folder, Grid(even_mm(), FEET_FIRST)),
    "oblique": lambda folder: write_series(folder, Grid(even_mm(), rotated(25, 20))),
    "tilted": lambda folder: write_series(folder, tilted(12)),
    "with a gap": lambda folder: write_series(folder, Grid(even_mm()).without(7)),
    "multi-frame": lambda folder: write_enhanced(folder / "e.dcm", Grid(even_mm()), np.roll(np.arange(20), 7)),
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


def voxels_lps_mm(dataset: Dataset, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Patient coordinates of a frame's pixels [row, column, 3], from the functional groups alone (C.7.6.2.1.1)."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    own = dataset.PerFrameFunctionalGroupsSequence[frame]
    corner = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    rows, columns = np.indices((dataset.Rows, dataset.Columns))
    return corner + columns[..., None] * between_columns * cosines[:3] + rows[..., None] * between_rows * cosines[3:]


def laid_on(findings: ScanFindings, dataset: Dataset, frames: list[int]) -> np.ndarray:
    """Values of frames put onto the grid of the prediction by patient coordinates."""
    values = dataset.pixel_array
    out = np.zeros(findings.volume.array.shape, values.dtype)
    to_index = np.linalg.inv(findings.volume.affine_ras)
    for frame in frames:
        ras = voxels_lps_mm(dataset, frame) * np.array([-1, -1, 1])
        index = ras @ to_index[:3, :3].T + to_index[:3, 3]
        x, y, z = np.rint(index).astype(int).reshape(-1, 3).T
        assert np.abs(index - np.rint(index)).max() < 0.01
        out[x, y, z] = values[frame].ravel()
    return out

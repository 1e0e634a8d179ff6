"""Where voxels lie: blobs at known patient coordinates are found there, however the patient was scanned."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label, maximum_position

from kicc_ml.core.types import Volume
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.verdict import classify_series
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_enhanced, write_series
from tests.support.phantoms import (
    AXIAL,
    BACKGROUND_HU,
    CORONAL,
    FEET_FIRST,
    LANDMARKS_MM,
    PRONE,
    SAGITTAL,
    Grid,
    even_mm,
    rotated,
    tilted,
)

#: What is asked for; the finder itself is good to a tenth of a voxel on this phantom.
HALF_A_VOXEL = 0.5
#: Only the landmarks reach it: the body beside them stays below -400 HU.
BRIGHT_HU = -250

FEET_FIRST_PRONE = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
LYING_ON_THE_RIGHT = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0)

GRIDS = {
    "axial, head first": Grid(even_mm(), AXIAL),
    "coronal": Grid(even_mm(), CORONAL),
    "sagittal": Grid(even_mm(), SAGITTAL),
    "oblique": Grid(even_mm(), rotated(25, 20)),
    "double oblique": Grid(even_mm(), rotated(-40, 65)),
    "prone": Grid(even_mm(), PRONE),
    "feet first": Grid(even_mm(), FEET_FIRST),
    "feet first, prone": Grid(even_mm(), FEET_FIRST_PRONE),
    "lying on the right": Grid(even_mm(), LYING_ON_THE_RIGHT),
    "written from feet to head": Grid(even_mm()[::-1], AXIAL),
    "tilted by 5 degrees": tilted(5),
    "tilted by 12 degrees": tilted(12),
    "tilted by -20 degrees": tilted(-20),
}


def read_only(folder: Path) -> Volume:
    (series,), _ = classify_series(folder, scan(folder, b"key of the test"), GeometryPolicy(tilt="shear"))
    return read_volume(series)


def landmarks_xyz(array: np.ndarray) -> np.ndarray:
    """Sub-voxel index of every bright blob: the summit of a parabola through the logarithm, exact for a Gaussian."""
    blobs, count = label(array > BRIGHT_HU)
    peaks = maximum_position(array, blobs, np.arange(1, count + 1))
    height = np.log((array.astype(float) - BACKGROUND_HU).clip(1))
    return np.array([[_summit(height, np.array(peak), axis) for axis in range(3)] for peak in peaks])


def _summit(height: np.ndarray, peak: np.ndarray, axis: int) -> float:
    step = np.eye(3, dtype=int)[axis]
    before, here, after = (height[tuple(peak + way * step)] for way in (-1, 0, 1))
    return float(peak[axis] + (before - after) / (2 * (before - 2 * here + after)))


def assert_landmarks_where_they_are(volume: Volume) -> None:
    """Every landmark is found once, within half a voxel along each axis of the volume."""
    found_xyz = landmarks_xyz(volume.array)
    truth_ras = np.c_[LANDMARKS_MM * [-1, -1, 1], np.ones(len(LANDMARKS_MM))]
    truth_xyz = (truth_ras @ np.linalg.inv(volume.affine_ras).T)[:, :3]
    assert len(found_xyz) == len(truth_xyz)
    off_voxels = np.abs(found_xyz[:, None] - truth_xyz).max(axis=2)
    assert off_voxels.min(axis=0).max() < HALF_A_VOXEL
    assert off_voxels.min(axis=1).max() < HALF_A_VOXEL


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_landmarks_are_found_where_they_are(tmp_path: Path, grid: Grid):
    write_series(tmp_path / "seoul", grid)
    assert_landmarks_where_they_are(read_only(tmp_path))


@pytest.mark.parametrize("grid", [GRIDS["axial, head first"], GRIDS["sagittal"], GRIDS["feet first"]])
def test_landmarks_of_an_enhanced_object_are_found_where_they_are(tmp_path: Path, grid: Grid):
    order = np.random.default_rng(2).permutation(20)
    write_enhanced(tmp_path / "seoul" / "enhanced", grid, order)
    assert_landmarks_where_they_are(read_only(tmp_path))


def mirrored(volume: Volume) -> Volume:
    return Volume(volume.array[::-1], volume.affine_ras, volume.units)


def turned_to_lps(volume: Volume) -> Volume:
    return Volume(volume.array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine_ras, volume.units)


def one_slice_off(volume: Volume) -> Volume:
    return Volume(np.roll(volume.array, 1, axis=2), volume.affine_ras, volume.units)


@pytest.mark.parametrize("spoil", [mirrored, turned_to_lps, one_slice_off])
def test_a_flip_a_swap_of_conventions_and_a_shift_of_one_slice_are_noticed(
    tmp_path: Path, spoil: Callable[[Volume], Volume]
):
    write_series(tmp_path / "seoul", GRIDS["axial, head first"])
    with pytest.raises(AssertionError):
        assert_landmarks_where_they_are(spoil(read_only(tmp_path)))

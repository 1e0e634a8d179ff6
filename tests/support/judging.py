"""The intake on a folder of phantom files, and whether what it reads is the phantom."""

from pathlib import Path

from kicc_ml.core.types import Series
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.verdict import FileRow, classify_series
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantoms import Grid, errors_hu

#: The phantom is stored in whole HU.
ROUNDING_HU = 0.51

REFUSE = GeometryPolicy()
RESAMPLE = GeometryPolicy(gaps="resample")
SHEAR = GeometryPolicy(tilt="shear")


def judged(folder: Path, policy: GeometryPolicy = REFUSE) -> tuple[list[Series], list[FileRow]]:
    """Series and dropped files of the one hospital that lies in ``folder``."""
    return classify_series(folder.parent, scan(folder.parent, b"key of the test"), policy)


def only(folder: Path, policy: GeometryPolicy = REFUSE) -> Series:
    (series,), _ = judged(folder, policy)
    return series


def assert_true_to_the_phantom(series: Series, grid: Grid, added_hu: int = 0) -> None:
    """As many slices as the grid, and every voxel the phantom's value at the place the affine gives it."""
    volume = read_volume(series)
    assert volume.array.shape == (grid.columns, grid.rows, len(grid.offsets_mm))
    assert errors_hu(volume.array - added_hu, volume.affine_ras).max() <= ROUNDING_HU

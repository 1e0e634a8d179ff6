"""A continuous phantom in patient space, and the slice grids it is sampled on.

The truth of the tests: nothing here knows of kicc_ml. The value of every voxel is the phantom's at the point
where DICOM (PS3.3 C.7.6.2.1.1) places that voxel. Coordinates are LPS millimetres.
"""

from dataclasses import dataclass, replace

import numpy as np

#: The middle of the phantom; far from the origin, so that a lost offset shows.
CENTRE_MM = np.array([12.0, -30.0, 215.0])
#: Small dense blobs, no two alike under a flip or an exchange of axes.
LANDMARKS_MM = CENTRE_MM + np.array(
    [[-16.0, -12.0, -15.0], [18.0, -14.0, 4.0], [-6.0, 15.0, 12.0], [14.0, 13.0, -13.0], [1.0, -3.0, 0.5]]
)
LANDMARK_HU = 900.0
LANDMARK_SIGMA_MM = 4.0
BACKGROUND_HU = -800.0
#: One wide body to the left, the back and the head, so that a mirrored volume differs everywhere.
BODY_MM, BODY_HU, BODY_SIGMA_MM = CENTRE_MM + np.array([30.0, 20.0, 18.0]), 300.0, 20.0
#: The greatest second derivative of the phantom along any line, for bounds on linear interpolation.
CURVATURE_HU_MM2 = LANDMARK_HU / LANDMARK_SIGMA_MM**2 + BODY_HU / BODY_SIGMA_MM**2

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
#: Image Orientation (Patient) as scanners write it for each Patient Position (PS3.3 C.7.3.1.1.2).
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
FEET_FIRST = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def hu_at(points_mm: np.ndarray) -> np.ndarray:
    """HU of the phantom at LPS points ``[..., 3]``."""
    hu = BACKGROUND_HU + _gaussian(points_mm, BODY_MM, BODY_HU, BODY_SIGMA_MM)
    for landmark_mm in LANDMARKS_MM:
        hu = hu + _gaussian(points_mm, landmark_mm, LANDMARK_HU, LANDMARK_SIGMA_MM)
    return hu


def _gaussian(points_mm: np.ndarray, centre_mm: np.ndarray, height_hu: float, sigma_mm: float) -> np.ndarray:
    return height_hu * np.exp(-((points_mm - centre_mm) ** 2).sum(axis=-1) / (2 * sigma_mm**2))


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a stack lie. The middle of slice k is CENTRE_MM + ``offsets_mm[k]`` x ``travel``."""

    offsets_mm: tuple[float, ...]
    orientation: tuple[float, ...] = AXIAL
    travel: tuple[float, ...] | None = None  # direction from slice to slice; None: along the normal
    rows: int = 48
    columns: int = 56
    pixel_spacing_mm: tuple[float, float] = (2.0, 1.8)  # between rows, between columns

    @property
    def row_direction(self) -> np.ndarray:
        return np.array(self.orientation[:3])

    @property
    def column_direction(self) -> np.ndarray:
        return np.array(self.orientation[3:])

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.row_direction, self.column_direction)

    @property
    def positions_mm(self) -> np.ndarray:
        """Image Position (Patient) of each slice ``[n, 3]``: the centre of its first voxel."""
        travel = self.normal if self.travel is None else np.array(self.travel)
        middles_mm = CENTRE_MM + np.outer(self.offsets_mm, travel)
        between_rows_mm, between_columns_mm = self.pixel_spacing_mm
        across = self.row_direction * between_columns_mm * (self.columns - 1) / 2
        down = self.column_direction * between_rows_mm * (self.rows - 1) / 2
        return middles_mm - across - down

    @property
    def points_mm(self) -> np.ndarray:
        """Centres of all voxels ``[n, rows, columns, 3]``."""
        between_rows_mm, between_columns_mm = self.pixel_spacing_mm
        down = np.arange(self.rows)[:, None, None] * between_rows_mm * self.column_direction
        across = np.arange(self.columns)[:, None] * between_columns_mm * self.row_direction
        return self.positions_mm[:, None, None] + down + across

    @property
    def hu(self) -> np.ndarray:
        """The phantom on this grid in whole HU, int16 ``[n, rows, columns]``."""
        return np.rint(hu_at(self.points_mm)).astype(np.int16)

    def without(self, *gone: int) -> "Grid":
        return replace(self, offsets_mm=tuple(mm for k, mm in enumerate(self.offsets_mm) if k not in gone))


def even_mm(slices: int = 20, spacing_mm: float = 3.0) -> tuple[float, ...]:
    """Offsets of evenly spaced slices about the middle."""
    return tuple(float(mm) for mm in (np.arange(slices) - (slices - 1) / 2) * spacing_mm)


def rotated(about_x_degrees: float, about_z_degrees: float = 0.0) -> tuple[float, ...]:
    """The axial orientation turned about the patient's x axis, then about z."""
    x, z = np.radians([about_x_degrees, about_z_degrees])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    turned = about_z @ about_x
    return tuple(float(value) for value in (*turned[:, 0], *turned[:, 1]))


def tilted(degrees: float, slices: int = 20, spacing_mm: float = 3.0) -> Grid:
    """A tilted gantry: slices turned about x while the table still moves along z, so the stack is sheared."""
    return Grid(even_mm(slices, spacing_mm), orientation=rotated(degrees), travel=(0.0, 0.0, 1.0))


def errors_hu(array_xyz: np.ndarray, affine_ras: np.ndarray) -> np.ndarray:
    """How far each voxel of a volume is from the phantom at the place the affine gives it, ``[x, y, z]``."""
    return np.abs(array_xyz - hu_at(_places_mm(array_xyz.shape, affine_ras)))


def scanned(grid: Grid, shape_xyz: tuple[int, ...], affine_ras: np.ndarray, margin_pixels: float = 0) -> np.ndarray:
    """Which voxels of a volume lie within what the slices of ``grid`` (evenly spaced, perhaps leaning) cover."""
    between_rows_mm, between_columns_mm = grid.pixel_spacing_mm
    step_mm = (grid.positions_mm[-1] - grid.positions_mm[0]) / (len(grid.offsets_mm) - 1)
    edges_mm = np.stack([grid.row_direction * between_columns_mm, grid.column_direction * between_rows_mm, step_mm])
    from_corner_mm = _places_mm(shape_xyz, affine_ras) - grid.positions_mm[0]
    at = from_corner_mm @ np.linalg.inv(edges_mm)
    last = np.array([grid.columns - 1, grid.rows - 1, len(grid.offsets_mm) - 1])
    margin = margin_pixels + 1e-6  # float noise
    return ((at >= -margin) & (at <= last + margin)).all(axis=-1)


def _places_mm(shape_xyz: tuple[int, ...], affine_ras: np.ndarray) -> np.ndarray:
    """LPS points of all voxels ``[x, y, z, 3]``."""
    index = np.stack(np.meshgrid(*map(np.arange, shape_xyz), indexing="ij"), axis=-1)
    return (index @ affine_ras[:3, :3].T + affine_ras[:3, 3]) * [-1, -1, 1]

"""Geometry of slices in the patient: spacing, faults, affine. The only module that converts LPS to RAS.

A stack is three arrays: ``positions_mm`` [n, 3] (Image Position (Patient) of each slice, LPS),
``orientation`` [6] (Image Orientation (Patient): direction of a row, then of a column) and
``pixel_spacing_mm`` (between rows, between columns). DICOM PS3.3 C.7.6.2.1.1.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kicc_ml.core.errors import UserError

#: Two slices closer than this have the same position; exporters print positions to a hundredth of a millimetre.
SAME_POSITION_MM = 0.01
#: A slice may deviate from the even grid by this share of the spacing; a missing slice moves some by at least half.
UNEVEN_SHARE = 0.1
#: A slice may also deviate by this distance, if that is more: some scanners print positions to a tenth of a millimetre.
ROUNDING_MM = 0.1
#: Direction cosines may differ by this within a series: they are printed with four to six digits.
ORIENTATION_TOLERANCE = 1e-3
#: Deviation allowed for the lengths and the angle of direction cosines; those printed with two digits stay below it.
UNIT_TOLERANCE = 0.02
#: Sideways drift across the whole stack, in pixels, above which a stack is sheared; less than one cannot be seen.
MAX_DRIFT_PIXELS = 1.0
#: Two positions define a distance but cannot show whether the spacing is even.
MIN_SLICES = 3
#: A stack is named after an axis if the cosine between its normal and the axis is at least this (about 25 degrees).
PLANE_COSINE = 0.9
#: The widest gap that interpolation may bridge: twice the thickest slices in use (10 mm).
MAX_BRIDGED_MM = 20.0

#: Codes of faults that mean that slices are not evenly spaced.
UNEVEN = {"missing_slice", "uneven_spacing"}

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class NotAVolume(UserError):
    """Slices that are not a volume; ``code`` is a key of :data:`kicc_ml.dicom.series.reasons.REASONS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class GeometryPolicy:
    """How to treat a stack with gaps or uneven spacing, and a stack with a tilted gantry.

    ``resample`` interpolates between true positions if no gap is wider than :data:`MAX_BRIDGED_MM`. ``shear`` shifts
    each slice back within its plane. See :mod:`kicc_ml.dicom.series.repair`.
    """

    gaps: Literal["refuse", "resample"] = "refuse"
    tilt: Literal["refuse", "shear"] = "refuse"

    def __post_init__(self) -> None:
        for name, choices in (("gaps", ("refuse", "resample")), ("tilt", ("refuse", "shear"))):
            if getattr(self, name) not in choices:
                raise UserError(f"{name}={getattr(self, name)} is unknown; choose {' or '.join(choices)}")

    def can_repair(self, code: str, widest_gap_mm: float) -> bool:
        """Whether this policy repairs a fault; ``widest_gap_mm`` is the widest gap between two slices."""
        if code in UNEVEN:
            return self.gaps == "resample" and widest_gap_mm <= MAX_BRIDGED_MM
        return code == "gantry_tilt" and self.tilt == "shear"


def compute_slice_normal(orientation: np.ndarray) -> np.ndarray:
    """Compute the unit vector across the slices (LPS): the cross product of row and column direction.

    Raises:
        NotAVolume: the directions are not perpendicular unit vectors.
    """
    if not is_orientation(orientation):
        raise NotAVolume("no_position", f"directions of row and column are not perpendicular units: {orientation}")
    normal = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


def is_orientation(orientation: np.ndarray) -> bool:
    """Whether the directions of row and column are perpendicular unit vectors, as printed."""
    row, column = np.reshape(np.asarray(orientation, float), (2, 3))
    return bool(np.abs([row @ row - 1, column @ column - 1, row @ column]).max() < UNIT_TOLERANCE)


def find_common_orientation(orientations: np.ndarray) -> np.ndarray:
    """Find the orientation [6] that all slices [n, 6] share.

    Raises:
        NotAVolume: slices have different orientations.
    """
    differing = np.abs(orientations - orientations[0]).max(axis=1) > ORIENTATION_TOLERANCE
    if differing.any():
        raise NotAVolume("split_orientation", f"{differing.sum()} of {len(differing)} slices lie in another plane")
    return orientations[0]


def compute_heights_mm(positions_mm: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Compute the height [n] of each slice along the normal, in mm. InstanceNumber and file name are not used."""
    return positions_mm @ compute_slice_normal(orientation)


def group_by_position(heights_sorted_mm: np.ndarray) -> list[list[int]]:
    """Group the indices of sorted heights into runs with the same position."""
    starts = np.flatnonzero(np.diff(heights_sorted_mm) > SAME_POSITION_MM) + 1
    return [list(run) for run in np.split(np.arange(len(heights_sorted_mm)), starts)]


def check_count(positions_mm: np.ndarray, orientation: np.ndarray, pixel_spacing_mm: np.ndarray) -> None:
    """Raise NotAVolume for one slice, or for too few to show an even spacing."""
    if len(positions_mm) == 1:
        raise NotAVolume("single_slice", "one slice is no volume")
    if len(positions_mm) < MIN_SLICES:
        raise NotAVolume("too_few_slices", f"{len(positions_mm)} slices cannot show an even spacing")


def check_spacing(positions_mm: np.ndarray, orientation: np.ndarray, pixel_spacing_mm: np.ndarray) -> None:
    """Raise NotAVolume unless the heights are evenly spaced. Gaps of whole multiples mean missing slices."""
    heights = compute_heights_mm(positions_mm, orientation)
    gaps = np.diff(heights)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    even = np.linspace(heights[0], heights[-1], len(heights))
    if len(gaps) == 0 or np.abs(heights - even).max() <= max(UNEVEN_SHARE * usual, ROUNDING_MM):
        return
    multiples = gaps / usual
    widest = int(gaps.argmax())
    where = f"{gaps[widest]:.2f} mm after {heights[widest]:.2f} mm where {usual:.2f} mm is usual"
    if multiples.max() > 1.5 and np.abs(multiples - multiples.round()).max() <= UNEVEN_SHARE:
        raise NotAVolume("missing_slice", f"{int(multiples.round().sum()) - len(gaps)} slice(s) missing: {where}")
    raise NotAVolume("uneven_spacing", f"slices are not evenly spaced: {where}")


def check_drift(positions_mm: np.ndarray, orientation: np.ndarray, pixel_spacing_mm: np.ndarray) -> None:
    """Raise NotAVolume unless the stack runs along its normal. Steady drift is gantry tilt, a jump a shifted slice."""
    normal = compute_slice_normal(orientation)
    sideways = positions_mm - np.outer(positions_mm @ normal, normal)
    drift = sideways - sideways[0]
    limit_mm = MAX_DRIFT_PIXELS * float(pixel_spacing_mm.min())
    share = (compute_heights_mm(positions_mm, orientation) - positions_mm[0] @ normal)[:, None]
    steady = drift[-1] * share / share[-1] if share[-1] else np.zeros_like(drift)
    if np.linalg.norm(drift - steady, axis=1).max() > limit_mm:
        raise NotAVolume("shifted_slices", "slices are shifted sideways against each other")
    if np.linalg.norm(drift[-1]) > limit_mm:
        degrees = compute_tilt_degrees(positions_mm, orientation)
        raise NotAVolume("gantry_tilt", f"the stack leans by {degrees:.1f} degrees: tilted gantry")


CHECKS = (check_count, check_spacing, check_drift)


def find_faults(positions_mm: np.ndarray, orientation: np.ndarray, pixel_spacing_mm: np.ndarray) -> list[NotAVolume]:
    """Find all faults that keep an ordered stack from being a volume; an empty list if there are none."""
    found = []
    for check in CHECKS:
        try:
            check(positions_mm, orientation, pixel_spacing_mm)
        except NotAVolume as fault:
            found.append(fault)
    return found


def compute_tilt_degrees(positions_mm: np.ndarray, orientation: np.ndarray) -> float:
    """Compute the angle in degrees between the direction of the stack and its normal; 0 for a single slice."""
    run = positions_mm[-1] - positions_mm[0]
    along = abs(run @ compute_slice_normal(orientation))
    return float(np.degrees(np.arctan2(np.sqrt(max(run @ run - along**2, 0.0)), along))) if along else 0.0


def compute_affine_ras(positions_mm: np.ndarray, orientation: np.ndarray, pixel_spacing_mm: np.ndarray) -> np.ndarray:
    """Compute the affine [4, 4] of an ordered stack: index (x column, y row, z slice) to patient millimetres in RAS.

    Equation of PS3.3 C.7.6.2.1-1, with the third column from the first and last positions.
    """
    between_rows_mm, between_columns_mm = pixel_spacing_mm
    affine_lps = np.eye(4)
    affine_lps[:3, 0] = orientation[:3] * between_columns_mm
    affine_lps[:3, 1] = orientation[3:] * between_rows_mm
    affine_lps[:3, 2] = (positions_mm[-1] - positions_mm[0]) / (len(positions_mm) - 1)
    affine_lps[:3, 3] = positions_mm[0]
    return LPS_TO_RAS @ affine_lps


def name_plane(orientation: np.ndarray) -> str:
    """Name the plane of a stack by the axis nearest to its normal: axial, coronal, sagittal or oblique."""
    nearness = np.abs(compute_slice_normal(orientation))
    axis = int(nearness.argmax())
    return ("sagittal", "coronal", "axial")[axis] if nearness[axis] >= PLANE_COSINE else "oblique"

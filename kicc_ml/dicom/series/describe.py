"""Describe a series from its headers: scanner, geometry, dose and time."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from kicc_ml.core.types import Series, Verdict
from kicc_ml.dicom.header.read import Header
from kicc_ml.dicom.series import geometry
from kicc_ml.dicom.series.stacking import Stack

#: Maximum CTDIvol of a low-dose chest CT for a patient of standard size (ACR-SPR-STR practice parameter for low-dose
#: CT screening), and the mAs of such protocols where only the tube current is stated. KICC-19 published no cut-off.
LOW_DOSE_CTDI_VOL_MGY = 3.0
LOW_DOSE_MAS = 60.0


def describe_series(
    root: Path,
    headers: Sequence[Header],
    verdict: Verdict,
    reasons: Sequence[str],
    *,
    modality: str = "CT",
    uid: str = "",
    stack: Stack | None = None,
) -> Series:
    """Make the :class:`Series` of headers.

    Args:
        root: folder that the paths of the headers are relative to.
        headers: headers in order of position.
        verdict: the verdict of the intake.
        reasons: its reason codes.
        modality: ``CT``, ``CXR``, or the DICOM modality of another series.
        uid: pseudonym of the series; that of the first header by default.
        stack: the same slices with their geometry, if their positions are known.
    """
    first = headers[0]
    acquired = min((header.acquired for header in headers if header.acquired), default=None)
    return Series(
        site=first.site,
        patient=first.patient,
        study=first.study,
        uid=uid or first.series,
        modality=modality,
        files=tuple(dict.fromkeys(root / header.path for header in headers)),
        rows=first.rows,
        columns=first.columns,
        slices=len(headers),
        spacing_mm=_compute_spacing_mm(first, stack),
        units="hu" if modality == "CT" else "arbitrary",
        verdict=verdict,
        reasons=tuple(dict.fromkeys(reasons)),
        acquired=acquired,
        projection=first.view if first.view in ("AP", "PA") else "",
        vendor=first.vendor,
        model=first.model,
        kernel=first.kernel,
        slice_thickness_mm=first.slice_thickness_mm,
        frames=tuple(header.frame for header in headers if header.frame is not None),
        **(_describe_geometry(stack) if stack else {}),
        view=first.view,
        dose_class=_find_dose_class(headers) if modality == "CT" else "",
        transfer_syntax=first.transfer_syntax,
        acquired_after_study_s=_compute_seconds_between(first.study_started, acquired),
    )


def _describe_geometry(stack: Stack) -> dict[str, Any]:
    """Make the fields of :class:`Series` that need the positions of its slices."""
    return {
        "plane": geometry.name_plane(stack.orientation),
        "coverage_mm": _compute_coverage_mm(stack),
        "tilt_degrees": geometry.compute_tilt_degrees(stack.positions_mm, stack.orientation),
    }


def _compute_heights_mm(stack: Stack) -> np.ndarray:
    return geometry.compute_heights_mm(stack.positions_mm, stack.orientation)


def _compute_spacing_mm(first: Header, stack: Stack | None) -> tuple[float, float, float] | None:
    """Compute the spacing (x, y, z) in mm; z is 0 for a radiograph or a single slice; None if it is not known.

    The spacing between slices is the mean gap if slices are evenly spaced, because single gaps are rounded in print,
    and the median gap if slices are missing.
    """
    if first.pixel_spacing_mm is None:
        return None
    between_rows_mm, between_columns_mm = first.pixel_spacing_mm
    gaps_mm = np.diff(_compute_heights_mm(stack)) if stack else np.zeros(0)
    if not len(gaps_mm):
        return between_columns_mm, between_rows_mm, 0.0
    usual = float(np.median(gaps_mm))
    even = np.abs(gaps_mm - usual).max() <= max(geometry.UNEVEN_SHARE * usual, 2 * geometry.ROUNDING_MM)
    return between_columns_mm, between_rows_mm, float(gaps_mm.mean()) if even else usual


def _compute_coverage_mm(stack: Stack) -> float:
    """Compute the distance from the outer face of the first slice to that of the last, in mm."""
    heights = _compute_heights_mm(stack)
    gap_mm = float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0
    return float(heights[-1] - heights[0]) + gap_mm


def _find_dose_class(headers: Sequence[Header]) -> str:
    """Find the dose class, ``low`` or ``standard``, by the median CTDIvol or else mAs; "" if neither is stated."""
    for name, limit in (("ctdi_vol_mgy", LOW_DOSE_CTDI_VOL_MGY), ("exposure_mas", LOW_DOSE_MAS)):
        stated = [value for header in headers if (value := getattr(header, name))]
        if stated:
            return "low" if np.median(stated) <= limit else "standard"
    return ""


def _compute_seconds_between(start: datetime | None, moment: datetime | None) -> float | None:
    return (moment - start).total_seconds() if start and moment else None

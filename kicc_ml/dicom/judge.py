"""The verdict on the files of a series: what is dropped, how the rest is ordered, whether it is a volume."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from kicc_ml.dicom import geometry
from kicc_ml.dicom.geometry import NotAVolume
from kicc_ml.dicom.headers import Header
from kicc_ml.dicom.pixels import pixel_digest
from kicc_ml.dicom.reasons import REASONS
from kicc_ml.records import Series, Verdict

logger = logging.getLogger(__name__)

RADIOGRAPHY = {"CR", "DX", "RG"}
GREY = {"MONOCHROME1", "MONOCHROME2"}
LOCALIZER_WORDS = ("LOCALIZER", "SURVIEW", "SCOUT", "TOPOGRAM")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
#: Faults of a file that leave nothing to group into a series.
NO_IMAGE = {"not_dicom", "unreadable", "not_an_image"}


@dataclass(frozen=True)
class FileRow:
    """A file that is in no series, or was dropped from one, and the code of the reason."""

    site: str
    path: Path
    reason: str


@dataclass(frozen=True)
class _Stack:
    """Slices in order with their common geometry."""

    slices: tuple[Header, ...]
    orientation: np.ndarray

    @property
    def positions_mm(self) -> np.ndarray:
        return np.array([header.position_mm for header in self.slices])

    @property
    def pixel_spacing_mm(self) -> np.ndarray:
        return np.array(self.slices[0].pixel_spacing_mm)


def judge(root: Path, headers: Iterable[Header]) -> tuple[list[Series], list[FileRow]]:
    """Sort headers into series with a verdict and into files that are no image, or were dropped."""
    images, series, rows = [], [], []
    for header in headers:
        if header.fault in NO_IMAGE:
            rows.append(FileRow(header.site, root / header.path, header.fault))
        else:
            images.append(header)
    images.sort(key=_series_key)
    for _, group in groupby(images, key=_series_key):
        judged, dropped = _judge_series(root, list(group))
        series += judged
        rows += dropped
    series.sort(key=lambda one: (one.site, one.files))  # not by pseudonym: the order must not hang on the key
    return series, rows


def _series_key(header: Header) -> tuple[str, ...]:
    return header.site, header.patient, header.study, header.series, header.modality


def _judge_series(root: Path, headers: list[Header]) -> tuple[list[Series], list[FileRow]]:
    modality = headers[0].modality
    if modality == "CT":
        return _judge_ct(root, headers)
    if modality in RADIOGRAPHY:
        return _judge_radiographs(root, headers)
    return [_series(root, headers, "refused", ("wrong_modality",), modality=modality)], []


def _judge_radiographs(root: Path, headers: list[Header]) -> tuple[list[Series], list[FileRow]]:
    """Each radiograph is a series of its own: one DICOM series may hold several views or days."""
    kept, twice = _without_doubles(headers)
    series = []
    for header in kept:
        faults = _radiograph_faults(header)
        verdict: Verdict = "refused" if faults else "usable"
        series.append(_series(root, [header], verdict, faults, modality="CXR", uid=header.sop))
    return series, [FileRow(header.site, root / header.path, "duplicate_slice") for header in twice]


def _radiograph_faults(header: Header) -> tuple[str, ...]:
    checks = {
        "truncated": header.fault == "truncated",
        "dose_page": header.photometric not in GREY,
        "multi_frame": header.frames > 1,
        "for_processing": header.sop_class == DX_FOR_PROCESSING,
        "lateral_view": header.view == "lateral",
    }
    return tuple(code for code, failed in checks.items() if failed)


def _judge_ct(root: Path, headers: list[Header]) -> tuple[list[Series], list[FileRow]]:
    slices, dropped = [], []
    for header in headers:
        if reason := _dropped_because(header):
            dropped.append((header, reason))
        else:
            slices.append(header)
    if not slices:
        codes = {reason for _, reason in dropped} | set(_missing_tags(headers))
        return [_series(root, headers, "refused", sorted(codes))], []
    slices, twice = _without_doubles(slices)
    dropped += [(header, "duplicate_slice") for header in twice]
    series, same = _judge_stack(root, slices, {reason for _, reason in dropped})
    dropped += [(header, "duplicate_slice") for header in same]
    return [series], [FileRow(header.site, root / header.path, reason) for header, reason in dropped]


def _dropped_because(header: Header) -> str:
    """Why a file of a CT series is no slice of it, by SOP class and image type; "" for a slice."""
    if header.fault:
        return header.fault
    if header.photometric not in GREY:
        return "dose_page"
    if any(word in header.image_type for word in LOCALIZER_WORDS):
        return "localizer"
    if header.frames > 1:
        return "multi_frame"
    return "secondary_capture" if header.sop_class == SECONDARY_CAPTURE else ""


def _without_doubles(headers: Sequence[Header]) -> tuple[list[Header], list[Header]]:
    """The first file of each SOP instance, and the rest."""
    first = {header.sop: header for header in reversed(headers)}
    kept = [header for header in headers if first[header.sop] is header]
    return kept, [header for header in headers if first[header.sop] is not header]


def _judge_stack(root: Path, slices: list[Header], mended: set[str]) -> tuple[Series, list[Header]]:
    """The verdict on the slices that are left; beside it the slices dropped as doubles of another."""
    missing = _missing_tags(slices)
    try:
        stack, doubles = _ordered(root, slices)
    except NotAVolume as fault:
        return _series(root, slices, "refused", [*missing, *_codes(slices[0], [fault]), *sorted(mended)]), []
    mended = mended | ({"duplicate_slice"} if doubles else set())
    found = geometry.faults(stack.positions_mm, stack.orientation, stack.pixel_spacing_mm)
    faults = [*missing, *_codes(slices[0], found)]
    if faults:
        return _series(root, stack.slices, "refused", [*faults, *sorted(mended)], stack=stack), doubles
    notes = [plane] if (plane := geometry.plane(stack.orientation)) in REASONS else []
    verdict: Verdict = "repaired" if mended else "usable"
    return _series(root, stack.slices, verdict, [*sorted(mended), *notes], stack=stack), doubles


def _codes(header: Header, faults: Iterable[NotAVolume]) -> list[str]:
    """Codes of the faults; where in the stack they are goes to the log."""
    faults = list(faults)
    for fault in faults:
        logger.info("site %s, series %s: %s", header.site, header.series, fault)
    return [fault.code for fault in faults]


def _missing_tags(headers: Iterable[Header]) -> list[str]:
    headers = list(headers)
    located = all(header.position_mm and header.orientation and header.pixel_spacing_mm for header in headers)
    scaled = all(header.has_rescale for header in headers)
    return ["no_position"] * (not located) + ["no_rescale"] * (not scaled)


def _ordered(root: Path, slices: list[Header]) -> tuple[_Stack, list[Header]]:
    """Slices by place along their normal, and their doubles. NotAVolume where they share no geometry."""
    if "no_position" in _missing_tags(slices):
        raise NotAVolume("no_position", "position, orientation or pixel spacing is missing")
    orientation = geometry.common_orientation(np.array([header.orientation for header in slices]))
    shapes = Counter((header.rows, header.columns, header.pixel_spacing_mm) for header in slices)
    if len(shapes) > 1:
        raise NotAVolume("mixed_matrix", f"slices differ in rows, columns or pixel spacing: {dict(shapes)}")
    heights = geometry.heights_mm(np.array([header.position_mm for header in slices]), orientation)
    order = np.argsort(heights, kind="stable")
    kept, doubles = [], []
    for run in geometry.same_position(heights[order]):
        same = [slices[order[index]] for index in run]
        if len(same) > 1 and len({pixel_digest(root / header.path) for header in same}) > 1:
            raise NotAVolume("overlapping_slices", f"{len(same)} different images at {heights[order[run[0]]]:.2f} mm")
        kept.append(same[0])
        doubles += same[1:]
    return _Stack(tuple(kept), orientation), doubles


def _series(
    root: Path,
    headers: Sequence[Header],
    verdict: Verdict,
    reasons: Sequence[str],
    *,
    modality: str = "CT",
    uid: str = "",
    stack: _Stack | None = None,
) -> Series:
    first = headers[0]
    return Series(
        site=first.site,
        patient=first.patient,
        study=first.study,
        uid=uid or first.series,
        modality=modality,
        files=tuple(root / header.path for header in headers),
        rows=first.rows,
        columns=first.columns,
        slices=len(headers),
        spacing_mm=_spacing_mm(first, stack),
        units="hu" if modality == "CT" else "arbitrary",
        verdict=verdict,
        reasons=tuple(dict.fromkeys(reasons)),
        acquired=min((header.acquired for header in headers if header.acquired), default=None),
        projection=first.view if first.view in ("AP", "PA") else "",
        vendor=first.vendor,
        model=first.model,
        kernel=first.kernel,
        slice_thickness_mm=first.slice_thickness_mm,
    )


def _spacing_mm(first: Header, stack: _Stack | None) -> tuple[float, float, float] | None:
    """(x, y, z); the mean gap between slices, 0 across a radiograph or single slice; None where not known."""
    if first.pixel_spacing_mm is None:
        return None
    between_rows_mm, between_columns_mm = first.pixel_spacing_mm
    gap_mm = 0.0
    if stack and len(stack.slices) > 1:
        heights = geometry.heights_mm(stack.positions_mm, stack.orientation)
        gap_mm = float(heights[-1] - heights[0]) / (len(heights) - 1)
    return between_columns_mm, between_rows_mm, gap_mm

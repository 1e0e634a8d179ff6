"""Classify the files of a series: which are dropped, how the rest is stacked, and whether it is a volume."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from kicc_ml.core.types import Series, Verdict
from kicc_ml.dicom.header.read import Header
from kicc_ml.dicom.header.terms import (
    DX_FOR_PROCESSING,
    GREY,
    HOUNSFIELD,
    MODALITY_OF_CLASS,
    RADIOGRAPHY,
    SECONDARY_CAPTURE,
)
from kicc_ml.dicom.series import geometry
from kicc_ml.dicom.series.describe import describe_series
from kicc_ml.dicom.series.geometry import GeometryPolicy, NotAVolume
from kicc_ml.dicom.series.reasons import NOT_OPENED, REASONS
from kicc_ml.dicom.series.stacking import Stack, build_stacks, drop_repeats
from kicc_ml.dicom.series.uid_per_slice import join_series

logger = logging.getLogger(__name__)

#: The Presentation LUT Shape that contradicts a photometric interpretation (PS3.3 C.8.11.3.1.2): one states that low
#: values are bright, the other that they are dark.
CONTRADICTING_SHAPE = {"MONOCHROME1": "IDENTITY", "MONOCHROME2": "INVERSE"}
LOCALIZER_WORDS = ("LOCALIZER", "SURVIEW", "SCOUT", "TOPOGRAM")
#: Faults of files that cannot belong to a series.
NO_IMAGE = {
    "not_dicom",
    "unreadable",
    "not_an_image",
    "too_large",
    "encoded_otherwise",
    "office_file",
    *NOT_OPENED,
}
REFUSE = GeometryPolicy()


@dataclass(frozen=True)
class FileRow:
    """A file that is in no series or was dropped from one, with the code of the reason."""

    site: str
    path: Path
    reason: str


def classify_series(
    root: Path, headers: Iterable[Header], policy: GeometryPolicy = REFUSE
) -> tuple[list[Series], list[FileRow]]:
    """Sort headers into series with a verdict, and into files that are not images or were dropped.

    A DICOM series that holds several stacks is returned as several series: the largest keeps the pseudonym, the others
    get the suffix ``-2``, ``-3``. Slices that each have a series of their own are returned as one series.

    Args:
        root: folder that the paths of the headers are relative to.
        headers: headers of all files.
        policy: which geometry faults are repaired.

    Returns:
        the series, refused ones included, and the files in no series.
    """
    headers = list(headers)
    dropped = [(header, header.fault) for header in headers if header.fault in NO_IMAGE]
    images = [header for header in headers if header.fault not in NO_IMAGE]
    images, joined = join_series(images)
    series: list[Series] = []
    images.sort(key=_make_series_key)
    for key, group in groupby(images, key=_make_series_key):
        found, losses = _classify_one_series(root, list(group), policy)
        series += map(_mark_as_joined, found) if key[3] in joined else found
        dropped += losses
    series.sort(key=lambda row: (row.site, row.files))  # not by pseudonym: the order must not hang on the key
    rows = {FileRow(header.site, root / header.path, reason): None for header, reason in dropped}
    return series, list(rows)


def _make_series_key(header: Header) -> tuple[str, ...]:
    return header.site, header.patient, header.study, header.series, header.modality


def _mark_as_joined(one: Series) -> Series:
    """Mark a series whose slices each had a SeriesInstanceUID of their own as repaired."""
    return replace(one, verdict="repaired" if one.usable else "refused", reasons=("uid_per_slice", *one.reasons))


_Dropped = list[tuple[Header, str]]


def _classify_one_series(root: Path, headers: list[Header], policy: GeometryPolicy) -> tuple[list[Series], _Dropped]:
    modality = headers[0].modality
    if modality == "CT":
        return _classify_ct(root, headers, policy)
    if modality in RADIOGRAPHY:
        return _classify_radiographs(root, headers)
    return [describe_series(root, headers, "refused", ["wrong_modality"], modality=modality)], []


def _classify_radiographs(root: Path, headers: list[Header]) -> tuple[list[Series], _Dropped]:
    """Classify radiographs, each as a series of its own: one DICOM series may hold several views or days."""
    kept, twice = drop_repeats(headers)
    series = []
    for header in kept:
        copies = [other for other in twice if other.sop == header.sop]
        faults = [*_find_radiograph_faults(header), *_find_contradictions(header, copies)]
        verdict: Verdict = "refused" if faults else "usable"
        reasons = [*faults, *_list_notes([header])]
        series.append(describe_series(root, [header], verdict, reasons, modality="CXR", uid=header.sop))
    return series, [(header, "duplicate_slice") for header in twice]


def _find_contradictions(header: Header, copies: Sequence[Header]) -> list[str]:
    """Find contradictions between files with the same SOP Instance UID. Which of them is right cannot be known."""
    statements = {(copy.photometric, copy.rows, copy.columns) for copy in (header, *copies)}
    return ["contradicting_copies"] if len(statements) > 1 else []


def _find_radiograph_faults(header: Header) -> list[str]:
    checks = {
        "wrong_modality": _contradicts_sop_class(header),
        "dose_page": header.photometric not in GREY,
        "multi_frame": header.frames > 1,
        "contradicting_display": header.lut_shape == CONTRADICTING_SHAPE.get(header.photometric),
        "for_processing": header.sop_class == DX_FOR_PROCESSING,
        "lateral_view": header.view == "lateral",
    }
    faults = [code for code, failed in checks.items() if failed]
    return [header.fault, *faults] if header.fault else faults


def _classify_ct(root: Path, headers: list[Header], policy: GeometryPolicy) -> tuple[list[Series], _Dropped]:
    dropped = [(header, reason) for header in headers if (reason := _find_drop_reason(header))]
    lost = {id(header) for header, _ in dropped}
    slices = [header for header in headers if id(header) not in lost]
    if not slices:
        codes = {reason for _, reason in dropped} | set(_find_ct_faults(headers))
        return [describe_series(root, headers, "refused", sorted(codes))], []
    slices, twice = drop_repeats(slices)
    placed = [header for header in slices if _has_position(header)]
    dropped += [(header, "duplicate_slice") for header in twice]
    if not placed:
        reasons = [*_find_ct_faults(slices), *sorted({reason for _, reason in dropped})]
        return [describe_series(root, slices, "refused", reasons)], dropped
    dropped += [(header, "no_position") for header in slices if not _has_position(header)]
    series = []
    for number, stack in enumerate(build_stacks(root, placed), start=1):
        dropped += [(header, "duplicate_slice") for header in stack.duplicates]
        repairs = sorted({reason for _, reason in dropped}) if number == 1 else []
        series.append(_classify_stack(root, stack, repairs, policy, number))
    return series, dropped


def _find_drop_reason(header: Header) -> str:
    """Find out why a file of a CT series is not a slice, by SOP class and image type; "" for a slice."""
    if header.fault:
        return header.fault
    if header.photometric not in GREY:
        return "dose_page"
    if any(word in header.image_type for word in LOCALIZER_WORDS):
        return "localizer"
    if header.frames > 1 and header.frame is None:
        return "multi_frame"
    return "secondary_capture" if header.sop_class == SECONDARY_CAPTURE else ""


def _classify_stack(root: Path, stack: Stack, repairs: list[str], policy: GeometryPolicy, number: int) -> Series:
    faults = [stack.fault] if stack.fault else _find_geometry_faults(stack)
    gaps_mm = np.diff(geometry.compute_heights_mm(stack.positions_mm, stack.orientation))
    repaired = [fault.code for fault in faults if policy.can_repair(fault.code, float(gaps_mm.max(initial=0)))]
    beyond = [*_find_ct_faults(stack.slices), *(fault.code for fault in faults if fault.code not in repaired)]
    for fault in faults:  # the log has the position of the fault, the index only its code
        logger.info("series %s: %s", stack.slices[0].series, fault)
    repairs = [*repaired, *stack.codes, *repairs]
    verdict: Verdict = "refused" if beyond else "repaired" if repairs else "usable"
    reasons = [*beyond, *repairs, *_list_notes(stack.slices, stack.orientation)]
    uid = stack.slices[0].series + (f"-{number}" if number > 1 else "")
    return describe_series(root, stack.slices, verdict, reasons, uid=uid, stack=None if stack.fault else stack)


def _find_geometry_faults(stack: Stack) -> list[NotAVolume]:
    return geometry.find_faults(stack.positions_mm, stack.orientation, stack.pixel_spacing_mm)


def _contradicts_sop_class(header: Header) -> bool:
    """Whether Modality and SOP class contradict each other about CT; which of them is wrong cannot be known."""
    of_class = MODALITY_OF_CLASS.get(header.sop_class, "")
    return bool(of_class) and (header.modality == "CT") != (of_class == "CT")


def _has_position(header: Header) -> bool:
    stated = header.position_mm and header.orientation and header.pixel_spacing_mm
    return bool(stated) and geometry.is_orientation(np.array(header.orientation))


def _find_ct_faults(headers: Sequence[Header]) -> list[str]:
    """Find the faults of CT slices in their tags, apart from their geometry."""
    framed = {header.path for header in headers if header.frame is not None}
    checks = {
        "multi_frame": len(framed) <= 1,
        "wrong_modality": not any(_contradicts_sop_class(header) for header in headers),
        "no_position": all(_has_position(header) for header in headers),
        "no_rescale": all(header.has_rescale for header in headers),
        "not_hu": all(header.rescale_type.upper() in HOUNSFIELD for header in headers),
    }
    return [code for code, passed in checks.items() if not passed]


def _list_notes(headers: Sequence[Header], orientation: np.ndarray | None = None) -> list[str]:
    """List notes about a series that do not prevent its use."""
    plane = "axial" if orientation is None else geometry.name_plane(orientation)
    notes = [plane] if plane in REASONS else []
    if any(header.burned_in for header in headers):
        notes.append("burned_in")
    elif any(header.text_unstated for header in headers):
        notes.append("text_unstated")
    if any(header.lossy for header in headers):
        notes.append("lossy_compression")
    return notes

"""Sort the slices of one series into stacks: separate different ones, order by position, drop duplicates."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from kicc_ml.dicom.header.read import Header
from kicc_ml.dicom.pixels.read import compute_pixel_digest, read_image
from kicc_ml.dicom.series import geometry
from kicc_ml.dicom.series.geometry import MIN_SLICES, ORIENTATION_TOLERANCE, NotAVolume

#: Pixel spacings that differ by less are equal; they are printed with three digits or more.
SPACING_TOLERANCE_MM = 1e-3

#: Header values that distinguish acquisitions or phases, the most explicit first. A value is used only if each of its
#: groups is a stack without two slices at one position: AcquisitionNumber can also count the slices along z.
ACQUISITION_KEYS: tuple[Callable[[Header], Hashable], ...] = (
    lambda header: header.acquisition,
    lambda header: header.phase,
    lambda header: header.contrast,
    lambda header: header.image_type,
    lambda header: header.slice_thickness_mm,
    lambda header: header.kvp,
)
#: So many of the first keys mean another time of scanning, even if no two slices have the same position. The others may
#: change from slice to slice of one scan.
N_TIMING_KEYS = 3
#: Two acquisitions are interleaved if at least this share of the neighbours in one are separated by slices of the
#: other. Blocks that follow each other along z are not interleaved.
MIN_INTERLEAVED_SHARE = 0.5


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal, the duplicates that were dropped, and the codes of how they were separated.

    ``fault`` is set if the slices have no order, because different images have the same position.
    """

    slices: tuple[Header, ...]
    duplicates: tuple[Header, ...] = ()
    codes: tuple[str, ...] = ()
    fault: NotAVolume | None = None

    @property
    def positions_mm(self) -> np.ndarray:
        """Return the position of each slice in mm, ``[slice, 3]``."""
        return np.array([header.position_mm for header in self.slices])

    @property
    def orientation(self) -> np.ndarray:
        """Return the six direction cosines of the first slice."""
        return np.array(self.slices[0].orientation)

    @property
    def pixel_spacing_mm(self) -> np.ndarray:
        """Return the pixel spacing of the first slice in mm: between rows, between columns."""
        return np.array(self.slices[0].pixel_spacing_mm)


def build_stacks(root: Path, slices: Sequence[Header]) -> list[Stack]:
    """Build the stacks of the slices of one series, the largest first.

    Args:
        root: folder that the paths of the headers are relative to.
        slices: headers that all state their position.
    """
    found = [stack for part in _separate_by_geometry(slices) for stack in _order_by_position(root, part)]
    return sorted(found, key=lambda stack: (-len(stack.slices), stack.slices[0].path))


def _separate_by_geometry(slices: Sequence[Header]) -> list[Stack]:
    """Separate slices that differ in orientation, matrix, pixel spacing or kernel."""
    parts = [Stack(tuple(slices))]
    for code, key in (
        ("split_orientation", _GroupNumber(lambda header: header.orientation, ORIENTATION_TOLERANCE)),
        ("split_matrix", lambda header: (header.rows, header.columns)),
        ("split_matrix", _GroupNumber(lambda header: header.pixel_spacing_mm, SPACING_TOLERANCE_MM)),
        ("split_kernel", lambda header: header.kernel),
    ):
        parts = [part for whole in parts for part in _split(whole, key, code)]
    return parts


class _GroupNumber:
    """Numbers groups of vectors that differ by no more than a tolerance. A call returns the group of a header."""

    def __init__(self, vector: Callable[[Header], tuple[float, ...] | None], tolerance: float) -> None:
        self._vector, self._tolerance = vector, tolerance
        self._seen: list[np.ndarray] = []

    def __call__(self, header: Header) -> int:
        vector = np.array(self._vector(header))
        for number, seen in enumerate(self._seen):
            if np.abs(vector - seen).max() <= self._tolerance:
                return number
        self._seen.append(vector)
        return len(self._seen) - 1


def _split(whole: Stack, key: Callable[[Header], Hashable], code: str) -> list[Stack]:
    groups = _group_by(whole.slices, key)
    if len(groups) == 1:
        return [whole]
    return [Stack(tuple(group), codes=_add_code(whole.codes, code)) for group in groups]


def _add_code(codes: Iterable[str], code: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*codes, code)))


def _order_by_position(root: Path, part: Stack) -> Iterator[Stack]:
    """Order slices by position, in one stack or in one per acquisition if slices have the same position."""
    slices = _sort_by_height(part.slices)
    for groups in (
        _propose_divisions(slices) if _has_shared_position(slices) else _propose_interleaved_divisions(slices)
    ):
        if len(groups) > 1 and all(len(group) >= MIN_SLICES and not _has_shared_position(group) for group in groups):
            codes = _add_code(part.codes, "split_acquisition")
            yield from (Stack(tuple(group), codes=codes) for group in groups)
            return
    yield _drop_duplicates(root, replace(part, slices=tuple(slices)))


def _sort_by_height(slices: Iterable[Header]) -> list[Header]:
    slices = list(slices)
    heights = _compute_heights_mm(slices)
    return [slices[index] for index in np.argsort(heights, kind="stable")]


def _compute_heights_mm(slices: Sequence[Header]) -> np.ndarray:
    orientation = np.array(slices[0].orientation)
    return geometry.compute_heights_mm(np.array([header.position_mm for header in slices]), orientation)


def _has_shared_position(slices: Sequence[Header]) -> bool:
    """Whether two of these ordered slices have the same position."""
    return len(slices) > 1 and float(np.diff(_compute_heights_mm(slices)).min()) <= geometry.SAME_POSITION_MM


def _propose_divisions(slices: Sequence[Header]) -> Iterator[list[list[Header]]]:
    """Propose ways to divide overlapping slices: by each acquisition key, then by the longest pauses between them."""
    yield from (_group_by(slices, key) for key in ACQUISITION_KEYS)
    layers = max(len(run) for run in geometry.group_by_position(_compute_heights_mm(slices)))
    yield _group_by_pause(slices, layers)


def _propose_interleaved_divisions(slices: Sequence[Header]) -> Iterator[list[list[Header]]]:
    """Propose ways to divide slices at different positions into interleaved acquisitions or phases.

    Two acquisitions half a spacing apart would otherwise look like one even stack. Step-and-shoot scans, whose
    acquisitions follow each other along z, are not divided.
    """
    for key in ACQUISITION_KEYS[:N_TIMING_KEYS]:
        groups = _group_by(slices, key)
        if any(_is_interleaved(group, slices) for group in groups):
            yield groups


def _is_interleaved(group: Sequence[Header], slices: Sequence[Header]) -> bool:
    """Whether the neighbours within a group have slices of another group between them."""
    indices = np.searchsorted(_compute_heights_mm(slices), _compute_heights_mm(group))
    return len(group) >= MIN_SLICES and bool(np.mean(np.diff(indices) > 1) >= MIN_INTERLEAVED_SHARE)


def _group_by(slices: Iterable[Header], key: Callable[[Header], Hashable]) -> list[list[Header]]:
    groups: dict[Hashable, list[Header]] = {}
    for header in slices:
        groups.setdefault(key(header), []).append(header)
    return list(groups.values())


def _group_by_pause(slices: Sequence[Header], count: int) -> list[list[Header]]:
    """Divide slices into ``count`` groups at the longest pauses of the acquisition; one group if a time is missing."""
    times = sorted({header.acquired for header in slices if header.acquired})
    if len(times) < count or any(header.acquired is None for header in slices):
        return [list(slices)]
    pauses = np.array([(later - earlier).total_seconds() for earlier, later in pairwise(times)])
    ends = [times[index] for index in np.argsort(pauses)[len(pauses) - (count - 1) :]]
    number = [sum(header.acquired > end for end in ends if header.acquired) for header in slices]
    return [
        [header for header, own in zip(slices, number, strict=True) if own == group] for group in sorted(set(number))
    ]


def _drop_duplicates(root: Path, stack: Stack) -> Stack:
    """Keep the first of several slices at one position if all have the same pixels; otherwise set a fault."""
    kept, duplicates = [], []
    for run in geometry.group_by_position(_compute_heights_mm(stack.slices)):
        same = [stack.slices[index] for index in run]
        if len(same) > 1 and len({_compute_digest(root, header) for header in same}) > 1:
            place = _compute_heights_mm(same)[0]
            fault = NotAVolume("overlapping_slices", f"{len(same)} different images at {place:.2f} mm")
            return replace(stack, fault=fault)
        kept.append(same[0])
        duplicates += same[1:]
    return replace(stack, slices=tuple(kept), duplicates=tuple(duplicates))


def _compute_digest(root: Path, header: Header) -> str:
    """Compute a hash of the pixels as stored, or of a frame as decoded."""
    if header.frame is None:
        return compute_pixel_digest(root / header.path)
    return hashlib.sha256(read_image(root / header.path, header.frame).stored.tobytes()).hexdigest()


def drop_repeats(headers: Sequence[Header]) -> tuple[list[Header], list[Header]]:
    """Separate the first file of each SOP instance from its repeats. Slices at several positions are all first."""
    first = {_make_instance_key(header): header for header in reversed(headers)}
    kept = [header for header in headers if first[_make_instance_key(header)] is header]
    return kept, [header for header in headers if first[_make_instance_key(header)] is not header]


def _make_instance_key(header: Header) -> Hashable:
    return header.sop, header.frame, header.position_mm

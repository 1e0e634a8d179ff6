"""Parse the header of one file to plain values, with the fast parser, or with pydicom where that is needed."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader, FileIO

from kicc_ml.dicom.header.fast_parser import read_tags
from kicc_ml.dicom.header.multiframe import list_frame_values
from kicc_ml.dicom.header.pixel_length import read_dataset_pixel_length
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import (
    TooLargeError,
    compute_pixel_bytes,
    open_dataset,
    read_number,
    read_texts,
    read_transfer_syntax,
)

#: More pixels than the longer side of any detector has, and more bytes than any series in one object.
MAX_SIDE_PIXELS = 16_384
MAX_PIXEL_BYTES = 8 * 2**30
#: Number of headers that are remembered for reading pixels right after the index; they take about 10 MiB.
MAX_RECENT_FILES = 2000
#: Age from which a file is remembered: two changes within one tick of the file system's clock cannot be distinguished.
AT_REST_NS = 10**8


@dataclass(frozen=True)
class ParsedHeader:
    """Values by keyword, of the object and of each of its frames. ``order`` is the byte order as in :mod:`struct`."""

    values: Mapping[str, str]
    frames: Sequence[Mapping[str, str]]
    syntax: str
    pixel_length: int
    order: str = "<"


recent: dict[tuple[int, ...], tuple[ParsedHeader, int]] = {}


def parse_header(stream: FileIO) -> ParsedHeader:
    """Parse the header of an open file, and leave the file at the value of its pixel data.

    A file that has not changed is not parsed twice by one process.

    Raises:
        InvalidDicomError: the file is not DICOM.
        TooLargeError: the header states more than any chest image has.
    """
    state = os.fstat(stream.fileno())
    identity = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    known = recent.get(identity)
    if known is None:
        header = _parse(stream)
        known = header, stream.tell()
        if not header.frames and time.time_ns() - state.st_ctime_ns > AT_REST_NS:
            _remember(identity, known)
    stream.seek(known[1])
    return known[0]


def _remember(identity: tuple[int, ...], known: tuple[ParsedHeader, int]) -> None:
    if len(recent) >= MAX_RECENT_FILES:
        recent.clear()
    recent[identity] = known


def _parse(stream: FileIO) -> ParsedHeader:
    if (walked := read_tags(stream)) is not None:
        stream.seek(walked.pixel_at)
        return ParsedHeader(walked.values, (), walked.syntax, walked.pixel_length)
    stream.seek(0)
    return parse_by_pydicom(stream)


def parse_by_pydicom(stream: FileIO) -> ParsedHeader:
    """Read a header with pydicom: slower than the parser of this module, and reads every file."""
    buffered = BufferedReader(stream)
    try:
        with suppress_warnings():  # wrong character sets and value representations are expected here
            dataset = open_dataset(buffered)
            values, length = read_texts(dataset), read_dataset_pixel_length(dataset, buffered)
            frames, syntax = list_frame_values(dataset, values), read_transfer_syntax(dataset)
        at = buffered.tell()
    finally:
        buffered.detach()
    stream.seek(at)
    order = "<" if dataset.original_encoding[1] is not False else ">"
    return ParsedHeader(values, frames, syntax, length, order)


def refuse_oversized(values: Mapping[str, str]) -> None:
    """Raise TooLargeError where the header states more pixels than any image of a chest."""
    sides = [read_number(values, name) or 0 for name in ("Rows", "Columns")]
    if max(sides) > MAX_SIDE_PIXELS or compute_pixel_bytes(values) > MAX_PIXEL_BYTES:
        raise TooLargeError("more pixels than any image of a chest")

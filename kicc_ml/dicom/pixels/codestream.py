"""Describe a compressed picture from its own markers, not from the DICOM header.

JPEG: ITU-T T.81 B.2.2; JPEG-LS: T.87 C.2.2; JPEG 2000: T.800 A.5.1; RLE: DICOM PS3.5 annex G.
"""

import struct
from dataclasses import dataclass
from typing import Literal

#: Coding processes. ``picture`` is a whole PNG or JPEG file, which is not part of a DICOM object.
Process = Literal["jpeg", "jpeg_lossless", "jpeg_ls", "jpeg_2000", "rle", "picture"]

#: Process by start-of-frame marker. Arithmetic coding and hierarchical modes (from SOF5) have no decoder here.
PROCESS_OF_MARKER: dict[int, Process] = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2), "jpeg"),
    0xC3: "jpeg_lossless",
    0xF7: "jpeg_ls",
}
STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
START_OF_SCAN = 0xDA
JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
J2K_START = b"\xff\x4f\xff\x51"

#: Which processes a transfer syntax may hold (PS3.5 section 10); the numbers are the last parts of its UID.
PROCESSES: dict[str, tuple[Process, ...]] = {
    **{f"1.2.840.10008.1.2.4.{number}": ("jpeg",) for number in (50, 51, 53, 55)},
    **{f"1.2.840.10008.1.2.4.{number}": ("jpeg_lossless",) for number in (57, 70)},
    **{f"1.2.840.10008.1.2.4.{number}": ("jpeg_ls",) for number in (80, 81)},
    **{f"1.2.840.10008.1.2.4.{number}": ("jpeg_2000",) for number in (90, 91, 201, 202, 203)},
    "1.2.840.10008.1.2.5": ("rle",),
}
#: Transfer syntaxes whose pixels can be decoded: uncompressed in three ways, and the compressed ones. No deflated one:
#: what a few bytes inflate to would be inflated before it is known.
DECODABLE_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", *PROCESSES)


@dataclass(frozen=True)
class Codestream:
    """Size, bit depth and process of one compressed frame. ``signed`` is None if the coding does not state it.

    RLE states only the number of its byte planes, so ``rows`` and ``columns`` are 0.
    """

    process: Process
    rows: int
    columns: int
    components: int
    precision: int
    signed: bool | None = None


def describe_codestream(stream: bytes) -> Codestream | None:
    """Describe a frame from the markers at its start; None if the coding is not known."""
    try:
        if stream[:2] == b"\xff\xd8":
            return _describe_jpeg(stream)
        if stream[:4] == J2K_START or stream.startswith(JP2_SIGNATURE):
            return _describe_jpeg_2000(stream)
        return _describe_rle(stream)
    except (struct.error, IndexError):
        return None


def _describe_jpeg(stream: bytes) -> Codestream | None:
    at = 2
    while stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in PROCESS_OF_MARKER:
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, at + 4)
            return Codestream(PROCESS_OF_MARKER[marker], rows, columns, components, precision)
        if marker == START_OF_SCAN:
            return None
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in STANDALONE:
            at += 2
        else:
            at += 2 + int(struct.unpack_from(">H", stream, at + 2)[0])
    return None


def _describe_jpeg_2000(stream: bytes) -> Codestream | None:
    at = stream.find(J2K_START)
    if at < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
    (components,) = struct.unpack_from(">H", stream, at + 40)
    depth = stream[at + 42]
    return Codestream("jpeg_2000", bottom - top, right - left, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def _describe_rle(stream: bytes) -> Codestream | None:
    planes, first = struct.unpack_from("<2I", stream)
    return Codestream("rle", 0, 0, 1, 8 * planes) if 1 <= planes <= 4 and first == 64 else None

"""Read the wanted data elements from the first bytes of a file without building a data set.

This parser reads valid explicit and implicit little endian files (PS3.5 section 7), which are nearly all files. It
leaves all other files to pydicom: another encoding, a missing preamble, an unknown value representation, functional
groups, or an end before the pixel data.
"""

import struct
from dataclasses import dataclass
from io import FileIO

from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from kicc_ml.dicom.header.pixel_length import PIXEL_TAGS, UNDEFINED_LENGTH
from kicc_ml.dicom.header.values import GROUPS, TAG_OF, TooLargeError, convert_to_text

#: Bytes to read at first and at most: most headers are shorter than the first, those of some vendors than the second.
HEAD_BYTES = (16 * 2**10, 2**20)
#: Largest depth of nested sequences; real objects have about six levels.
MAX_DEPTH = 32

WANTED = {int(tag): (keyword, dictionary_VR(tag)) for keyword, tag in TAG_OF.items()}
EXPLICIT = set(AllTransferSyntaxes) - {ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
SHORT_VRS = set(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = set(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LEFT_TO_PYDICOM = {int(Tag(name)) for name in GROUPS}

_HEAD = struct.Struct("<HHI").unpack_from
_HEAD_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_LENGTH = struct.Struct("<I").unpack_from


class NeedsPydicomError(Exception):
    """The file has something that this parser leaves to pydicom."""


class NeedsMoreBytesError(NeedsPydicomError):
    """The bytes that were read end before the pixel data begins."""


@dataclass(frozen=True)
class FastHeader:
    """Values by keyword, transfer syntax, and length and offset of the pixel data (length 0 if there is none)."""

    values: dict[str, str]
    syntax: str
    pixel_length: int
    pixel_at: int


def read_tags(stream: FileIO) -> FastHeader | None:
    """Read the wanted elements of a file.

    Args:
        stream: the file, at its start.

    Returns:
        the header; None if pydicom should read the file.

    Raises:
        TooLargeError: sequences are nested deeper than :data:`MAX_DEPTH`.
    """
    head = b""
    for size in HEAD_BYTES:
        if (more := stream.read(size - len(head))) == b"" and head:
            return None
        head += more
        try:
            return parse_elements(head)
        except NeedsMoreBytesError:
            continue
        except NeedsPydicomError:
            return None
    return None


def parse_elements(head: bytes) -> FastHeader:
    """Parse the elements of ``head`` up to the pixel data.

    Args:
        head: the first bytes of a file.

    Raises:
        NeedsPydicomError: pydicom should read the file.
        TooLargeError: sequences are nested deeper than :data:`MAX_DEPTH`.
    """
    syntax, at = read_file_meta(head)
    implicit = syntax == ImplicitVRLittleEndian
    if head[at + 4 : at + 6] in (SHORT_VRS if implicit else ()) or not (implicit or syntax in EXPLICIT):
        raise NeedsPydicomError("the transfer syntax is not one of ours, or not the true one")
    raw: dict[int, tuple[bytes, bytes]] = {}
    while True:
        tag, vr, length, at = _read_element(head, at, implicit)
        if tag in PIXEL_TAGS:
            return FastHeader(_convert_to_texts(raw), syntax, length, at)
        if tag in LEFT_TO_PYDICOM or tag < 0x00080000 or tag >= ITEM:
            raise NeedsPydicomError("functional groups, or an element out of place")
        if length == UNDEFINED_LENGTH:
            at = _find_sequence_end(head, at, vr, implicit, 1)
            continue
        if tag in WANTED:
            raw[tag] = vr, head[at : at + length]
        at += length


def read_file_meta(head: bytes) -> tuple[str, int]:
    """Read the transfer syntax and the offset at which the data set begins."""
    if head[128:132] != b"DICM":
        raise NeedsPydicomError("no preamble")
    syntax, at = "", 132
    while head[at : at + 2] == b"\x02\0":
        tag, _, length, at = _read_element(head, at, implicit=False)
        if tag == 0x00020010:
            syntax = head[at : at + length].decode("ascii", "replace").rstrip("\0 ")
        at += length
    return syntax, at


def _read_element(head: bytes, at: int, implicit: bool) -> tuple[int, bytes, int, int]:
    """Read (tag, value representation, length, offset of the value) of the element at offset ``at``."""
    try:
        if implicit:
            group, element, length = _HEAD(head, at)
            return group << 16 | element, b"", length, at + 8
        group, element, vr, length = _HEAD_EXPLICIT(head, at)
        if vr in SHORT_VRS:
            return group << 16 | element, vr, length, at + 8
        if vr in LONG_VRS:
            return group << 16 | element, vr, _LENGTH(head, at + 8)[0], at + 12
    except struct.error as error:
        raise NeedsMoreBytesError("more bytes are needed") from error
    raise NeedsPydicomError("unknown value representation, or an item outside a sequence")


def _find_sequence_end(head: bytes, at: int, vr: bytes, implicit: bool, depth: int) -> int:
    """Find the end of a sequence of undefined length whose first item is at offset ``at``."""
    if depth > MAX_DEPTH:
        raise TooLargeError(f"sequences nest deeper than {MAX_DEPTH}")
    if vr not in (b"SQ", b""):
        raise NeedsPydicomError("undefined length of something else than a sequence")
    while True:
        item, length = _read_item(head, at)
        at += 8
        if item == SEQUENCE_END:
            return at
        if item != ITEM:
            raise NeedsPydicomError("no item where one should be")
        at = _find_item_end(head, at, implicit, depth) if length == UNDEFINED_LENGTH else at + length


def _find_item_end(head: bytes, at: int, implicit: bool, depth: int) -> int:
    while True:
        if _read_item(head, at)[0] == ITEM_END:
            return at + 8
        _, vr, length, at = _read_element(head, at, implicit)
        at = _find_sequence_end(head, at, vr, implicit, depth + 1) if length == UNDEFINED_LENGTH else at + length


def _read_item(head: bytes, at: int) -> tuple[int, int]:
    tag, _, length, _ = _read_element(head, at, implicit=True)
    return tag, length


def _convert_to_texts(raw: dict[int, tuple[bytes, bytes]]) -> dict[str, str]:
    charset = convert_to_text(raw[0x00080005][1], "CS", "<", "") if 0x00080005 in raw else ""
    found = {}
    for tag, (vr, value) in raw.items():
        keyword, usual_vr = WANTED[tag]
        found[keyword] = convert_to_text(value, usual_vr if vr in (b"", b"UN") else vr.decode(), "<", charset)
    return found

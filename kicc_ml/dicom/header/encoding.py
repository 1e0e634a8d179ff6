"""Whether a file is encoded as its transfer syntax says (PS3.5 section 10); not all are.

Explicit and implicit value representations are told apart by the readers themselves, whatever is stated.
"""

import io
import zlib
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from kicc_ml.dicom.header.fast_parser import HEAD_BYTES, NeedsPydicomError, read_file_meta
from kicc_ml.dicom.header.pixel_length import UNDEFINED_LENGTH, is_compressed

#: Without a stated transfer syntax a file is what its bytes look like to the parser: never compressed.
UNCOMPRESSED = {"", ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
#: The first group of nearly every data set, in either order of bytes.
GROUP_8_LITTLE, GROUP_8_BIG = b"\x08\x00", b"\x00\x08"
ITEM_TAG = b"\xfe\xff\x00\xe0"


def has_wrong_pixel_encoding(syntax: str, length: int, stream: BinaryIO | io.FileIO) -> bool:
    """Whether pixel data at ``stream`` is compressed where the syntax says it is not, or the reverse.

    Compressed pixel data has no stated length and begins with an item (PS3.5 A.4); other has a length.
    """
    if syntax == DeflatedExplicitVRLittleEndian:
        return False  # seen only once inflated
    if length == UNDEFINED_LENGTH:
        return syntax in UNCOMPRESSED
    if not length or not is_compressed(syntax):
        return False
    here = stream.tell()
    start = stream.read(len(ITEM_TAG))
    stream.seek(here)
    return start != ITEM_TAG


def has_wrong_encoding(path: Path) -> bool:
    """Whether the data set of a file that could not be read has another order of bytes, or is not deflated, or is."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES[0])
        syntax, at = read_file_meta(head)
    except (OSError, NeedsPydicomError):
        return False
    start = head[at : at + 2]
    if syntax == DeflatedExplicitVRLittleEndian:
        return start in (GROUP_8_LITTLE, GROUP_8_BIG)
    if start == (GROUP_8_LITTLE if syntax == ExplicitVRBigEndian else GROUP_8_BIG):
        return True
    return start not in (GROUP_8_LITTLE, GROUP_8_BIG) and _is_deflated(head[at:])


def _is_deflated(start: bytes) -> bool:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, 2) == GROUP_8_LITTLE
    except zlib.error:
        return False

"""Check whether a file is encoded as its transfer syntax states (PS3.5 section 10); some files are not.

Explicit and implicit value representations need no check here: the readers detect them from the bytes.
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

#: Transfer syntaxes without compression. A file that states none is read as its bytes look, and never as compressed.
UNCOMPRESSED = {"", ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
#: First group of nearly every data set, in little and in big endian byte order.
GROUP_8_LITTLE, GROUP_8_BIG = b"\x08\x00", b"\x00\x08"
ITEM_TAG = b"\xfe\xff\x00\xe0"


def has_wrong_pixel_encoding(syntax: str, length: int, stream: BinaryIO | io.FileIO) -> bool:
    """Whether the pixel data is compressed although the syntax says it is not, or the reverse.

    Compressed pixel data has no stated length and begins with an item (PS3.5 A.4); other pixel data has a length.

    Args:
        syntax: UID of the transfer syntax.
        length: stated length of the pixel data.
        stream: the file, at the value of the pixel data; its position is not changed.
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
    """Whether an unreadable file has another byte order, or is deflated or not, against its transfer syntax."""
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

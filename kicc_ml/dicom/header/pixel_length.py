"""Check from lengths alone whether a file holds all the pixel data that its header announces."""

import io
import struct
from collections.abc import Mapping
from typing import BinaryIO

from pydicom.config import IGNORE
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from kicc_ml.dicom.header.values import TooLargeError, compute_pixel_bytes

PIXEL_TAGS = {int(Tag(name)) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")}
PIXEL_VRS = {b"OB", b"OW", b"OF", b"OD", b"UN"}
#: Maximum number of fragments: ten for each frame of the largest accepted object. Walking them takes a second.
MAX_FRAGMENTS = 100_000
UNDEFINED_LENGTH = 0xFFFFFFFF


def read_dataset_pixel_length(dataset: FileDataset, stream: BinaryIO) -> int:
    """Read the length of the pixel data element of a data set that pydicom parsed; see :func:`read_pixel_length`."""
    _, little = dataset.original_encoding
    return read_pixel_length(stream, "<" if little or little is None else ">")


def read_pixel_length(stream: BinaryIO, order: str) -> int:
    """Read the length of the pixel data element at ``stream``, and move the stream to its value.

    Whether the element states its value representation is detected from its bytes, because the transfer syntax is not
    always true. The letters of a value representation, read as a length, would be an odd number, which no length is
    (PS3.5 7.1.1).

    Args:
        stream: the file, at the element.
        order: the byte order as in :mod:`struct`.

    Returns:
        the length in bytes; 0 if no pixel data element follows.
    """
    head = stream.read(8)
    if len(head) < 8 or Tag(*struct.unpack(f"{order}HH", head[:4])) not in PIXEL_TAGS:
        return 0
    if head[4:6] in PIXEL_VRS:
        return int(struct.unpack(f"{order}I", stream.read(4).ljust(4, b"\0"))[0])
    return int(struct.unpack(f"{order}I", head[4:])[0])


def is_truncated(values: Dataset | Mapping[str, str], syntax: str, length: int, stream: BinaryIO | io.FileIO) -> bool:
    """Whether the file holds less pixel data than its header states. Moves the stream.

    Args:
        values: the header.
        syntax: UID of the transfer syntax.
        length: stated length of the pixel data element.
        stream: the file, at the value of the pixel data.

    Raises:
        TooLargeError: there are more than :data:`MAX_FRAGMENTS` fragments.
    """
    if syntax == DeflatedExplicitVRLittleEndian:
        return False  # its length is known only once inflated; decoding will tell
    here = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    if length != UNDEFINED_LENGTH:
        compressed = bool(syntax) and is_compressed(syntax)
        return length < (1 if compressed else compute_pixel_bytes(values)) or here + length > end
    stream.seek(here)
    return _are_fragments_truncated(stream, end)


def is_compressed(syntax: str) -> bool:
    """Whether a transfer syntax encapsulates (compresses) pixel data; False for an unknown UID."""
    uid = UID(syntax, IGNORE)
    return uid.is_transfer_syntax and not uid.is_private and uid.is_compressed


def _are_fragments_truncated(stream: BinaryIO | io.FileIO, end: int) -> bool:
    """Whether encapsulated pixel data ends before its delimiter; walks its items (PS3.5 A.4)."""
    for _ in range(MAX_FRAGMENTS):
        if len(head := stream.read(8)) < 8:
            return len(head) > 0 or stream.tell() > end
        tag, length = struct.unpack("<II", head)
        if tag == 0xE0DDFFFE:
            return False
        if tag != 0xE000FFFE or stream.tell() + length > end:
            return True
        stream.seek(length, io.SEEK_CUR)
    raise TooLargeError(f"more than {MAX_FRAGMENTS} fragments of pixel data")

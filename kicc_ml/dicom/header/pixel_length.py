"""Whether the pixel data that a header announces is all there, from lengths alone."""

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
#: Ten for each frame of the largest object taken; walking them takes a second.
MAX_FRAGMENTS = 100_000
UNDEFINED_LENGTH = 0xFFFFFFFF


def read_dataset_pixel_length(dataset: FileDataset, stream: BinaryIO) -> int:
    """Length of the element at ``stream``, which moves to its value; 0 where no pixel data follows."""
    _, little = dataset.original_encoding
    return read_pixel_length(stream, "<" if little or little is None else ">")


def read_pixel_length(stream: BinaryIO, order: str) -> int:
    """As :func:`read_dataset_pixel_length`. The element shows whether it states its value representation.

    What the transfer syntax says of that is not always true; read as a length, the letters would be an odd number,
    which no length is (PS3.5 7.1.1).
    """
    head = stream.read(8)
    if len(head) < 8 or Tag(*struct.unpack(f"{order}HH", head[:4])) not in PIXEL_TAGS:
        return 0
    if head[4:6] in PIXEL_VRS:
        return int(struct.unpack(f"{order}I", stream.read(4).ljust(4, b"\0"))[0])
    return int(struct.unpack(f"{order}I", head[4:])[0])


def is_truncated(values: Dataset | Mapping[str, str], syntax: str, length: int, stream: BinaryIO | io.FileIO) -> bool:
    """Whether pixel data of the stated ``length``, whose value begins at ``stream``, is short. Moves the stream."""
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
    """Whether pixel data is encapsulated; a UID that is no transfer syntax known is not taken to be."""
    uid = UID(syntax, IGNORE)
    return uid.is_transfer_syntax and not uid.is_private and uid.is_compressed


def _are_fragments_truncated(stream: BinaryIO | io.FileIO, end: int) -> bool:
    """Walk the items of encapsulated pixel data (PS3.5 A.4) up to the delimiter."""
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

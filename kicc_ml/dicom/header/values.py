"""Read values of DICOM data elements as plain text and numbers, for both parsers."""

import logging
import math
import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO, cast

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from kicc_ml.dicom.header.charsets import decode_text

# The warnings of pydicom quote values, including names and identifiers, and a log is an output.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

KEYWORDS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("PatientID", "Modality", "Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "SliceThickness"),
    *("StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime"),
    *("AcquisitionDateTime", "ContentDate", "ContentTime", "SeriesDescription", "ProtocolName", "ViewPosition"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing", "NumberOfFrames"),
    *("AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "NominalPercentageOfCardiacPhase"),
    *("ContrastBolusAgent", "KVP", "Exposure", "ExposureInuAs", "ExposureInmAs", "ExposureTime"),
    *("XRayTubeCurrent", "CTDIvol", "GantryDetectorTilt", "RescaleType", "LossyImageCompression", "BurnedInAnnotation"),
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    "PresentationLUTShape",
)
#: Read only in order to remove it from what is shown.
IDENTIFYING = ("PatientName",)
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
#: Maximum size of a header; functional groups of a thousand frames take about 2 MiB.
MAX_HEADER_BYTES = 16 * 2**20
#: Bytes that each read counts in addition, because time depends on the number of elements: the limit allows half a
#: million elements, or 3,000 frames whose groups have no stated length.
READ_COST_BYTES = 32
#: Maximum size of an inflated file; a thousand slices of 512 x 512 take 0.5 GiB.
MAX_INFLATED_BYTES = 2**30
#: Maximum ratio of inflated to deflated size: images deflate to a half or a fifth, images of air only to a fiftieth.
#: Files that stay below :data:`SMALL_BYTES` are accepted with any ratio.
MAX_INFLATION = 100
SMALL_BYTES = 2**24

TAG_OF = {keyword: Tag(keyword) for keyword in (*KEYWORDS, *IDENTIFYING)}
_BINARY = {"US": "H", "US or SS": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}


class TooLargeError(Exception):
    """A file that states, or inflates to, more than any image of a chest has."""


class BoundedStream:
    """A stream from which at most :data:`MAX_HEADER_BYTES` can be read in total; skipped bytes do not count."""

    def __init__(self, stream: BinaryIO, *, inflates: bool = True):
        self.stream, self.inflates = stream, inflates
        self.seek, self.tell = stream.seek, stream.tell
        self.left = MAX_HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes, or all that is left.

        Raises:
            TooLargeError: more than the limit was read, or it inflates too much.
        """
        if size < 0:  # pydicom reads to the end only what it then inflates
            if not self.inflates:
                raise TooLargeError("the file is deflated")
            return _check_inflation(self.stream.read(MAX_INFLATED_BYTES))
        self.left -= size + READ_COST_BYTES
        if self.left < 0:
            raise TooLargeError(f"the header has more than {MAX_HEADER_BYTES} bytes")
        return self.stream.read(size)


def _check_inflation(deflated: bytes) -> bytes:
    inflation, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, deflated
    allowed = min(max(SMALL_BYTES, MAX_INFLATION * len(deflated)), MAX_INFLATED_BYTES)
    while rest and not inflation.eof:
        size += len(inflation.decompress(rest, 2**20))
        rest = inflation.unconsumed_tail
        if size > allowed:
            raise TooLargeError(f"the file inflates to more than {allowed} bytes")
    return deflated


def open_dataset(stream: BinaryIO) -> FileDataset:
    """Parse :data:`KEYWORDS` and functional groups with pydicom, and leave ``stream`` at the pixel data.

    A file without preamble is read as DICOM only if it begins with a data element of group 2 or 8.

    Raises:
        InvalidDicomError: the file is not DICOM.
        TooLargeError: the header is larger than :data:`MAX_HEADER_BYTES`, or inflates too much.
    """
    start = stream.read(132)
    stream.seek(0)
    bare = start[:4] in (b"\x02\x00\x00\x00", b"\x02\x00\x01\x00") or start[:2] == b"\x08\x00"
    if start[128:132] != b"DICM" and not bare:
        raise InvalidDicomError("neither a DICOM preamble nor a data element at the start")
    bounded = cast(BinaryIO, BoundedStream(stream))
    return pydicom.dcmread(bounded, stop_before_pixels=True, force=bare, specific_tags=[*TAG_OF, *GROUPS])


def read_transfer_syntax(dataset: Dataset) -> str:
    """Read the UID of the transfer syntax; "" if the file states none."""
    meta = getattr(dataset, "file_meta", None)
    return read_element_text(meta, "TransferSyntaxUID", "") if meta is not None and "TransferSyntaxUID" in meta else ""


def read_texts(dataset: Dataset) -> dict[str, str]:
    """Read all present values of :data:`TAG_OF` as text, by keyword."""
    charset = read_element_text(dataset, "SpecificCharacterSet", "")
    return {keyword: read_element_text(dataset, keyword, charset) for keyword in TAG_OF if TAG_OF[keyword] in dataset}


def read_element_text(dataset: Dataset, keyword: str, charset: str) -> str:
    """Read the value of an element as text, without pydicom's conversion, which raises on invalid values."""
    element = dataset.get_item(TAG_OF.get(keyword) or Tag(keyword))
    if not isinstance(element, RawDataElement):
        return read_text(dataset, keyword)
    vr = element.VR if element.VR and element.VR != "UN" else dictionary_VR(element.tag)
    return convert_to_text(element.value or b"", vr, "<" if element.is_little_endian else ">", charset)


def convert_to_text(raw: bytes, vr: str, order: str, charset: str) -> str:
    """Convert the bytes of a value to stripped text; several values are joined by a backslash, as DICOM does.

    Args:
        raw: the bytes.
        vr: the value representation.
        order: the byte order as in :mod:`struct`.
        charset: the values of Specific Character Set, joined by a backslash.

    Returns:
        the text; "" if the bytes of a binary number are incomplete.
    """
    if code := _BINARY.get(vr):
        count, rest = divmod(len(raw), struct.calcsize(code))
        return "" if rest else "\\".join(map(str, struct.unpack(f"{order}{count}{code}", raw)))
    value = decode_text(raw, charset)
    if "\\" in value:
        value = "\\".join(part.strip(" \0") for part in value.split("\\"))
    return value.strip("\0 ")


def read_text(source: Dataset | Mapping[str, str], name: str) -> str:
    """Read a value as stripped text, several values joined by a backslash; "" if it is absent."""
    value = source.get(name)
    if value is None:
        return ""
    parts = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return "\\".join(str(part).strip() for part in parts).strip("\x00 ")


def read_numbers(source: Dataset | Mapping[str, str], name: str, count: int) -> tuple[float, ...] | None:
    """Read ``count`` finite numbers; None if the value is absent, has another count, or is not numeric."""
    value = source.get(name)
    try:
        found = tuple(map(float, (value if isinstance(value, str) else read_text(source, name)).split("\\")))
    except ValueError:
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def read_number(source: Dataset | Mapping[str, str], name: str) -> float | None:
    """Return the first number of an element; None where it is missing or no number."""
    found = read_numbers(source, name, 1)
    return found[0] if found else None


def read_integer(source: Dataset | Mapping[str, str], name: str) -> int | None:
    """Read an integer; None if the value is absent or needs more than 64 bits."""
    found = read_number(source, name)
    return None if found is None or abs(found) >= 2**63 else int(found)


def read_pixel_spacing_mm(source: Dataset | Mapping[str, str]) -> tuple[float, ...] | None:
    """Read the pixel spacing (between rows, between columns), else that at the detector; None unless positive."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        found = read_numbers(source, name, 2)
        if found and min(found) > 0:
            return found
    return None


def compute_pixel_bytes(source: Dataset | Mapping[str, str]) -> int:
    """Compute the length in bytes of the uncompressed pixel data that the header describes (PS3.5 section 8)."""
    rows, columns, bits = (read_integer(source, name) or 0 for name in ("Rows", "Columns", "BitsAllocated"))
    samples, frames = (read_integer(source, name) or 1 for name in ("SamplesPerPixel", "NumberOfFrames"))
    return rows * columns * bits * samples * frames // 8

"""One DICOM file's header, read without its pixels. Nothing that identifies a person leaves this module."""

import io
import struct
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from kicc_ml.dicom.dates import acquired_at
from kicc_ml.dicom.views import view_position
from kicc_ml.pseudonym import pseudonym

#: What a file is when Modality was stripped: SOP classes of PS3.4 B.5.
MODALITY_OF_CLASS = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
}

TAGS = (
    *("ImageType", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *(
        "PatientID",
        "Modality",
        "Manufacturer",
        "ManufacturerModelName",
        "ConvolutionKernel",
        "SliceThickness",
    ),
    *("StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime"),
    *(
        "AcquisitionDateTime",
        "ContentDate",
        "ContentTime",
        "SeriesDescription",
        "ProtocolName",
        "ViewPosition",
    ),
    *(
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "ImagerPixelSpacing",
        "NumberOfFrames",
    ),
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored"),
    *(
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleSlope",
        "RescaleIntercept",
    ),
)
PIXEL_TAGS = (Tag("PixelData"), Tag("FloatPixelData"), Tag("DoubleFloatPixelData"))
UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True)
class Header:
    """What the index needs of one file, in plain values. ``fault`` is a reason code, "" for a readable image.

    ``patient``, ``study``, ``series`` and ``sop`` are pseudonyms; numbers that are missing are None.
    """

    path: str
    site: str
    fault: str = ""
    patient: str = ""
    study: str = ""
    series: str = ""
    sop: str = ""
    modality: str = ""
    sop_class: str = ""
    image_type: str = ""
    photometric: str = ""
    view: str = ""
    vendor: str = ""
    model: str = ""
    kernel: str = ""
    frames: int = 1
    rows: int = 0
    columns: int = 0
    has_rescale: bool = False
    position_mm: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    pixel_spacing_mm: tuple[float, ...] | None = None
    slice_thickness_mm: float | None = None
    acquired: datetime | None = None
    frame: int | None = None  # of a multi-frame object, from 0; such an object gives one Header per frame
    acquisition: int | None = None
    phase: float | None = None  # temporal position, or per cent of the heart cycle
    contrast: str = ""
    kvp: float | None = None
    exposure_mas: float | None = None
    ctdi_vol_mgy: float | None = None
    tilt_tag_degrees: float | None = None
    rescale_type: str = ""
    transfer_syntax: str = ""
    lossy: bool = False
    burned_in: bool = False  # Burned In Annotation says YES
    study_started: datetime | None = None


def read_header(root: Path, path: str, site: str, key: bytes) -> Header:
    """Read the header of ``root/path``. Never raises for what a file holds: the fault is in the answer."""
    try:
        with (root / path).open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wrong character sets and value representations are expected here
            dataset = open_dataset(stream)
            return _header(dataset, stream, path, site, key)
    except InvalidDicomError:
        return Header(path, site, fault="not_dicom")
    except Exception:  # a hostile file can raise anything inside the parser; one file must not end the run
        return Header(path, site, fault="unreadable")


def open_dataset(stream: BinaryIO) -> FileDataset:
    """Parse :data:`TAGS`, leaving ``stream`` at the pixel data. Raises InvalidDicomError for other files.

    A file without preamble is taken for DICOM only where it begins with a data element of group 2 or 8.
    """
    start = stream.read(132)
    stream.seek(0)
    bare = start[:4] in (b"\x02\x00\x00\x00", b"\x02\x00\x01\x00") or start[:2] == b"\x08\x00"
    if start[128:132] != b"DICM" and not bare:
        raise InvalidDicomError("neither a DICOM preamble nor a data element at the start")
    return pydicom.dcmread(stream, stop_before_pixels=True, force=bare, specific_tags=list(TAGS))


def _header(dataset: FileDataset, stream: BinaryIO, path: str, site: str, key: bytes) -> Header:
    if not (number(dataset, "Rows") and number(dataset, "Columns") and dataset.get("SOPClassUID")):
        return Header(path, site, fault="not_an_image")
    sop_class = text(dataset, "SOPClassUID")
    return Header(
        path=path,
        site=site,
        fault="truncated" if is_truncated(dataset, stream) else "",
        **_pseudonyms(dataset, path, site, key),
        modality=text(dataset, "Modality") or MODALITY_OF_CLASS.get(sop_class, ""),
        sop_class=sop_class,
        image_type=text(dataset, "ImageType").upper(),
        photometric=text(dataset, "PhotometricInterpretation"),
        view=view_position(*(text(dataset, name) for name in ("ViewPosition", "SeriesDescription", "ProtocolName"))),
        vendor=text(dataset, "Manufacturer"),
        model=text(dataset, "ManufacturerModelName"),
        kernel=text(dataset, "ConvolutionKernel"),
        frames=int(number(dataset, "NumberOfFrames") or 1),
        rows=int(number(dataset, "Rows") or 0),
        columns=int(number(dataset, "Columns") or 0),
        has_rescale=bool(number(dataset, "RescaleSlope")) and number(dataset, "RescaleIntercept") is not None,
        position_mm=numbers(dataset, "ImagePositionPatient", 3),
        orientation=numbers(dataset, "ImageOrientationPatient", 6),
        pixel_spacing_mm=pixel_spacing_mm(dataset),
        slice_thickness_mm=number(dataset, "SliceThickness"),
        acquired=acquired_at(lambda name: text(dataset, name)),
    )


def _pseudonyms(dataset: Dataset, path: str, site: str, key: bytes) -> dict[str, str]:
    """Identifiers under the repository's key. Patients without an id are told apart by their study."""
    study, series, sop = (text(dataset, f"{name}InstanceUID") or path for name in ("Study", "Series", "SOP"))
    patient_id = text(dataset, "PatientID")
    return {
        "patient": pseudonym(key, site, patient_id) if patient_id else pseudonym(key, site, "", study),
        "study": pseudonym(key, study),
        "series": pseudonym(key, series),
        "sop": pseudonym(key, sop),
    }


def text(dataset: Dataset, name: str) -> str:
    """The value as text, stripped; several values joined by a backslash as DICOM does; "" where absent."""
    value = dataset.get(name)
    if value is None:
        return ""
    parts = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return "\\".join(str(part).strip() for part in parts).strip("\x00 ")


def numbers(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers, or None where the value is absent, of another count, or no number."""
    try:
        found = tuple(float(part) for part in text(dataset, name).split("\\"))
    except ValueError:
        return None
    return found if len(found) == count and all(abs(part) < float("inf") for part in found) else None


def number(dataset: Dataset, name: str) -> float | None:
    found = numbers(dataset, name, 1)
    return found[0] if found else None


def pixel_spacing_mm(dataset: Dataset) -> tuple[float, ...] | None:
    """(between rows, between columns), at the detector where not given otherwise; None unless positive."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        found = numbers(dataset, name, 2)
        if found and min(found) > 0:
            return found
    return None


def is_truncated(dataset: FileDataset, stream: BinaryIO) -> bool:
    """Whether the pixel data that the element at ``stream`` announces is not all there. Moves the stream."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if "file_meta" in dataset.__dict__ else None
    if syntax is not None and syntax.is_deflated:
        return False  # its length is known only once inflated; decoding will tell
    length = element_length(dataset, stream)
    here = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    if length != UNDEFINED_LENGTH:
        return length < expected_bytes(dataset) * (syntax is None or not syntax.is_compressed) or here + length > end
    stream.seek(here)
    return _fragments_end_early(stream, end)


def element_length(dataset: FileDataset, stream: BinaryIO) -> int:
    """Length of the element at ``stream``, which moves to its value; 0 where no pixel data follows."""
    implicit, little = dataset.original_encoding
    order = "<" if little or little is None else ">"
    head = stream.read(8)
    if len(head) < 8 or Tag(*struct.unpack(f"{order}HH", head[:4])) not in PIXEL_TAGS:
        return 0
    if implicit:
        return int(struct.unpack(f"{order}I", head[4:])[0])
    return int(struct.unpack(f"{order}I", stream.read(4).ljust(4, b"\0"))[0])


def expected_bytes(dataset: Dataset) -> int:
    """Length of the uncompressed pixel data that the header describes (PS3.5 section 8)."""
    factors = [number(dataset, name) for name in ("Rows", "Columns", "BitsAllocated")]
    rows, columns, bits = (int(factor or 0) for factor in factors)
    samples, frames = (int(number(dataset, name) or 1) for name in ("SamplesPerPixel", "NumberOfFrames"))
    return rows * columns * bits * samples * frames // 8


def _fragments_end_early(stream: BinaryIO, end: int) -> bool:
    """Walk the items of encapsulated pixel data (PS3.5 A.4) up to the delimiter."""
    while len(head := stream.read(8)) == 8:
        tag, length = struct.unpack("<II", head)
        if tag == 0xE0DDFFFE:
            return False
        if tag != 0xE000FFFE or stream.tell() + length > end:
            return True
        stream.seek(length, io.SEEK_CUR)
    return len(head) > 0 or stream.tell() > end

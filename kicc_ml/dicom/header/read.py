"""Read the header of one DICOM file without its pixels. Nothing that identifies a person leaves this module."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.dicom.header.dates import find_acquisition_time, parse_date_time
from kicc_ml.dicom.header.encoding import has_wrong_encoding, has_wrong_pixel_encoding
from kicc_ml.dicom.header.multiframe import list_frame_values
from kicc_ml.dicom.header.parse import ParsedHeader, parse_header, refuse_oversized
from kicc_ml.dicom.header.pixel_length import is_truncated
from kicc_ml.dicom.header.shown_path import make_identity_marks, pseudonymize_path, pseudonymize_text
from kicc_ml.dicom.header.terms import LOSSY_SYNTAXES, LOSSY_UNLESS_DENIED, MODALITY_OF_CLASS, SECONDARY_CAPTURE
from kicc_ml.dicom.header.values import (
    TooLargeError,
    read_integer,
    read_number,
    read_numbers,
    read_pixel_spacing_mm,
    read_texts,
)
from kicc_ml.dicom.header.views import find_view_position

#: Keywords that distinguish the phases of one acquisition: an index in time, or per cent of the heart cycle.
PHASE_KEYWORDS = ("TemporalPositionIdentifier", "TemporalPositionIndex", "NominalPercentageOfCardiacPhase")

#: Suffixes of documents that are often sent along, and of archives that are not opened.
OFFICE_SUFFIXES = (".xlsx", ".xlsm", ".xls", ".docx", ".doc", ".pptx", ".ods", ".odt", ".hwp", ".hwpx")
ARCHIVE_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".alz", ".egg", ".iso")


@dataclass(frozen=True, slots=True)
class Header:
    """The values of one file that the index needs. ``fault`` is a reason code, "" for a readable image.

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
    lut_shape: str = ""
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
    text_unstated: bool = False  # a secondary capture, whose Burned In Annotation says neither YES nor NO
    study_started: datetime | None = None
    shown: str = ""  # the path with pseudonyms for the patient's values in it; "" if the path has none
    marks: str = ""  # pseudonyms of the patient's number and name, for paths of other files


def read_headers(root: Path, path: str, site: str, key: bytes, name: str = "") -> list[Header]:
    """Read the header of ``root/path``. Never raises for the content of a file: the fault is part of the result.

    Args:
        root: the source.
        path: path of the file below ``root``.
        site: the hospital.
        key: the repository's key, for pseudonyms.
        name: the name of the file to show, if that is not its path.

    Returns:
        one header, or one per frame of a multi-frame object that states the positions of its frames and has no fault.
    """
    blank = Header(path, site, shown=name)
    headers = _read(root, path, blank, key)
    if headers[0].fault in ("not_an_image", "unreadable") and has_wrong_encoding(root / path):
        return [replace(blank, fault="encoded_otherwise")]
    return headers


def _read(root: Path, path: str, blank: Header, key: bytes) -> list[Header]:
    try:
        with (root / path).open("rb", buffering=0) as stream:
            return _make_headers(parse_header(stream), stream, blank, key)
    except InvalidDicomError:
        return [replace(blank, fault=_classify_other_file(root / path, (blank.shown or path).lower()))]
    except (TooLargeError, RecursionError, MemoryError):
        return [replace(blank, fault="too_large")]
    except Exception:  # a hostile file can raise anything inside the parser; one file must not end the run
        return [replace(blank, fault="unreadable")]


def _classify_other_file(path: Path, name: str) -> str:
    """Classify a file that is not DICOM by its name and first bytes, so that the user knows what to do about it."""
    if name.endswith(OFFICE_SUFFIXES):
        return "office_file"
    if name.endswith(".zip"):
        return "damaged_zip"
    try:
        with path.open("rb") as stream:
            is_archive = stream.read(4) == b"PK\3\4" or name.endswith(ARCHIVE_SUFFIXES)
    except OSError:
        return "unreadable"
    return "archive" if is_archive else "not_dicom"


def make_headers_of_dataset(dataset: Dataset, path: str, site: str, key: bytes) -> list[Header]:
    """Make the headers of a data set without pixel data (DICOMweb metadata), like :func:`read_headers`.

    Raises:
        TooLargeError: the data set states more than any chest image has.
        Exception: pydicom raises various errors on invalid values.
    """
    values = read_texts(dataset)
    return _make_headers(ParsedHeader(values, list_frame_values(dataset, values), "", 0), None, Header(path, site), key)


def _make_headers(parsed: ParsedHeader, stream: FileIO | None, blank: Header, key: bytes) -> list[Header]:
    values = parsed.values
    if not (read_number(values, "Rows") and read_number(values, "Columns") and values.get("SOPClassUID")):
        return [replace(blank, fault="not_an_image", **_make_path_fields(values, blank, key))]
    refuse_oversized(values)
    fault = _find_pixel_fault(parsed, stream)
    object_values = _make_object_fields(values, blank, key) | _make_coding_fields(values, parsed.syntax)
    frames = [] if fault else parsed.frames
    if not frames:
        return [Header(blank.path, blank.site, fault, **object_values, **_make_frame_fields(values, key))]
    object_values["frames"] = len(frames)
    return [
        Header(blank.path, blank.site, **object_values, **_make_frame_fields(one, key), frame=index)
        for index, one in enumerate(frames)
    ]


def _find_pixel_fault(parsed: ParsedHeader, stream: FileIO | None) -> str:
    """Find a fault of the pixel data from its length; "" if there is none, or no stream."""
    if stream is None:
        return ""
    if has_wrong_pixel_encoding(parsed.syntax, parsed.pixel_length, stream):
        return "wrong_syntax"
    return "truncated" if is_truncated(parsed.values, parsed.syntax, parsed.pixel_length, stream) else ""


def _make_object_fields(values: Mapping[str, str], blank: Header, key: bytes) -> dict[str, Any]:
    """Make the fields that are the same for all frames of a file."""
    sop_class = values["SOPClassUID"]
    view = (values.get(name, "") for name in ("ViewPosition", "SeriesDescription", "ProtocolName"))
    return _make_pseudonym_fields(values, blank, key) | {
        "modality": values.get("Modality") or MODALITY_OF_CLASS.get(sop_class, ""),
        "sop_class": sop_class,
        "photometric": values.get("PhotometricInterpretation", ""),
        "lut_shape": values.get("PresentationLUTShape", "").upper(),
        "view": find_view_position(*view),
        "vendor": pseudonymize_text(values.get("Manufacturer", ""), values, key),
        "model": pseudonymize_text(values.get("ManufacturerModelName", ""), values, key),
        "frames": read_integer(values, "NumberOfFrames") or 1,
        "rows": read_integer(values, "Rows") or 0,
        "columns": read_integer(values, "Columns") or 0,
        "contrast": pseudonymize_text(values.get("ContrastBolusAgent", ""), values, key),
        "burned_in": (text := values.get("BurnedInAnnotation", "").upper()) == "YES",
        "text_unstated": sop_class == SECONDARY_CAPTURE and text not in ("YES", "NO"),
        "study_started": parse_date_time(values.get("StudyDate", ""), values.get("StudyTime", "")),
        **_make_path_fields(values, blank, key),
    }


def _make_path_fields(values: Mapping[str, str], blank: Header, key: bytes) -> dict[str, Any]:
    shown = pseudonymize_path(blank.shown or blank.path, values, key) or blank.shown
    return {"shown": shown, "marks": make_identity_marks(values, key)}


def _make_frame_fields(values: Mapping[str, str], key: bytes) -> dict[str, Any]:
    """Make the fields that may differ between frames."""
    phases = (read_number(values, name) for name in PHASE_KEYWORDS)
    return {
        "image_type": values.get("ImageType", "").upper(),
        "kernel": pseudonymize_text(values.get("ConvolutionKernel", ""), values, key),
        "has_rescale": bool(read_number(values, "RescaleSlope"))
        and read_number(values, "RescaleIntercept") is not None,
        "rescale_type": values.get("RescaleType", "").upper(),
        "position_mm": read_numbers(values, "ImagePositionPatient", 3),
        "orientation": read_numbers(values, "ImageOrientationPatient", 6),
        "pixel_spacing_mm": read_pixel_spacing_mm(values),
        "slice_thickness_mm": read_number(values, "SliceThickness"),
        "acquired": find_acquisition_time(lambda name: values.get(name, "")),
        "acquisition": read_integer(values, "AcquisitionNumber"),
        "phase": next((value for value in phases if value is not None), None),
        "kvp": read_number(values, "KVP"),
        "exposure_mas": read_exposure_mas(values),
        "ctdi_vol_mgy": read_number(values, "CTDIvol"),
        "tilt_tag_degrees": read_number(values, "GantryDetectorTilt"),
    }


def read_exposure_mas(values: Mapping[str, str]) -> float | None:
    """Read the exposure (tube current times time) in mAs, as stated or from current and time; None if unknown."""
    for name, per_mas in (("Exposure", 1), ("ExposureInmAs", 1), ("ExposureInuAs", 1000)):
        if (stated := read_number(values, name)) is not None:
            return stated / per_mas
    current_ma, time_ms = read_number(values, "XRayTubeCurrent"), read_number(values, "ExposureTime")
    return None if current_ma is None or time_ms is None else current_ma * time_ms / 1000


def _make_coding_fields(values: Mapping[str, str], syntax: str) -> dict[str, Any]:
    stated = values.get("LossyImageCompression", "")
    lossy = stated == "01" or syntax in LOSSY_SYNTAXES or (syntax in LOSSY_UNLESS_DENIED and stated != "00")
    return {"transfer_syntax": syntax, "lossy": lossy}


def _make_pseudonym_fields(values: Mapping[str, str], blank: Header, key: bytes) -> dict[str, Any]:
    """Make the pseudonyms of patient, study, series and object. Patients without an id are distinguished by study."""
    study, series, sop = (values.get(f"{name}InstanceUID") or blank.path for name in ("Study", "Series", "SOP"))
    patient_id = values.get("PatientID", "")
    return {
        "patient": make_pseudonym(key, blank.site, patient_id)
        if patient_id
        else make_pseudonym(key, blank.site, "", study),
        "study": make_pseudonym(key, study),
        "series": make_pseudonym(key, series),
        "sop": make_pseudonym(key, sop),
    }

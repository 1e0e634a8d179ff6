"""Write de-identified copies of DICOM images: PS3.15 Annex E, element by element.

The copy is built from the elements that may stay, so that nothing is in it by oversight. Its pixel values are those of
the source, in the same transfer syntax (:mod:`kicc_ml.dicom.deidentify.pixel_data`). De-identification Method Code
Sequence states the basic profile and the options Retain Longitudinal Temporal Information with Modified Dates and
Retain Patient Characteristics. Manufacturer, model and kernel are not in the profile's table and stay; serial numbers
and station names are removed.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from kicc_ml.core.files import whole_file
from kicc_ml.dicom.deidentify.pixel_data import ForeignBitsError, copy_pixel_data, has_overlay_among_values
from kicc_ml.dicom.deidentify.profile import BYTES_OF_VALUE, PIXEL_DATA, choose_action, has_stated_length
from kicc_ml.dicom.deidentify.replacements import Replacements, compute_seconds_past_hour, make_uid
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.terms import GREY, MODALITY_OF_CLASS, RADIOGRAPHY, SECONDARY_CAPTURE
from kicc_ml.dicom.header.values import convert_to_text, read_element_text, read_transfer_syntax
from kicc_ml.dicom.header.views import find_view_position

#: Keywords of identifying values, which are searched in the other values of a file.
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
NUMBERS = (
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "AdmissionID", "StudyID", "PatientBirthDate"),
    "PatientTelephoneNumbers",
)
PERSONS = (
    *("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy"),
)
#: Bytes per entry of a lookup table (PS3.3 C.11.1.1), and its maximum length, which is stated as 0.
BYTES_PER_ENTRY, MAX_ENTRIES = 2, 65536
#: View Position of a radiograph that only its description calls lateral, since descriptions are removed.
LATERAL = "LL"
#: Implementation Class UID of what this module writes, a UUID made from the package's name.
IMPLEMENTATION = "2.25.186988088533028548131142716234928038080"
#: PS3.16 CID 7050.
METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}


class NotExportedError(Exception):
    """A picture that may show the patient's identity; ``code`` is from :mod:`kicc_ml.dicom.series.reasons`."""

    def __init__(self, code: str):
        super().__init__(code)
        self.code = code


def write_deidentified(
    source: Path, target: Path, key: bytes, patient: str, *, secondary_captures: bool = False
) -> None:
    """Write the de-identified copy of an image, completely or not at all.

    Args:
        source: the image.
        target: the copy.
        key: the repository's key.
        patient: pseudonym of the patient.
        secondary_captures: also copy secondary captures, as which some radiographs are stored. The caller must have
            looked at them.

    Raises:
        NotExportedError: a name may be visible in the picture.
        Exception: pydicom raises various errors on a damaged file.
    """
    with suppress_warnings():
        copy = deidentify_dataset(read_to_pixels(source), key, patient, str(source), secondary_captures)
        with whole_file(target) as partial:
            copy.save_as(partial, enforce_file_format=True)


def read_to_pixels(path: Path) -> Dataset:
    """Read a data set up to and including its pixel data; signatures and other data may follow."""
    with path.open("rb") as stream:
        return read_partial(stream, lambda tag, vr, length: tag > PIXEL_DATA, force=True)


def read_object_uid(path: Path) -> str:
    """Read the SOP Instance UID of a file; "" if it has none."""
    with suppress_warnings():
        header = dcmread(path, stop_before_pixels=True, force=True, specific_tags=["SOPInstanceUID"])
        return read_element_text(header, "SOPInstanceUID", "")


def deidentify_dataset(
    source: Dataset, key: bytes, patient: str, instance: str, secondary_captures: bool = False
) -> Dataset:
    """Make the de-identified copy of a data set, with file meta information.

    Args:
        source: the data set.
        key: the repository's key.
        patient: pseudonym of the patient.
        instance: text from which the SOP Instance UID is made if the source has none.
        secondary_captures: also copy secondary captures.

    Raises:
        NotExportedError: a name may be visible in the picture.
    """
    _refuse_pictures_with_text(source, secondary_captures)
    charset = read_element_text(source, "SpecificCharacterSet", "")
    copy = Dataset()
    replacements = Replacements(key, patient, _read_identifying_values(source, charset), _find_past_hour_s(source))
    copy.update({element.tag: element for element in _replace_elements(source, charset, replacements)})
    try:
        pixels = copy_pixel_data(source)
    except ForeignBitsError:
        raise NotExportedError("codestream_mismatch") from None
    if pixels is not None:
        copy.add(pixels)
    copy.PatientID = copy.PatientName = patient
    copy.SOPInstanceUID = copy.get("SOPInstanceUID") or make_uid(key, instance)
    if view := _find_described_view(source, charset):
        copy.ViewPosition = view
    _state_method(copy)
    _encode_as(source, copy)
    return copy


def _refuse_pictures_with_text(source: Dataset, secondary_captures: bool) -> None:
    allowed = {*MODALITY_OF_CLASS, *([SECONDARY_CAPTURE] if secondary_captures else [])}
    checks = {
        "secondary_capture": read_element_text(source, "SOPClassUID", "") not in allowed,
        "dose_page": read_element_text(source, "PhotometricInterpretation", "") not in GREY,
        "burned_in": read_element_text(source, "BurnedInAnnotation", "").upper() == "YES"
        or has_overlay_among_values(source),
    }
    for code, shown in checks.items():
        if shown:
            raise NotExportedError(code)


def _find_past_hour_s(source: Dataset) -> int | None:
    """Find at how many seconds past the hour the study, or else the series, began."""
    clocks = (read_element_text(source, keyword, "") for keyword in ("StudyTime", "SeriesTime"))
    return next((seconds for clock in clocks if (seconds := compute_seconds_past_hour(clock)) is not None), None)


def _read_identifying_values(source: Dataset, charset: str) -> dict[str, str]:
    values = {
        keyword: read_element_text(source, keyword, charset) for keyword in (*NUMBERS, *UIDS) if keyword in source
    }
    names = [read_element_text(source, keyword, charset) for keyword in PERSONS if keyword in source]
    return values | {"PatientName": "=".join(names)}


def _replace_elements(
    source: Dataset, charset: str, replacements: Replacements
) -> Iterator[DataElement | RawDataElement]:
    """Replace the elements of a data set, or of an item of a sequence, by those of the copy."""
    for tag in sorted(source.keys()):
        element = source.get_item(tag)
        if element is None:
            continue
        vr = _find_vr(tag, element)
        what = choose_action(tag, vr)
        if what == "keep":
            if _is_as_long_as_stated(element, tag, vr):
                yield element
        elif what == "empty":
            yield DataElement(tag, vr, [] if vr == "SQ" else None)
        elif what == "items":
            yield DataElement(tag, "SQ", _copy_items(source[tag].value, charset, replacements))
        elif what == "table":
            yield from _copy_lookup_table(source, element)
        elif what not in ("drop", "pixels"):  # pixel data is copied by pixel_data.py
            value = _read_element_value(element, vr, charset)
            keyword = keyword_for_tag(tag)
            replaced = "\\".join(replacements.replace(what, part, keyword) for part in value.split("\\"))
            yield element if replaced == value else DataElement(tag, vr, replaced, validation_mode=IGNORE)


def _copy_lookup_table(item: Dataset, element: DataElement | RawDataElement) -> Iterator[DataElement]:
    """Copy LUT Data up to its last entry, as counted by LUT Descriptor; nothing without that."""
    entries, content = read_element_text(item, "LUTDescriptor", "").partition("\\")[0], element.value
    if isinstance(content, bytes) and entries.isdecimal():
        yield DataElement(element.tag, "OW", content[: BYTES_PER_ENTRY * (int(entries) or MAX_ENTRIES)])


def _is_as_long_as_stated(element: DataElement | RawDataElement, tag: BaseTag, vr: str) -> bool:
    raw = isinstance(element, RawDataElement) and vr in BYTES_OF_VALUE
    return not raw or has_stated_length(tag, vr, len(element.value or b""))


def _copy_items(items: Iterable[Dataset], charset: str, replacements: Replacements) -> list[Dataset]:
    """Copy the items of a sequence, except coded terms: their meaning is free text in some hospitals."""
    if any("CodingSchemeDesignator" in item for item in items):
        return []
    return [_copy_item(item, charset, replacements) for item in items]


def _copy_item(item: Dataset, charset: str, replacements: Replacements) -> Dataset:
    copy = Dataset()
    copy.update({element.tag: element for element in _replace_elements(item, charset, replacements)})
    copy.set_original_encoding(*item.original_encoding)
    return copy


def _find_vr(tag: BaseTag, element: DataElement | RawDataElement) -> str:
    """Find the value representation that the file states, else that of the dictionary, else "UN"."""
    stated = element.VR or "UN"
    return dictionary_VR(tag) if stated == "UN" and dictionary_has_tag(tag) else stated


def _read_element_value(element: DataElement | RawDataElement, vr: str, charset: str) -> str:
    if isinstance(element, RawDataElement):
        return convert_to_text(element.value or b"", vr, "<" if element.is_little_endian else ">", charset)
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join("" if value is None else str(value) for value in values)


def _find_described_view(source: Dataset, charset: str) -> str:
    """Find View Position of a radiograph if only a description, which is removed, states it; else ""."""
    if read_element_text(source, "Modality", charset) not in RADIOGRAPHY:
        return ""
    names = ("ViewPosition", "SeriesDescription", "ProtocolName")
    view, *words = (read_element_text(source, name, charset) if name in source else "" for name in names)
    if find_view_position(view):
        return ""
    found = find_view_position(view, *words)
    return LATERAL if found == "lateral" else found


def _state_method(copy: Dataset) -> None:
    copy.PatientIdentityRemoved = "YES"
    copy.LongitudinalTemporalInformationModified = "MODIFIED"
    copy.DeidentificationMethod = "kicc_ml, DICOM PS3.15 2026c Annex E"
    copy.DeidentificationMethodCodeSequence = []
    for code, meaning in METHODS.items():
        method = Dataset()
        method.CodeValue, method.CodingSchemeDesignator, method.CodeMeaning = code, "DCM", meaning
        copy.DeidentificationMethodCodeSequence.append(method)


def _encode_as(source: Dataset, copy: Dataset) -> None:
    """Write new file meta information, which keeps only the transfer syntax of the source."""
    implicit, little_endian = source.original_encoding
    plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
    copy.file_meta = FileMetaDataset()
    copy.file_meta.ImplementationClassUID, copy.file_meta.ImplementationVersionName = UID(IMPLEMENTATION), "KICC_ML"
    copy.file_meta.TransferSyntaxUID = UID(read_transfer_syntax(source) or plain)
    copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    copy.set_original_encoding(implicit, little_endian)

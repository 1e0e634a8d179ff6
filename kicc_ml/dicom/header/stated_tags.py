"""Find header values that may not be written again, because they break the rules of their value representation.

The rules are those of PS3.5 6.2. Archives and anonymisers write patient IDs of a hundred letters, a year as date of
birth, or the sex ``U``. Such images are read, but an object that is made from them must not repeat these values.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom.config import RAISE
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import DA, DT, TM, validate_value

from kicc_ml.dicom.header.values import read_element_text, read_number

#: Attributes of patient and study that must be present but may be empty (PS3.3 C.7.1.1, C.7.2.1).
TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
#: Optional attributes that are copied if they are present.
OPTIONAL = ("PatientAge", "PatientSize", "PatientWeight", "StudyDescription", "IssuerOfPatientID")
SEXES = {"M", "F", "O", ""}
#: Value representations that are text; numbers and UIDs are checked where they are used.
TEXTS = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"}
NUMBERS = {"DS", "IS"}
#: Value representations in which a backslash does not separate values.
SINGLE = {"LT", "ST", "UT", "UR"}
CONVERTED = {"DA": DA, "DT": DT, "TM": TM}


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress the warnings of the DICOM libraries, which quote names, numbers and UIDs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def find_faulty_tags(path: Path) -> list[str]:
    """Find the keywords of patient and study whose values may not be written again.

    Returns:
        the keywords; none for a file that cannot be read, which the index reports.
    """
    try:
        with suppress_warnings():
            wanted = ["SpecificCharacterSet", *TYPE_2, *OPTIONAL]
            image = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=wanted)
            return [keyword_for_tag(tag) for tag in _list_faulty_tags(image)]
    except Exception:  # the index says what is wrong with the file
        return []


def drop_faulty_tags(image: Dataset) -> None:
    """Remove private elements and values that may not be written again; required ones become empty."""
    for tag in [tag for tag in image.keys() if tag.is_private]:  # noqa: SIM118 # as below
        del image[tag]
    for tag in list(_list_faulty_tags(image)):
        if keyword_for_tag(tag) in TYPE_2:
            image[tag] = DataElement(tag, dictionary_VR(tag), None)
        else:
            del image[tag]


def _list_faulty_tags(image: Dataset) -> Iterator[BaseTag]:
    charset = read_element_text(image, "SpecificCharacterSet", "")
    for tag in image.keys():  # noqa: SIM118 # iterating a data set parses its values, which may raise
        if dictionary_has_tag(tag) and not _is_writable(image, tag, dictionary_VR(tag), charset):
            yield tag


def _is_writable(image: Dataset, tag: BaseTag, vr: str, charset: str) -> bool:
    if vr not in TEXTS | NUMBERS:
        return True
    keyword = keyword_for_tag(tag)
    value = read_element_text(image, keyword, charset)
    if keyword == "PatientSex":
        return value in SEXES
    values = [value] if vr in SINGLE else value.split("\\")
    if vr in NUMBERS:  # more digits than are allowed are still a number
        return all(not part or read_number({"": part}, "") is not None for part in values)
    return all(_is_valid(vr, part) for part in values)


def _is_valid(vr: str, value: str) -> bool:
    try:
        validate_value(vr, value, RAISE)
        if value and vr in CONVERTED:
            CONVERTED[vr](value)
    except (ValueError, OverflowError):
        return False
    return not re.search(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]|\ufffd", value)

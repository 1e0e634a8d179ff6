"""Name, ID and study date of a scan, for the one output that stays inside its hospital."""

from pathlib import Path

import pydicom

from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import read_element_text

TAGS = ("SpecificCharacterSet", "PatientName", "PatientID", "StudyDate")


def read_patient_identity(path: Path) -> dict[str, str]:
    """What identifies the patient of a DICOM file, in the words of a page; what is not stated is left out.

    Of a name in several scripts (PS3.5 6.2) the last is shown: the Hangul of a Korean one.
    """
    with suppress_warnings():  # wrong character sets are expected here
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
        charset = read_element_text(dataset, "SpecificCharacterSet", "")
        name, patient_id, day = (read_element_text(dataset, keyword, charset) for keyword in TAGS[1:])
    scripts = [script.replace("^", " ").strip() for script in name.split("=")]
    spoken = next((script for script in reversed(scripts) if script), "")
    stated = {"Name": spoken, "ID": patient_id, "Study date": day}
    return {label: value for label, value in stated.items() if value}

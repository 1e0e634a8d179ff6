"""Read name, ID and study date of a scan, for the one output that stays inside its hospital."""

from pathlib import Path

import pydicom

from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import read_element_text

TAGS = ("SpecificCharacterSet", "PatientName", "PatientID", "StudyDate")


def read_patient_identity(path: Path) -> dict[str, str]:
    """Read the values that identify the patient of a DICOM file.

    If a name is given in several scripts (PS3.5 6.2) the last one is used, which is Hangul in a Korean name.

    Returns:
        the values by label (``Name``, ``ID``, ``Study date``); values that the file does not state are left out.
    """
    with suppress_warnings():  # wrong character sets are expected here
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
        charset = read_element_text(dataset, "SpecificCharacterSet", "")
        name, patient_id, day = (read_element_text(dataset, keyword, charset) for keyword in TAGS[1:])
    scripts = [script.replace("^", " ").strip() for script in name.split("=")]
    spoken = next((script for script in reversed(scripts) if script), "")
    stated = {"Name": spoken, "ID": patient_id, "Study date": day}
    return {label: value for label, value in stated.items() if value}

"""Read name, ID and study date of a scan, for the one output that stays inside its hospital."""

from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.header.first_elements import read_first_elements
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import read_element_text

#: A group of a name and a patient ID have at most 64 characters (PS3.5 6.2).
MAX_CHARACTERS = 64
TAGS = ("SpecificCharacterSet", "PatientName", "PatientID", "StudyDate")


def read_patient_identity(path: Path) -> dict[str, str]:
    """Read the values that identify the patient of a DICOM file.

    If a name is given in several scripts (PS3.5 6.2) the last one is used, which is Hangul in a Korean name.

    Returns:
        the values by label (``Name``, ``ID``, ``Study date``); values that the file does not state are left
        out, and no value is longer than :data:`MAX_CHARACTERS`.

    Raises:
        UserError: the file is damaged, or has more before the patient ID than any image has.
    """
    try:
        with suppress_warnings():  # wrong character sets are expected here
            dataset = read_first_elements(path, TAGS, force=True)
            charset = read_element_text(dataset, "SpecificCharacterSet", "")
            name, patient_id, day = (read_element_text(dataset, keyword, charset) for keyword in TAGS[1:])
    except OSError:
        raise
    except Exception as error:  # a damaged object can raise anything in the parser
        raise UserError(f"the patient of an image cannot be read ({type(error).__name__}); send it again") from error
    scripts = [script.replace("^", " ").strip() for script in name.split("=")]
    spoken = next((script for script in reversed(scripts) if script), "")
    stated = {"Name": spoken, "ID": patient_id, "Study date": day}
    return {label: value[:MAX_CHARACTERS] for label, value in stated.items() if value}

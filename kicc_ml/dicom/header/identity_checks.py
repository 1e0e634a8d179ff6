"""Find faults of a header that concern the patient's identity and that the sender can correct. No value is returned."""

from pathlib import Path

from kicc_ml.dicom.header.parse import parse_header

#: Specific Character Sets (PS3.3 C.12.1.1.2) of Latin letters alone, or none stated.
LATIN = {"", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100", "ISO 2022 IR 100"}
LAST_LATIN_LETTER = "\u024f"
REPLACEMENT = "\ufffd"


def find_identity_faults(path: Path) -> set[str]:
    """Find which of ``burned_in``, ``no_patient_id`` and ``wrong_charset`` are true of a file.

    Returns:
        the codes; none for a file that cannot be read, which the index reports.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            values = parse_header(stream).values
    except Exception:  # the index says what is wrong with the file
        return set()
    name = values.get("PatientName", "")
    stated = {value.strip() for value in values.get("SpecificCharacterSet", "").split("\\")}
    checks = {
        "burned_in": values.get("BurnedInAnnotation", "").upper() == "YES",
        "no_patient_id": not values.get("PatientID"),
        "wrong_charset": REPLACEMENT in name
        or (stated <= LATIN and any(letter > LAST_LATIN_LETTER for letter in name)),
    }
    return {code for code, holds in checks.items() if holds}

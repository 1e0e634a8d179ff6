"""What becomes of each data element of a copy: the basic profile of DICOM PS3.15 Annex E, and less text than it allows.

The table of the profile (E.1-1, edition 2026c) is that of the library dicom-anonymizer. Beyond it, text is kept
only where :data:`KEPT_TEXT` names it, and what the dictionary of DICOM does not know is dropped.
"""

from collections.abc import Mapping
from functools import cache
from typing import Literal

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.tag import BaseTag, Tag

Action = Literal["keep", "drop", "empty", "uid", "date", "time", "decimal", "age", "text", "items", "agent"]

EDITION = "dicomfields_2026c"
#: The letters of the table (E.1-1) where a choice is left, for the images written here: no CT or radiograph requires
#: what is to be replaced (D) or may be removed (X), and what may be empty (Z) it does.
CATEGORIES: Mapping[str, Action] = {
    **dict.fromkeys(("X_TAGS", "X_D_TAGS", "X_Z_D_TAGS", "D_TAGS"), "drop"),
    **dict.fromkeys(("Z_TAGS", "Z_D_TAGS", "X_Z_TAGS"), "empty"),
    "X_Z_U_STAR_TAGS": "items",
}
#: Inputs of models, and what corrects a dose: the option Retain Patient Characteristics.
CHARACTERISTICS: Mapping[str, Action] = {
    **dict.fromkeys(("PatientSize", "PatientWeight"), "decimal"),
    **{"PatientSex": "text", "PatientAge": "age"},
}
#: Which device and reconstruction made the picture, and in what its values are.
KEPT_TEXT = (
    *("Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "FilterType", "RescaleType", "StackID"),
    *("ModalityLUTType", "PositionReferenceIndicator"),
)
KEPT_BYTES = ("PixelData", "LUTData")
#: No date of the person's own is moved: it would tell the days to every other.
OF_THE_PERSON = (
    *("PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar"),
    "PatientDeathDateInAlternativeCalendar",
)
#: The copy has no text outside ASCII for it to be about.
POINTLESS = ("SpecificCharacterSet",)

OF_VR: Mapping[str, Action] = {
    **dict.fromkeys(("FD", "FL", "US", "SS", "UL", "SL", "UV", "SV", "AT", "US or SS"), "keep"),
    **dict.fromkeys(("DS", "IS"), "decimal"),
    **dict.fromkeys(("DA", "DT"), "date"),
    **{"TM": "time", "AS": "age", "CS": "text", "UI": "uid", "SQ": "items"},
}
PIXEL_DATA = Tag("PixelData")
#: Repeating groups of curves, and of overlays.
DRAWN = (0x50, 0x60)


def action(tag: BaseTag, vr: str) -> Action:
    """What to do with an element outside the file meta information, which is written anew.

    Dates and UIDs are moved and mapped wherever they stand, also where the profile would remove them: the option
    Retain Longitudinal Temporal Information with Modified Dates.
    """
    if tag.is_private or tag.group < 8 or tag > PIXEL_DATA or tag.group >> 8 in DRAWN or tag.element == 0:
        return "drop"
    by_vr = OF_VR.get(vr, "drop")
    if tag in _own():
        return _own()[tag]
    return by_vr if by_vr in ("uid", "date", "time") else _profile().get(tag, by_vr)


@cache
def _own() -> dict[BaseTag, Action]:
    actions: dict[str, Action] = {
        **dict.fromkeys(KEPT_TEXT, "text"),
        **dict.fromkeys(KEPT_BYTES, "keep"),
        "ContrastBolusAgent": "agent",
        **dict.fromkeys(OF_THE_PERSON, "empty"),
        **dict.fromkeys(POINTLESS, "drop"),
        **CHARACTERISTICS,
    }
    return {Tag(keyword): what for keyword, what in actions.items()}


@cache
def _profile() -> dict[BaseTag, Action]:
    table = dicom_anonymization_database_selector(EDITION)
    # entries of four numbers are the repeating groups of DRAWN
    return {Tag(*tag): CATEGORIES[name] for name in CATEGORIES for tag in table[name] if len(tag) == 2}

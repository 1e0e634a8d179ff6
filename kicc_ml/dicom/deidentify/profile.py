"""Choose what happens to each data element of a copy: the basic profile of DICOM PS3.15 Annex E with less text.

The table of the profile (E.1-1, edition 2026c) is that of the library dicom-anonymizer. Beyond it, text and codes are
kept only where :mod:`kicc_ml.dicom.deidentify.known_values` lists what they may be, and what the dictionary of DICOM
does not know is dropped.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Literal

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.tag import BaseTag, Tag

from kicc_ml.dicom.deidentify.known_values import CODES, TEXTS

Action = Literal[
    "keep",
    "drop",
    "empty",
    "uid",
    "date",
    "datetime",
    "time",
    "decimal",
    "integer",
    "age",
    "text",
    "code",
    "items",
    "agent",
    "pixels",
    "table",
]

EDITION = "dicomfields_2026c"
#: Action by letter of the table (E.1-1), where it leaves a choice: CT and radiographs do not require elements that may
#: be replaced (D) or removed (X), so these are dropped; elements that may be empty (Z) are emptied.
CATEGORIES: Mapping[str, Action] = {
    **dict.fromkeys(("X_TAGS", "X_D_TAGS", "X_Z_D_TAGS", "D_TAGS"), "drop"),
    **dict.fromkeys(("Z_TAGS", "Z_D_TAGS", "X_Z_TAGS"), "empty"),
    "X_Z_U_STAR_TAGS": "items",
}
#: Inputs of models, and values that correct a dose: the option Retain Patient Characteristics.
CHARACTERISTICS: Mapping[str, Action] = {
    **dict.fromkeys(("PatientSize", "PatientWeight"), "decimal"),
    **{"PatientSex": "code", "PatientAge": "age"},
}
#: Dates of the person's life are emptied and not shifted: a known birthday would reveal the shift.
PERSONAL_DATES = (
    *("PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar"),
    "PatientDeathDateInAlternativeCalendar",
)

ACTION_OF_VR: Mapping[str, Action] = {
    **dict.fromkeys(("FD", "FL", "US", "SS", "UL", "SL", "UV", "SV", "AT", "US or SS"), "keep"),
    **{"DS": "decimal", "IS": "integer", "DA": "date", "DT": "datetime", "TM": "time"},
    **{"AS": "age", "CS": "code", "UI": "uid", "SQ": "items"},
}
#: Bytes of one value for the value representations that are kept unchanged.
BYTES_OF_VALUE = {"US": 2, "SS": 2, "US or SS": 2, "UL": 4, "SL": 4, "FL": 4, "AT": 4, "FD": 8, "UV": 8, "SV": 8}
PIXEL_DATA = Tag("PixelData")
#: Repeating groups of curves, and of overlays.
GRAPHIC_GROUPS = (0x50, 0x60)


def choose_action(tag: BaseTag, vr: str) -> Action:
    """Choose the action for an element outside the file meta information, which is written anew.

    Dates are shifted and UIDs are mapped in all elements, even where the profile would remove them (option Retain
    Longitudinal Temporal Information with Modified Dates).

    Args:
        tag: the element.
        vr: the value representation that the file states.
    """
    if tag.is_private or tag.group < 8 or tag > PIXEL_DATA or tag.group >> 8 in GRAPHIC_GROUPS or tag.element == 0:
        return "drop"
    if tag in _list_own_actions():
        return _list_own_actions()[tag]
    by_vr = _choose_by_vr(tag, vr)
    return by_vr if by_vr in ("uid", "date", "datetime", "time") else _load_profile().get(tag, by_vr)


def _choose_by_vr(tag: BaseTag, vr: str) -> Action:
    """Choose by the stated value representation; an element is dropped if the dictionary contradicts it."""
    stated = ACTION_OF_VR.get(vr, "drop")
    if (
        dictionary_has_tag(tag)
        and "keep" in (stated, known := ACTION_OF_VR.get(dictionary_VR(tag), "drop"))
        and stated != known
    ):
        return "drop"
    return "drop" if stated == "code" and keyword_for_tag(tag) not in CODES else stated


def has_stated_length(tag: BaseTag, vr: str, length: int) -> bool:
    """Whether a length in bytes fits the number of values in the dictionary; text in place of numbers seldom does."""
    count = re.fullmatch(r"\d+", dictionary_VM(tag)) if dictionary_has_tag(tag) else None
    size = BYTES_OF_VALUE.get(vr, 1)
    return length == 0 or (length == int(count[0]) * size if count else length % size == 0)


@cache
def _list_own_actions() -> dict[BaseTag, Action]:
    actions: dict[str, Action] = {
        **dict.fromkeys(TEXTS, "text"),
        **{"PixelData": "pixels", "LUTData": "table"},
        "ContrastBolusAgent": "agent",
        **dict.fromkeys(PERSONAL_DATES, "empty"),
        **CHARACTERISTICS,
    }
    return {Tag(keyword): what for keyword, what in actions.items()}


@cache
def _load_profile() -> dict[BaseTag, Action]:
    table = dicom_anonymization_database_selector(EDITION)
    # entries of four numbers are the repeating groups of DRAWN
    return {Tag(*tag): CATEGORIES[name] for name in CATEGORIES for tag in table[name] if len(tag) == 2}

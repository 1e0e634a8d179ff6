"""Causes of patient ids that differ between the table and the images, such as changes by spreadsheets."""

import re
from collections.abc import Collection, Iterator

import pandas as pd

from kicc_ml.core.pseudonym import make_pseudonym

#: The highest number of leading zeros that are tried.
MAX_ZEROS = 12
ZEROS = "leading zeros were lost: have the spreadsheet keep patient_id as text"
POINT = "a spreadsheet added '.0': have it keep patient_id as text"
EXPONENT = "a spreadsheet shortened patient_id to a power of ten: export the table again, with patient_id as text"
BLANKS = "capitals, blanks or dashes differ"
_EXPONENT = re.compile(r"\d(\.\d+)?[eE]\+?\d+")


def find_likely_cause(rows: pd.DataFrame, strangers: Collection[str], key: bytes) -> str:
    """Find the likely cause why rows of a table match no images.

    Args:
        rows: columns ``site`` and ``patient_id`` as text; the index is the line of the table.
        strangers: pseudonyms of patients that have images but no row.
        key: the key of the pseudonyms.

    Returns:
        The cause and the remedy in words; "" if no known cause applies.
    """
    for line, site, patient_id in rows[["site", "patient_id"]].dropna().itertuples():
        if strangers and _EXPONENT.fullmatch(patient_id):
            return f"line {line}: {EXPONENT}"
        for variant, cause in variants(patient_id):
            if make_pseudonym(key, site, variant) in strangers:
                return f"line {line}: the images have its patient_id but for this: {cause}"
    return ""


def find_cause_of_id(patient_id: str, known: Collection[str]) -> str:
    """Find the likely cause why the patient id of an image is not in a table, as :func:`find_likely_cause` does.

    Args:
        patient_id: the patient id in the headers of the images.
        known: the patient ids of the table.

    Returns:
        The cause and the remedy in words; "" if no known cause applies.
    """
    for one in known:
        if _EXPONENT.fullmatch(one):
            return EXPONENT
        for variant, cause in variants(one):
            if variant == patient_id:
                return cause
    return ""


def variants(patient_id: str) -> Iterator[tuple[str, str]]:
    """List ids that ``patient_id`` may have had before a change, each with the cause of the change."""
    plain = patient_id.removesuffix(".0")
    if plain != patient_id:
        yield plain, POINT
    for zeros in range(1, MAX_ZEROS + 1):
        yield "0" * zeros + plain, ZEROS
    if stripped := plain.lstrip("0"):
        yield stripped, ZEROS
    for changed in (patient_id.upper(), patient_id.lower(), re.sub(r"[\s_-]", "", patient_id)):
        yield changed, BLANKS

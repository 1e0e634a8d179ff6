"""Why a row of a table and the images of its patient do not find each other: what spreadsheets do to numbers."""

import re
from collections.abc import Collection, Iterator

import pandas as pd

from kicc_ml.core.pseudonym import make_pseudonym

#: Leading zeros that a hospital's numbers may have.
MAX_ZEROS = 12
ZEROS = "leading zeros were lost: have the spreadsheet keep patient_id as text"
POINT = "a spreadsheet added '.0': have it keep patient_id as text"
EXPONENT = "a spreadsheet shortened patient_id to a power of ten: export the table again, with patient_id as text"
BLANKS = "capitals, blanks or dashes differ"
_EXPONENT = re.compile(r"\d(\.\d+)?[eE]\+?\d+")


def likely_cause(rows: pd.DataFrame, strangers: Collection[str], key: bytes) -> str:
    """In words, why rows do not find their images; "" where no cause is known.

    Args:
        rows: columns ``site`` and ``patient_id`` as text; the index is the line of the table.
        strangers: pseudonyms of patients that have images and no row.
        key: of the pseudonyms.
    """
    for line, site, patient_id in rows[["site", "patient_id"]].dropna().itertuples():
        if strangers and _EXPONENT.fullmatch(patient_id):
            return f"line {line}: {EXPONENT}"
        for variant, cause in variants(patient_id):
            if make_pseudonym(key, site, variant) in strangers:
                return f"line {line}: the images have its patient_id but for this: {cause}"
    return ""


def differs_by(patient_id: str, known: Collection[str]) -> str:
    """As :func:`likely_cause`, for one patient's ID as the images have it and those of a table; "" where none."""
    for one in known:
        if _EXPONENT.fullmatch(one):
            return EXPONENT
        for variant, cause in variants(one):
            if variant == patient_id:
                return cause
    return ""


def variants(patient_id: str) -> Iterator[tuple[str, str]]:
    """IDs that may have been meant, each with what would have changed it."""
    plain = patient_id.removesuffix(".0")
    if plain != patient_id:
        yield plain, POINT
    for zeros in range(1, MAX_ZEROS + 1):
        yield "0" * zeros + plain, ZEROS
    if stripped := plain.lstrip("0"):
        yield stripped, ZEROS
    for changed in (patient_id.upper(), patient_id.lower(), re.sub(r"[\s_-]", "", patient_id)):
        yield changed, BLANKS

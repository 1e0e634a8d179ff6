"""Replace identifying words in paths and texts by pseudonyms: some exports name folders and files after patients."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise

from kicc_ml.core.pseudonym import make_pseudonym

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
#: Minimum length of a part of a name: a shorter Latin one ("Yu") occurs in too many words, and one Korean or Chinese
#: letter is the surname of millions.
MIN_LATIN_LETTERS, MIN_LETTERS = 3, 2
#: Minimum length of a patient number in device names, which hold short numbers too ("64").
MIN_NUMBER_DIGITS = 5


def pseudonymize_path(path: str, values: Mapping[str, str], key: bytes) -> str:
    """Replace patient number, parts of the name and UIDs in a path by pseudonyms.

    Args:
        path: the path.
        values: header values by keyword.
        key: the repository's key.

    Returns:
        the changed path; "" if nothing had to be changed.
    """
    shown = decode_path(path)
    folded = shown.casefold()
    for word in _list_identifying_words(values):
        if word.casefold() in folded:
            whole_word = rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
            shown = re.sub(whole_word, make_pseudonym(key, word), shown, flags=re.IGNORECASE)
    return "" if shown == path else shown


def pseudonymize_text(text: str, values: Mapping[str, str], key: bytes) -> str:
    """Replace the patient's number and parts of the name in a text about device or contrast agent by pseudonyms."""
    patient_id = values.get("PatientID", "")
    patient_id = patient_id if len(patient_id) >= MIN_NUMBER_DIGITS else ""
    return _pseudonymize_text(text, values.get("PatientName", ""), patient_id, key) if text else ""


@lru_cache(maxsize=256)
def _pseudonymize_text(text: str, name: str, patient_id: str, key: bytes) -> str:
    return pseudonymize_path(text, {"PatientName": name, "PatientID": patient_id}, key) or text


def make_identity_marks(values: Mapping[str, str], key: bytes) -> str:
    """Make pseudonyms of the patient's number and parts of the name, by which they are found in other paths.

    Returns:
        the pseudonyms, separated by blanks.
    """
    return _make_identity_marks(values.get("PatientName", ""), values.get("PatientID", ""), key)


@lru_cache(maxsize=256)
def _make_identity_marks(name: str, patient_id: str, key: bytes) -> str:
    parts = list(_list_identifying_words({"PatientName": name}))
    turned = ["".join(reversed(pair)) for pair in pairwise(parts)]
    words = [*parts, *turned, patient_id, patient_id.lstrip("0")]
    return " ".join(
        sorted({make_identity_mark(key, word) for word in words if len(normalize_word(word)) >= MIN_LETTERS})
    )


def make_identity_mark(key: bytes, word: str) -> str:
    """Make the pseudonym of an identifying word, the same for all its spellings in a path."""
    return make_pseudonym(key, "word of a path", normalize_word(word))


def normalize_word(word: str) -> str:
    """Reduce a word to its letters and digits, without case."""
    normal = unicodedata.normalize("NFKC", word).casefold()
    return "".join(character for character in normal if character.isalnum())


def decode_path(path: str) -> str:
    """Decode a path for display: names in old Korean archives are CP949, and names from a Mac are decomposed."""
    raw = os.fsencode(path)
    for encoding in ("utf-8", "cp949"):
        try:
            return unicodedata.normalize("NFC", raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "backslashreplace")


def _list_identifying_words(values: Mapping[str, str]) -> Iterator[str]:
    for keyword in ("PatientID", *UIDS):
        if value := values.get(keyword):
            yield value
    for name in values.get("PatientName", "").split("="):
        parts = [part for part in re.split(r"[\^,\s]+", name) if part]
        for word in (*parts, "".join(parts)):
            if len(word) >= (MIN_LATIN_LETTERS if word.isascii() else MIN_LETTERS):
                yield unicodedata.normalize("NFC", word)

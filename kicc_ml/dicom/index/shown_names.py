"""Hide in the names of files everything that may identify a patient, for output on screen and to files.

A file of a series is named by site, pseudonym of the series and its position. A file in no series is named by its path,
in which pseudonyms replace everything that may identify somebody: words that a header of the source states as patient
name or number, dates, long numbers, and every word that is not in :data:`PLAIN_WORDS`.
"""

import re
from collections.abc import Callable, Collection

from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.dicom.header.shown_path import make_identity_mark, normalize_word

#: Words in the names of files from scanners and archives, and of files beside them, that do not identify a person.
PLAIN_WORDS = frozenset(
    """
    abd abdomen acq acquisition adc ap autorun avi axial axi backup bak bmp body bone broken bsm bz cad cd chest cor
    copy coronal cr csv ct cta cxr dat data db dcm desktop dicom dicomdir dir disk doc docx dose dr dx enhanced exam
    exe export exported film files gif gz hrct html htm hwp hwpx idx im image images img in index inf info ini iso iv
    jpeg jpg js json kernel l lat lateral left list loc localizer log lung mask masks media mip mono mov mpr mr
    nii no notes of old other out pa pacs page patient pdf pet phase plain png post ppt pptx pre pre preview raw rar
    readme recon report result right s sag sagittal scan scano scans scout screen screenshot se sec ser series site sl
    slice slices sr src st standard std study studies sub summary svg table tar temp text tgz thick thin thorax thumb
    thumbnail thumbs tif tiff tmp topogram txt unknown venous viewer vol volume wav web without with xls xlsx xml xps xr
    zip 흉부 영상 검사 촬영 판독 보고서 원본 사진 파일
    """.split()  # noqa: SIM905
)
#: Maximum number of digits of a number that is shown: numbers of slices and series.
MAX_SHOWN_DIGITS = 4
#: Maximum number of digits of several numbers in a row; with more they may be a date, a telephone number or a UID.
MAX_CHAIN_DIGITS = 5
#: Maximum number of tokens of one identifier: ``A-17/0003`` has three.
MAX_RUN_TOKENS = 6
#: First and last placeholder (private use characters of Unicode) for pseudonyms while a path is processed.
FIRST_PLACEHOLDER, LAST_PLACEHOLDER = 0xE000, 0xF8FF
_PSEUDONYM = re.compile(r"(?<![^\W_])(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{12}(?![^\W_])")
_DATE_IN_FOLDERS = re.compile(r"(?<!\d)(?:19|20)\d\d(?:/\d{1,4})+(?!\d)")
_CHAIN = re.compile(r"\d+(?:\s*[-._,·년월일\s]\s*\d+)+(?:\s*일)?|\d{4}\s*년(?:\s*\d{1,2}\s*월)?")
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?")  # of a service, which is a site too
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_PLACEHOLDER = re.compile(f"[{chr(FIRST_PLACEHOLDER)}-{chr(LAST_PLACEHOLDER)}]")


def hide_identity_in_path(path: str, key: bytes, marks: Collection[str]) -> str:
    """Replace everything in a path that may identify a patient by pseudonyms.

    Args:
        path: the path, with ``/`` between its folders; pseudonyms in it stay.
        key: the repository's key.
        marks: pseudonyms of identifying words (:func:`kicc_ml.dicom.header.shown_path.make_identity_mark`).
    """
    return _NameHider(key, marks).hide_all(path, _is_plain)


def hide_identity_in_site(site: str, key: bytes, marks: Collection[str]) -> str:
    """Hide dates, long numbers and identifying words in the folder name of a hospital; other words are shown."""
    return site if _ADDRESS.fullmatch(site) else _NameHider(key, marks).hide_all(site, lambda word: True)


def hide_identity_in_text(text: str, key: bytes, marks: Collection[str]) -> str:
    """Hide identifying words in a text about scanner or kernel; a short number is a model, not a patient."""
    return _NameHider(key, marks, MAX_SHOWN_DIGITS).hide_marked(text)


def _is_plain(word: str) -> bool:
    return word.casefold() in PLAIN_WORDS or (len(word) == 1 and word.isascii())


class _NameHider:
    """Hides identifying parts of one path: each becomes a placeholder character, which is filled at the end."""

    def __init__(self, key: bytes, marks: Collection[str], longest_number: int = 0) -> None:
        self.key, self.marks, self.longest_number = key, marks, longest_number
        self.pseudonyms: list[str] = []

    def hide_all(self, path: str, is_shown: Callable[[str], bool]) -> str:
        text = _PLACEHOLDER.sub("?", path)
        text = _PSEUDONYM.sub(lambda found: self._add_placeholder(found.group()), text)
        text = _DATE_IN_FOLDERS.sub(lambda found: self._hide(found.group()), text)
        text = "/".join(map(self._hide_marked, text.split("/")))
        text = _CHAIN.sub(lambda found: self._hide_chain(found.group()), text)
        text = _TOKEN.sub(lambda found: self._hide_token(found.group(), is_shown), text)
        return self._fill_placeholders(text)

    def hide_marked(self, text: str) -> str:
        return self._fill_placeholders(self._hide_marked(_PLACEHOLDER.sub("?", text)))

    def _add_placeholder(self, pseudonym_shown: str) -> str:
        """Store a pseudonym and return its placeholder character."""
        self.pseudonyms.append(pseudonym_shown)
        return chr(min(FIRST_PLACEHOLDER + len(self.pseudonyms) - 1, LAST_PLACEHOLDER))  # a path has 4096 bytes

    def _hide(self, text: str) -> str:
        """Replace a text by a pseudonym with letters and digits, so that it is recognised as one later."""
        digits = make_pseudonym(self.key, normalize_word(text))
        return self._add_placeholder(digits if _PSEUDONYM.fullmatch(digits) else f"a0{digits[2:]}")

    def _hide_marked(self, component: str) -> str:
        """Hide the identifying words in a folder or file name, whether written together or apart."""
        tokens = list(_TOKEN.finditer(component)) if self.marks else []
        result, at, first = "", 0, 0
        while first < len(tokens):
            for last in range(min(first + MAX_RUN_TOKENS, len(tokens)), first, -1):
                text = component[tokens[first].start() : tokens[last - 1].end()]
                if self._is_marked(text):
                    result += component[at : tokens[first].start()] + self._hide(text)
                    at, first = tokens[last - 1].end(), last
                    break
            else:
                first += 1
        return result + component[at:]

    def _is_marked(self, text: str) -> bool:
        is_short_number = text.isdigit() and len(text) <= self.longest_number
        return not is_short_number and make_identity_mark(self.key, text) in self.marks

    def _hide_chain(self, text: str) -> str:
        digits = sum(character.isdigit() for character in text)
        is_month = re.match(r"(?:19|20)\d\d\D", text) is not None
        return self._hide(text) if digits > MAX_CHAIN_DIGITS or is_month else text

    def _hide_token(self, token: str, is_shown: Callable[[str], bool]) -> str:
        shown = len(token) <= MAX_SHOWN_DIGITS if token.isdigit() else is_shown(token)
        return token if shown else self._hide(token)

    def _fill_placeholders(self, text: str) -> str:
        """Fill in the pseudonyms, separated from letters and digits beside them."""
        result = ""
        for character in text:
            is_place = _PLACEHOLDER.match(character) is not None
            part = self.pseudonyms[ord(character) - FIRST_PLACEHOLDER] if is_place else character
            follows_on = result[-1:].isalnum() and part[:1].isalnum() and (is_place or self._ends_in_pseudonym(result))
            result += f"-{part}" if follows_on else part
        return result

    def _ends_in_pseudonym(self, text: str) -> bool:
        return bool(self.pseudonyms) and text.endswith(tuple(self.pseudonyms))

"""Text of a header in the encodings hospitals really use, stated rightly, wrongly or not at all."""

import re
import warnings

import pydicom.charset

#: Designations of ISO 2022 that leave Korean text as EUC-KR once they are taken out: KS X 1001 to G1, ASCII to G0.
_KOREAN_ESCAPES = re.compile(rb"\x1b(?:\$\)C|\(B)")
_LATIN_1 = ("", "ISO_IR 6", "ISO_IR 100", "ISO 2022 IR 6", "ISO 2022 IR 100")
_KOREAN = "ISO 2022 IR 149"
_UTF_8 = "ISO_IR 192"


def decode_text(raw: bytes, charset: str = "") -> str:
    """``raw`` as text, whatever Specific Character Set says (its values joined by a backslash). Never raises.

    ASCII is what it is. Otherwise a stated multi-byte or national set is tried first. Where none or Latin-1 is
    stated, bytes that are sound UTF-8 are that, and bytes that are sound Korean are Korean: Latin-1 text
    hardly ever has its accented letters in pairs. What nothing fits is read with replacement marks.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    plain = _KOREAN_ESCAPES.sub(b"", raw)
    if b"\x1b" in plain:
        return _decode_by_pydicom(raw, charset)
    for encoding in _list_encodings(charset, escaped=plain != raw):
        try:
            return plain.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return plain.decode("utf-8", "replace")


def _list_encodings(charset: str, escaped: bool) -> list[str]:
    """Python's names of the encodings to try in turn; cp949 is EUC-KR with the rarer syllables added."""
    stated = [part.strip() for part in charset.split("\\")]
    if escaped or _KOREAN in stated:
        return ["cp949", "utf-8", "latin-1"]
    if _UTF_8 in stated:
        return ["utf-8", "cp949", "latin-1"]
    if not any(stated):
        return ["utf-8", "cp949", "latin-1"]
    known = [pydicom.charset.python_encoding.get(part, "") for part in stated if part not in _LATIN_1]
    return [name for name in known if name] or ["utf-8", "euc_kr", "latin-1"]


def _decode_by_pydicom(raw: bytes, charset: str) -> str:
    """Other code extensions (Japanese, Chinese), by pydicom, which replaces what it cannot decode."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encodings = pydicom.charset.convert_encodings(charset.split("\\"))
            return pydicom.charset.decode_bytes(raw, encodings, {0x5C})
    except Exception:  # an unknown code extension must not stop the intake
        return raw.decode("ascii", "replace")

"""Decode header text in the encodings that hospitals use, even if the stated character set is wrong or missing."""

import re
import warnings

import pydicom.charset

#: Designations of ISO 2022 that leave Korean text as EUC-KR once they are taken out: KS X 1001 to G1, ASCII to G0.
_KOREAN_ESCAPES = re.compile(rb"\x1b(?:\$\)C|\(B)")
_LATIN_1 = ("", "ISO_IR 6", "ISO_IR 100", "ISO 2022 IR 6", "ISO 2022 IR 100")
_KOREAN = "ISO 2022 IR 149"
_UTF_8 = "ISO_IR 192"


def decode_text(raw: bytes, charset: str = "") -> str:
    """Decode a value of a header. Never raises.

    A stated multi-byte or national character set is tried first. If none or Latin-1 is stated, valid UTF-8 is read as
    UTF-8 and valid Korean as Korean, since Latin-1 text hardly ever has its accented letters in pairs. Text that fits
    no encoding is read with replacement characters.

    Args:
        raw: the bytes of the value.
        charset: the values of Specific Character Set (0008,0005), joined by a backslash.
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
    """List Python's names of the encodings to try in turn; cp949 is EUC-KR with rarer syllables added."""
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
    """Decode other code extensions (Japanese, Chinese) with pydicom, which replaces what it cannot decode."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encodings = pydicom.charset.convert_encodings(charset.split("\\"))
            return pydicom.charset.decode_bytes(raw, encodings, {0x5C})
    except Exception:  # an unknown code extension must not stop the intake
        return raw.decode("ascii", "replace")

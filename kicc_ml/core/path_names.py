"""The one gate for names that come from elsewhere and become part of a path: ids, hospitals, folds, UIDs."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import is_control_character, make_printable

#: Bytes of one name; file systems take 255, and suffixes and the names of partial files come on top.
MAX_BYTES = 160
SEPARATORS = frozenset("/\\\0")
DIGEST_DIGITS = 8
#: Names that Windows and SMB keep for devices, whatever suffix follows.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def check_path_name(name: str, what: str) -> str:
    """Return ``name`` where it may be the name of one file or folder.

    Args:
        name: foreign text: a case id, the name of a hospital, a UID.
        what: what it is called in the error, for example ``"the case id"``.

    Raises:
        UserError: it is empty, ``.`` or ``..``, begins with a dot, is longer than ``MAX_BYTES``, or holds a separator
            of paths, a control character, one that turns the direction of writing, or a byte that is no UTF-8.
    """
    if fault := find_name_fault(name):
        raise UserError(
            f"{what} {make_printable(name)[:MAX_BYTES]!r} cannot be the name of a folder: {fault}; rename it"
        )
    return name


def find_name_fault(name: str) -> str:
    """Why ``name`` may be no name of a file or folder; "" where it may."""
    if not name or not name.strip():
        return "it is empty"
    if name[0] == ".":
        return "it begins with a dot"
    if any(character in SEPARATORS for character in name):
        return "it holds a separator of paths"
    if any(is_control_character(character) for character in name):
        return "it holds a control character, one that turns the direction of writing, or bytes that are no UTF-8"
    if len(name.encode()) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES} bytes"
    return ""


def make_path_name(text: str) -> str:
    """A name of a folder for any text; the same text always gets the same name.

    What a file name cannot hold becomes ``-``. A name that is cut, that is none or that Windows keeps for a device gets
    a digest of the text. Two short texts may still get one name (``A/B``, ``A B``): see :func:`check_distinct`.
    """
    name = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text))
    name = "-" + name[1:] if name[:1] == "." else name
    if len(name.encode()) > MAX_BYTES or not name.strip("-.") or DEVICES.match(name):
        short = name.encode()[: MAX_BYTES // 2].decode(errors="ignore")
        name = f"{short}-{_compute_digest(text)}"
    return name


def _compute_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_DIGITS]


def _normalize_for_any_disk(name: str) -> str:
    """A name as a disk sees it that ignores case and how accents are put together."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def make_distinct_path_names(texts: Iterable[str]) -> dict[str, str]:
    """A name of a file for each of several texts, no two the same on any disk."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        name = make_path_name(text)
        if _normalize_for_any_disk(name) in taken:
            name = f"{name.encode()[: MAX_BYTES // 2].decode(errors='ignore')}-{_compute_digest(text)}"
        taken.add(_normalize_for_any_disk(name))
        names[text] = name
    return names


def check_distinct(names: Iterable[str], what: str, place: Callable[[str], str] = str) -> None:
    """Raises UserError where two names would be one on a disk that ignores case or takes accents apart.

    ``place`` gives the folder of a name, where that is not the name itself.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(_normalize_for_any_disk(place(name)), name)) != name:
            raise UserError(
                f"{what} {make_printable(other)!r} and {make_printable(name)!r} would be one folder on some disks; "
                "rename one of them"
            )


def resolve_subfolder(parent: Path, name: str, what: str) -> Path:
    """``parent / name``, which lies directly in ``parent`` whatever the name and the links there are.

    Raises:
        UserError: the name is none for a folder, or the place is a link to somewhere else.
    """
    folder = parent / check_path_name(name, what)
    if os.path.realpath(folder) != os.path.join(os.path.realpath(parent), name):
        raise UserError(f"{folder} leads out of {parent}; remove that link")
    return folder

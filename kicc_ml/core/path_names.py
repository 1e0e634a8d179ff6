"""Check foreign names before they become part of a path: ids, hospitals, folds, UIDs."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from itertools import count
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
    """Return ``name`` if it can be the name of one file or folder.

    Args:
        name: foreign text, such as a case id, the name of a hospital or a UID.
        what: its name in the error message, for example ``"the case id"``.

    Returns:
        ``name`` unchanged.

    Raises:
        UserError: the name is empty, begins with a dot, is longer than ``MAX_BYTES``, or holds a path separator, a
            control character, a character that changes the direction of writing, or a byte that is not UTF-8.
    """
    if fault := find_name_fault(name):
        raise UserError(
            f"{what} {make_printable(name)[:MAX_BYTES]!r} cannot be the name of a folder: {fault}; rename it"
        )
    return name


def find_name_fault(name: str) -> str:
    """Find out why ``name`` cannot be the name of a file or folder; "" if it can."""
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
    """Make a folder name from any text. The same text always gets the same name.

    Characters that a file name cannot hold become ``-``. A digest of the text is added to a name that is cut, empty, or
    reserved by Windows for a device. Two short texts can still get the same name (``A/B``, ``A B``): see
    :func:`check_distinct`.
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
    """Convert a name to the form that is equal for all names that some disk cannot tell apart (case, accents)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def make_distinct_path_names(texts: Iterable[str]) -> dict[str, str]:
    """Make a file name for each of several texts, so that no two are the same on any disk."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        names[text] = _make_name_beside(taken, text)
        taken.add(_normalize_for_any_disk(names[text]))
    return names


def _make_name_beside(taken: Collection[str], text: str) -> str:
    """Make a name for ``text`` that is none of ``taken``: with a digest if needed, with another if that is taken."""
    name = make_path_name(text)
    short = name.encode()[: MAX_BYTES // 2].decode(errors="ignore")
    digests = (_compute_digest(text + "\0" * turn) for turn in count())
    while _normalize_for_any_disk(name) in taken:
        name = f"{short}-{next(digests)}"
    return name


def check_distinct(names: Iterable[str], what: str, place: Callable[[str], str] = str) -> None:
    """Check that no two names would be the same folder on a disk that ignores case or decomposes accents.

    Args:
        names: the names.
        what: what they are, for the error message.
        place: gives the folder of a name, if that is not the name itself.

    Raises:
        UserError: two names would be the same folder.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(_normalize_for_any_disk(place(name)), name)) != name:
            raise UserError(
                f"{what} {make_printable(other)!r} and {make_printable(name)!r} would be one folder on some disks; "
                "rename one of them"
            )


def resolve_subfolder(parent: Path, name: str, what: str) -> Path:
    """Return ``parent / name`` after checking that it lies directly in ``parent``, whatever links are there.

    Raises:
        UserError: the name cannot be the name of a folder, or the path is a link to another place.
    """
    folder = parent / check_path_name(name, what)
    if os.path.realpath(folder) != os.path.join(os.path.realpath(parent), name):
        raise UserError(f"{folder} leads out of {parent}; remove that link")
    return folder

"""Turn identifiers into pseudonyms with one key per repository. The key stays with the consortium."""

import hashlib
import hmac
import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

from kicc_ml.core.errors import UserError, make_target_error
from kicc_ml.core.files import PRIVATE_FOLDER, write_bytes
from kicc_ml.core.help_pages import KEY
from kicc_ml.core.key_file import find_key, read_key
from kicc_ml.core.locks import hold
from kicc_ml.core.user_folders import KEYS_VARIABLE, get_keys_folder

KEY_NAME = ".kicc-key"
#: Random bytes of a key that is made here; the file holds them as hexadecimal digits.
NEW_KEY_BYTES = 32


def load_repository_key(root: Path) -> bytes:
    """Load the key of a repository: ``root/.kicc-key`` if the consortium put one there, else the user's own key.

    A source is never written to. A key that must be made is stored under ``$KICC_KEYS`` (default
    ``~/.config/kicc_ml/keys``), with a name derived from the repository's path, readable by its owner only.

    Raises:
        UserError: the key is not safe (see :mod:`kicc_ml.core.key_file`).
    """
    beside = root / KEY_NAME
    return read_key(beside) if os.path.lexists(beside) else _load_or_make_key(str(root.resolve()))


def load_service_key(url: str) -> bytes:
    """Load the user's key for a DICOMweb service, whose file name is derived from the address of the service."""
    return _load_or_make_key(url)


def _load_or_make_key(source: str) -> bytes:
    folder = _make_keys_folder()
    kept = folder / hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    if not os.path.lexists(kept):
        with hold(folder / ".lock", f"the key {kept}", wait=True):  # no hard links: FAT and SMB have none
            if not os.path.lexists(kept):  # a parallel process was first
                write_bytes(kept, secrets.token_hex(NEW_KEY_BYTES).encode(), private=True)
    return read_key(kept)


def _make_keys_folder() -> Path:
    """Make the folder of keys, accessible for its owner only.

    Raises:
        UserError: the folder that the user named is open to others.
    """
    folder = get_keys_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        if folder.stat().st_mode & 0o077 and not os.environ.get(KEYS_VARIABLE):
            folder.chmod(PRIVATE_FOLDER)  # our own, as earlier versions made it
        open_to_others = folder.stat().st_mode & 0o077
    except OSError as error:
        raise make_target_error(folder, error) from error
    if open_to_others:
        raise UserError(f"{folder} is open to other users, and keys lie there; close it: chmod 700 {folder}", page=KEY)
    return folder


def make_pseudonym(key: bytes, *identifier: str) -> str:
    """Make the pseudonym of an identifier: twelve hexadecimal digits of its HMAC-SHA256 under the repository's key."""
    text = "\x1f".join(identifier).encode("utf-8", "surrogateescape")
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:12]


def compute_key_fingerprint(key: bytes) -> str:
    """Compute a fingerprint that distinguishes keys without revealing them."""
    return make_pseudonym(key, "fingerprint of the key")


def check_key(fingerprint: str, key: bytes, place: Path) -> None:
    """Refuse to write into a folder whose content was written under another key.

    Args:
        fingerprint: fingerprint of the key under which ``place`` was written; "" if an earlier version stored none.
        key: the current key.
        place: a copy or a results folder, for the error message.

    Raises:
        UserError: the keys differ, so that one patient would get two pseudonyms.
    """
    if fingerprint in ("", compute_key_fingerprint(key)):
        return
    kept = find_kept_key(fingerprint)
    remedy = f"it is {kept}" if kept else "look for it where the folder or its source lay before"
    raise UserError(
        f"{place} was written under another key, so that one patient would get two pseudonyms; lay that key as "
        f"{KEY_NAME} into the folder that it belongs to ({remedy}), or choose another folder",
        page=KEY,
    )


def find_kept_key(fingerprint: str) -> Path | None:
    """Find the key with a fingerprint among those stored for this user."""
    return find_key(get_keys_folder(), lambda key: compute_key_fingerprint(key) == fingerprint)


def compute_shift_days(key: bytes, patient: str) -> int:
    """Compute by how many days all dates of a patient are shifted in what is written: 1 to 365 days back.

    Intervals between dates of one patient stay true. An exported copy is shifted further back
    (:func:`kicc_ml.dicom.deidentify.replacements.compute_export_shift`).

    Args:
        key: the repository's key.
        patient: the pseudonym of the patient.

    Returns:
        a negative number of days.
    """
    digest = hmac.new(key, f"days\x1f{patient}".encode(), hashlib.sha256).digest()
    return -1 - int.from_bytes(digest[:8], "big") % 365


def coarsen_time(key: bytes, patient: str, time: datetime) -> datetime:
    """Shift a time by :func:`compute_shift_days` and cut it off to the hour, as it is written to files.

    A time of day to the second would identify the scan in the log of a PACS.
    """
    return time.replace(minute=0, second=0, microsecond=0) + timedelta(days=compute_shift_days(key, patient))

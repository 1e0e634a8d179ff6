"""One key per repository turns identifiers into pseudonyms; the key stays with the consortium."""

import hashlib
import hmac
import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

from kicc_ml.core.errors import UserError, make_target_error
from kicc_ml.core.files import PRIVATE_FOLDER, write_bytes
from kicc_ml.core.key_file import find_key, read_key
from kicc_ml.core.locks import hold
from kicc_ml.core.user_folders import KEYS_VARIABLE, get_keys_folder

KEY_NAME = ".kicc-key"
#: Random bytes of a key that is made here; the file holds them as hexadecimal digits.
NEW_KEY_BYTES = 32


def load_repository_key(root: Path) -> bytes:
    """The key of a repository: ``root/.kicc-key`` if the consortium laid one there, else one kept for this user.

    A source is never written to: a key that has to be made lies under ``$KICC_KEYS`` (default
    ``~/.config/kicc_ml/keys``), named after the repository's path, readable by its owner alone.

    Raises:
        UserError: what lies there is no key that protects anybody (see :mod:`kicc_ml.core.key_file`).
    """
    beside = root / KEY_NAME
    return read_key(beside) if os.path.lexists(beside) else _load_or_make_key(str(root.resolve()))


def load_service_key(url: str) -> bytes:
    """The key of a DICOMweb service, kept for this user as that of a repository is, and named after its address."""
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
    """The folder of keys, open to its owner alone. Raises UserError where a named one is open to others."""
    folder = get_keys_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        if folder.stat().st_mode & 0o077 and not os.environ.get(KEYS_VARIABLE):
            folder.chmod(PRIVATE_FOLDER)  # our own, as earlier versions made it
        open_to_others = folder.stat().st_mode & 0o077
    except OSError as error:
        raise make_target_error(folder, error) from error
    if open_to_others:
        raise UserError(f"{folder} is open to other users, and keys lie there; close it: chmod 700 {folder}")
    return folder


def make_pseudonym(key: bytes, *identifier: str) -> str:
    """Twelve hexadecimal digits that stand for an identifier: HMAC-SHA256 under the repository's key."""
    text = "\x1f".join(identifier).encode("utf-8", "surrogateescape")
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:12]


def compute_key_fingerprint(key: bytes) -> str:
    """What tells one key from another in what was written under it, and gives away neither."""
    return make_pseudonym(key, "fingerprint of the key")


def check_key(fingerprint: str, key: bytes, place: Path) -> None:
    """Refuse to go on under another key in a place where results of one key lie.

    Args:
        fingerprint: of the key under which ``place`` was written; "" where an earlier version did not say.
        key: the key of now.
        place: a copy or a folder of results, for the error.

    Raises:
        UserError: it is another key: one patient would get two pseudonyms.
    """
    if fingerprint in ("", compute_key_fingerprint(key)):
        return
    kept = find_kept_key(fingerprint)
    remedy = f"it is {kept}" if kept else "look for it where the folder or its source lay before"
    raise UserError(
        f"{place} was written under another key, so that one patient would get two pseudonyms; lay that key as "
        f"{KEY_NAME} into the folder that it belongs to ({remedy}), or choose another folder"
    )


def find_kept_key(fingerprint: str) -> Path | None:
    """The key of that fingerprint among those kept for this user."""
    return find_key(get_keys_folder(), lambda key: compute_key_fingerprint(key) == fingerprint)


def compute_shift_days(key: bytes, patient: str) -> int:
    """By how many days a patient's dates are moved in what is written: one to 365 back, the same for all of them.

    ``patient`` is the pseudonym. Intervals of days within a patient stay true.
    """
    digest = hmac.new(key, f"days\x1f{patient}".encode(), hashlib.sha256).digest()
    return -1 - int.from_bytes(digest[:8], "big") % 365


def coarsen_time(key: bytes, patient: str, time: datetime) -> datetime:
    """A time as it is written down: its day moved by :func:`compute_shift_days`, and cut off to the hour.

    A time of day to the second finds its row in the log of any PACS.
    """
    return time.replace(minute=0, second=0, microsecond=0) + timedelta(days=compute_shift_days(key, patient))

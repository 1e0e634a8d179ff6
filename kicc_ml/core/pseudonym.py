"""One key per repository turns identifiers into pseudonyms; the key stays with the consortium."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

KEY_NAME = ".kicc-key"


def repository_key(root: Path) -> bytes:
    """The key of a repository: ``root/.kicc-key`` if the consortium laid one there, else one kept for this user.

    A source is never written to: a key that has to be made lies under ``$KICC_KEYS`` (default
    ``~/.config/kicc_ml/keys``), named after the repository's path, readable by its owner alone.
    """
    beside = root / KEY_NAME
    if beside.is_file():
        return beside.read_bytes().strip()
    return _kept_key(str(root.resolve()))


def service_key(url: str) -> bytes:
    """The key of a DICOMweb service, kept for this user as that of a repository is, and named after its address."""
    return _kept_key(url)


def _kept_key(source: str) -> bytes:
    folder = Path(os.environ.get("KICC_KEYS", Path.home() / ".config" / "kicc_ml" / "keys"))
    kept = folder / hashlib.sha256(source.encode()).hexdigest()[:16]
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _create_once(kept, secrets.token_hex(32).encode())
    return kept.read_bytes().strip()


def _create_once(path: Path, content: bytes) -> None:
    """Write ``path`` whole, or leave the one a parallel process was first to make."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.touch(mode=0o600)
    partial.write_bytes(content)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def pseudonym(key: bytes, *identifier: str) -> str:
    """Twelve hexadecimal digits that stand for an identifier: HMAC-SHA256 under the repository's key."""
    return hmac.new(key, "\x1f".join(identifier).encode(), hashlib.sha256).hexdigest()[:12]


def shift_days(key: bytes, patient: str) -> int:
    """By how many days a patient's dates are moved in what is written: one to 365 back, the same for all of them.

    ``patient`` is the pseudonym. Intervals within a patient, and the time of day, stay true.
    """
    digest = hmac.new(key, f"days\x1f{patient}".encode(), hashlib.sha256).digest()
    return -1 - int.from_bytes(digest[:8], "big") % 365

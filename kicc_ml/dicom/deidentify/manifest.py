"""What lies in a copy, made from what and under which keys; one process at a time writes it.

The manifest is a hidden file of the copy. It holds nothing of a source but digests under the source's key, which say
something only to who has both. Only what it names is ever taken away.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kicc_ml.core.errors import TargetError, UserError, make_target_error
from kicc_ml.core.files import remove_stale_partials, write_text
from kicc_ml.core.locks import hold
from kicc_ml.core.path_names import resolve_subfolder
from kicc_ml.core.pseudonym import check_key, compute_key_fingerprint, make_pseudonym

MANIFEST, LOCK = ".kicc-export.json", ".kicc-export.lock"
FORMAT = 1
#: Part of every digest: raise it when the rules of de-identification change, so that files are written anew.
RULES = "2"
#: What an export writes into a folder of the manifest; anything else there is somebody's own.
SUFFIXES = (".dcm", ".nii.gz")
#: As often the manifest is brought up to date; what is not in it when an export is killed is written anew.
SAVED_EVERY_S = 10.0


class Entry(NamedTuple):
    """One file of a copy: digest of its source, what the source looked like on disk, and bytes of the copy."""

    digest: str
    state: str
    size: int


@dataclass
class CopyFolder:
    """The folder of a copy and what was written there: for each folder in it the files by name."""

    root: Path
    fingerprints: list[str]
    folders: dict[str, dict[str, Entry]] = field(default_factory=dict)
    removed_files: int = 0
    _saved_at: float = 0.0

    def folder(self, name: str) -> Path:
        """The place of a folder ``site/patient/series`` or ``masks/series``, which lies within the copy."""
        place = self.root
        for part in name.split("/"):
            place = resolve_subfolder(place, part, "a folder of the copy")
        return place

    def reserve_folders(self, folders: Collection[str]) -> None:
        """Say that these are about to be written, before they are: what a killed export leaves there is its own."""
        for name in folders:
            self.folder(name)
            self.folders.setdefault(name, {})
        self.save()

    def record_files(self, folder: str, written: Mapping[str, Entry]) -> None:
        """What now lies in a folder; every other file that an export wrote there is taken away."""
        place = self.folder(folder)
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.name.endswith(SUFFIXES) and path.name not in written and not path.is_dir():
                self._remove(path)
        self.folders[folder] = dict(written)
        if not written:
            del self.folders[folder]
            self._remove_empty(place)
        else:
            remove_stale_partials(place)
        if time.monotonic() - self._saved_at > SAVED_EVERY_S:
            self.save()

    def remove_others(self, wanted: Collection[str], masks: bool) -> None:
        """Empty the folders of series, or of masks, that are not wanted any more."""
        for name in sorted(self.folders):
            if name.startswith("masks/") == masks and name not in wanted:
                self.record_files(name, {})

    def save(self) -> None:
        content = {"format": FORMAT, "keys": self.fingerprints, "folders": self.folders}
        write_text(self.root / MANIFEST, json.dumps(content))
        self._saved_at = time.monotonic()

    def _remove(self, path: Path) -> None:
        try:
            path.unlink()
        except OSError as error:
            raise make_target_error(path, error) from error
        self.removed_files += 1

    def _remove_empty(self, place: Path) -> None:
        with suppress(OSError):  # somebody's own file lies there, or the folder was never made
            while place != self.root:
                place.rmdir()
                place = place.parent


@contextmanager
def open_copy(out: Path, keys: Collection[bytes]) -> Iterator[CopyFolder]:
    """The copy in ``out``, to be written by this process alone.

    Args:
        out: a new or empty folder, or one that an export wrote.
        keys: of all sources that are written.

    Raises:
        Busy: another process writes it.
        TargetError: it cannot be written.
        UserError: other things lie there, or it was written under another key.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise make_target_error(out, error) from error
    with hold(out / LOCK, f"the copy {out}"):
        copy = _read_manifest(out, keys)
        copy.save()
        try:
            yield copy
        except BaseException:
            with suppress(TargetError):  # what ended the export is said, not that the disk is full for this too
                copy.save()
            raise
        copy.save()


def is_unchanged(path: Path, entry: Entry) -> bool:
    """Whether a file lies in the copy as it was written."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size == entry.size


def compute_source_digest(key: bytes, content: bytes, *how: str) -> str:
    """Of a source's content and of how it is copied; it says nothing without the key."""
    digest = hmac.new(key, "\x1f".join((RULES, *how)).encode(), hashlib.sha256)
    digest.update(content)
    return digest.hexdigest()[:32]


def compute_source_state(key: bytes, path: Path, *how: str) -> str:
    """What tells on disk that a source is still the same, without reading it. Raises OSError."""
    status = path.stat()
    seen = (str(path.resolve()), str(status.st_size), str(status.st_mtime_ns), str(status.st_ctime_ns))
    return make_pseudonym(key, RULES, *seen, *how)


def _read_manifest(out: Path, keys: Collection[bytes]) -> CopyFolder:
    fingerprints = sorted(set(map(compute_key_fingerprint, keys)))
    path = out / MANIFEST
    if not path.exists():
        if any(entry.name[0] != "." for entry in out.iterdir()):
            raise UserError(f"{out} is not empty, and holds no copy that this version wrote; choose another folder")
        return CopyFolder(out, fingerprints)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("another format")
        before = [str(fingerprint) for fingerprint in content["keys"]]
        folders = {
            str(name): {
                str(file): Entry(str(digest), str(state), int(size)) for file, (digest, state, size) in files.items()
            }
            for name, files in content["folders"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is damaged; remove {out} and export again") from None
    for fingerprint in before:
        if fingerprint not in fingerprints:
            check_key(fingerprint, b"", out)
    copy = CopyFolder(out, fingerprints, folders)
    for name in folders:  # a manifest that was tampered with would have files elsewhere taken away
        copy.folder(name)
    return copy

"""The manifest of a copy: which files it holds, from which sources, under which keys. One process at a time writes it.

The manifest is a hidden file of the copy. Of the sources it holds only digests under their key, which are useless
without the key. Only files in folders of the manifest are ever removed.
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
#: Part of every digest: increase it when the rules of de-identification change, so that files are written again.
RULES = "2"
#: Suffixes of files that an export writes; other files in its folders belong to somebody else.
SUFFIXES = (".dcm", ".nii.gz")
#: Seconds between updates of the manifest; files that are not in it when an export is killed are written again.
SAVED_EVERY_S = 10.0


class Entry(NamedTuple):
    """One file of a copy: digest of its source, state of the source on disk, and size of the copy in bytes."""

    digest: str
    state: str
    size: int


@dataclass
class CopyFolder:
    """The folder of a copy, and its files by folder and name."""

    root: Path
    fingerprints: list[str]
    folders: dict[str, dict[str, Entry]] = field(default_factory=dict)
    removed_files: int = 0
    _saved_at: float = 0.0

    def folder(self, name: str) -> Path:
        """Return the path of a folder ``site/patient/series`` or ``masks/series``, checked to lie within the copy."""
        place = self.root
        for part in name.split("/"):
            place = resolve_subfolder(place, part, "a folder of the copy")
        return place

    def reserve_folders(self, folders: Collection[str]) -> None:
        """Record folders before they are written, so that files of a killed export are recognised later."""
        for name in folders:
            self.folder(name)
            self.folders.setdefault(name, {})
        self.save()

    def record_files(self, folder: str, written: Mapping[str, Entry]) -> None:
        """Record the files of a folder, and remove every other file that an export wrote there."""
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
        """Write the manifest as a whole."""
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
    """Open a copy that only this process writes.

    Args:
        out: a new or empty folder, or one that an export wrote.
        keys: the keys of all sources.

    Raises:
        Busy: another process writes the copy.
        TargetError: the copy cannot be written.
        UserError: the folder holds other files, or was written under another key.
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
            with suppress(TargetError):  # the first error is reported, not that this cannot be written either
                copy.save()
            raise
        copy.save()


def is_unchanged(path: Path, entry: Entry) -> bool:
    """Whether a file of the copy exists with the size with which it was written."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size == entry.size


def compute_source_digest(key: bytes, content: bytes, *how: str) -> str:
    """Compute a keyed digest of a source's content and of the settings of its copy."""
    digest = hmac.new(key, "\x1f".join((RULES, *how)).encode(), hashlib.sha256)
    digest.update(content)
    return digest.hexdigest()[:32]


def compute_source_state(key: bytes, path: Path, *how: str) -> str:
    """Compute a keyed digest of path, size and times of a source, which shows a change without reading the file.

    Raises:
        OSError: the source does not exist.
    """
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

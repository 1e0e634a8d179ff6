"""Walk through all files below a folder and check links. A bad entry is reported, and nothing outside is read."""

import os
import zlib
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.index.header_table import FoundFile

#: Folders and files right under a repository that hold no source images.
NOT_SITE_FOLDERS = {"masks", "truth"}
CLINICAL_TABLE = "clinical.csv"


def walk(root: Path) -> Iterator[FoundFile]:
    """Iterate over the regular files below ``root`` in order of path. The first folder is the site.

    Names that begin with a dot are left out. An entry that is neither file nor folder, or that cannot be read, is
    returned as a file with a ``fault``. So is a link, unless it leads to a place in ``root`` that is left out itself
    (a dot folder, as tools for data versions use): such a link is followed, and each folder is entered once.

    Raises:
        UserError: ``root`` itself cannot be opened.
    """
    links = _Links(root)
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        site = inside.partition(os.sep)[0]
        try:
            entries = _list_entries(root / inside)
        except OSError as error:
            if not inside:
                raise UserError(f"{root} cannot be opened: {error.strerror}") from error
            yield make_found_fault(inside, site, "closed_folder")
            continue
        folders = []
        for entry in entries:
            path = f"{inside}{os.sep}{entry.name}" if inside else entry.name
            found = _classify_entry(entry, path, site, links)
            if found is None:
                folders.append(path)
            elif path != CLINICAL_TABLE and path not in NOT_SITE_FOLDERS:
                yield found
        waiting += [folder for folder in reversed(folders) if folder not in NOT_SITE_FOLDERS]


def make_found_file(path: str, site: str, status: os.stat_result, name: str = "") -> FoundFile:
    """Describe a file by its path, site and state on the disk."""
    return FoundFile(path, site, status.st_size, status.st_mtime_ns, status.st_ctime_ns, name)


def make_found_fault(path: str, site: str, fault: str, name: str = "") -> FoundFile:
    """Make the entry of a file that is not opened. The reason replaces the times, so that a cache sees a change."""
    return FoundFile(path, site, -1, 0, zlib.crc32(fault.encode()), name, fault)


def is_source_file(parts: Sequence[str]) -> bool:
    """Whether :func:`walk` would return a file, by the parts of its path."""
    visible = all(part and part[0] != "." for part in parts)
    return visible and parts[0] not in (NOT_SITE_FOLDERS if len(parts) > 1 else {CLINICAL_TABLE})


def _list_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted([entry for entry in entries if entry.name[0] != "."], key=attrgetter("name"))


def _classify_entry(entry: os.DirEntry[str], path: str, site: str, links: "_Links") -> FoundFile | None:
    """Classify an entry as a file or a fault; None if it is a folder to walk through."""
    try:
        if entry.is_symlink():
            return links.follow(entry.path, path, site)
        if entry.is_dir(follow_symlinks=False):
            return make_found_fault(path, site, "linked_twice") if links.has_entered(entry.path) else None
        if entry.is_file(follow_symlinks=False):
            return make_found_file(path, site, entry.stat(follow_symlinks=False))
    except OSError:  # gone meanwhile, or closed to this account
        return make_found_fault(path, site, "unreadable")
    return make_found_fault(path, site, "special_file")


class _Links:
    """The links of one walk, and the folders that were entered through a link."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._entered: set[str] = set()

    def follow(self, link: str, path: str, site: str) -> FoundFile | None:
        """Follow a link: returns its file, None for a folder to walk through, or a fault."""
        try:
            target = os.path.realpath(link, strict=True)
        except OSError:
            return make_found_fault(path, site, "broken_link")
        if (fault := self._find_fault(target)) is not None:
            return make_found_fault(path, site, fault)
        if os.path.isdir(target):
            self._entered.add(target)
            return None
        if os.path.isfile(target):
            return make_found_file(path, site, os.stat(target))
        return make_found_fault(path, site, "special_file")

    def has_entered(self, folder: str) -> bool:
        """Whether a link has led into this folder before."""
        return bool(self._entered) and os.path.realpath(folder) in self._entered

    def _find_fault(self, target: str) -> str | None:
        if target != self._root and not target.startswith(os.path.join(self._root, "")):
            return "link_outside"
        parts = os.path.relpath(target, self._root).split(os.sep)
        is_walked = (
            target == self._root
            or is_source_file(parts)
            or parts in ([CLINICAL_TABLE], *([name] for name in NOT_SITE_FOLDERS))
        )
        return "linked_twice" if is_walked or self._is_below_entered(target) else None

    def _is_below_entered(self, target: str) -> bool:
        return any(target == folder or target.startswith(os.path.join(folder, "")) for folder in self._entered)

"""Comparison of the files of a public set in a folder with the published numbers."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kicc_ml.cohort.public.known_sets import KnownSet, Part, Published, known_sets
from kicc_ml.cohort.public.nifti_files import LFS_REMEDY, NOT_DATA, is_lfs_pointer
from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import format_count

#: The number found compared with the published number; "unknown" if no number was published.
State = Literal["complete", "missing", "partial", "more", "unknown"]
#: The name of the part of a set that consists of its tables.
TABLES = "tables"
#: A Git LFS pointer has about 130 bytes.
MAX_POINTER_BYTES = 1024


@dataclass(frozen=True)
class Counted:
    """The number of things found (``what``), with the published numbers."""

    what: str
    found: int
    published: Published

    @property
    def state(self) -> State:
        """Comparison of the number found with the published numbers."""
        expected = _numbers(self.published)
        if not expected:
            return "unknown" if self.found else "missing"
        if self.found in expected.values():
            return "complete"
        if not self.found:
            return "missing"
        return "partial" if self.found < max(expected.values()) else "more"

    @property
    def published_in_words(self) -> str:
        """The published numbers in words, with the name of each release."""
        expected = _numbers(self.published)
        return ", ".join(f"{number:,} ({name})" if name else f"{number:,}" for name, number in expected.items())


@dataclass(frozen=True)
class Checked:
    """The contents of a folder compared with a set.

    Attributes:
        counts: the number found of each part of the set.
        faults: one sentence for each fault of the files that are present, with its remedy.
    """

    counts: tuple[Counted, ...]
    faults: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether no file is faulty and no part is missing or partial."""
        return not self.faults and all(one.state not in ("missing", "partial") for one in self.counts)


def check_files(known: KnownSet, folder: Path) -> Checked:
    """Count the files of each part of a set below a folder; only the first bytes of small files are read.

    Raises:
        UserError: the folder does not exist, or holds no file of the set; the message names the set that it may be.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the one into which {known.title} was unpacked")
    files = list(_files_below(folder))
    counts = tuple(Counted(part.what, len(_found(part, files)), part.published) for part in known.parts)
    if not any(one.found for one in counts):
        others = [other.name for other in known_sets().values() if any(_found(part, files) for part in other.parts)]
        hint = f"it looks like {' or '.join(others)}" if others else f"kicc-ml datasets says how to get {known.name}"
        wanted = ", ".join(one.what for one in counts)
        raise UserError(f"{folder} holds nothing of {known.name} ({wanted}); {hint}")
    return Checked(counts, tuple(_faults(known, folder, files)))


def find_tables(known: KnownSet, folder: Path) -> list[str]:
    """List the paths of the set's tables below a folder."""
    parts = [part for part in known.parts if part.what == TABLES]
    return [file for part in parts for found in _found(part, list(_files_below(folder))).values() for file in found]


def _files_below(folder: Path) -> Iterator[str]:
    """List paths below a folder. Hidden files and folders are skipped; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in NOT_DATA)
        inside = Path(place).relative_to(folder)
        yield from ((inside / name).as_posix() for name in sorted(names) if name[0] != ".")


def _found(part: Part, files: Sequence[str]) -> dict[str, list[str]]:
    """Group the files of a part by the value of the group ``counted`` of its pattern, else by file."""
    pattern = re.compile(part.path)
    found: dict[str, list[str]] = {}
    for file in files:
        if match := pattern.search(file.lower()):
            found.setdefault(match.groupdict().get("counted") or file, []).append(file)
    return found


def _faults(known: KnownSet, folder: Path, files: Sequence[str]) -> Iterator[str]:
    """List the faults of a set's files: empty files and Git LFS pointers."""
    of_set = sorted({file for part in known.parts for found in _found(part, files).values() for file in found})
    sizes = {file: (folder / file).stat().st_size for file in of_set if (folder / file).is_file()}
    empty = [file for file, size in sizes.items() if size == 0]
    pointers = [file for file, size in sizes.items() if 0 < size < MAX_POINTER_BYTES and is_lfs_pointer(folder / file)]
    if empty:
        yield f"{format_count(len(empty), 'empty file')}, for example {empty[0]}; download again"
    if pointers:
        yield f"{format_count(len(pointers), 'file')} not there, for example {pointers[0]}: {LFS_REMEDY}"


def _numbers(published: Published) -> Mapping[str, int]:
    if published is None:
        return {}
    return {"": published} if isinstance(published, int) else published

"""What of a public set lies in a folder, beside what was published."""

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

#: Whether there is less or more than was published, or as much; "unknown" where no number was published.
State = Literal["complete", "missing", "partial", "more", "unknown"]
#: What the tables of a set are called among its parts.
TABLES = "tables"
#: A Git LFS pointer has about 130 bytes.
MAX_POINTER_BYTES = 1024


@dataclass(frozen=True)
class Counted:
    """How many of something were found, beside the numbers published."""

    what: str
    found: int
    published: Published

    @property
    def state(self) -> State:
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
        expected = _numbers(self.published)
        return ", ".join(f"{number:,} ({name})" if name else f"{number:,}" for name, number in expected.items())


@dataclass(frozen=True)
class Checked:
    """What a folder holds of a set; ``faults`` are what is wrong with files that are there, each with its remedy."""

    counts: tuple[Counted, ...]
    faults: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return not self.faults and all(one.state not in ("missing", "partial") for one in self.counts)


def check_files(known: KnownSet, folder: Path) -> Checked:
    """Count the files of each part of a set below a folder; nothing but the beginning of small files is read.

    Raises:
        UserError: the folder is not there, or holds nothing of the set; the error says of which set it may be.
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
    """Paths below a folder of the tables of a set."""
    parts = [part for part in known.parts if part.what == TABLES]
    return [file for part in parts for found in _found(part, list(_files_below(folder))).values() for file in found]


def _files_below(folder: Path) -> Iterator[str]:
    """Paths below a folder without hidden files and folders; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in NOT_DATA)
        inside = Path(place).relative_to(folder)
        yield from ((inside / name).as_posix() for name in sorted(names) if name[0] != ".")


def _found(part: Part, files: Sequence[str]) -> dict[str, list[str]]:
    """Files of a part by what is counted of them."""
    pattern = re.compile(part.path)
    found: dict[str, list[str]] = {}
    for file in files:
        if match := pattern.search(file.lower()):
            found.setdefault(match.groupdict().get("counted") or file, []).append(file)
    return found


def _faults(known: KnownSet, folder: Path, files: Sequence[str]) -> Iterator[str]:
    """Files of a set that hold nothing, or a Git LFS pointer."""
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

"""Files that are there whole or not at all. Every file that this project writes goes through here.

Each is written beside its place under a name that starts with a dot and is used by one process only, brought to
the disk, and then renamed. What a killed process leaves is such a hidden file, never half a result; it goes when the
same file is written a day later or after.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from kicc_ml.core.errors import FULL_ERRNOS, TARGET_ERRNOS, TargetError, is_full, iterate_causes, make_target_error
from kicc_ml.core.shown import escape_formulas, format_json, restore_formulas

#: How the name of a file or folder that is being written begins.
PARTIAL_PREFIX = ".partial-"
#: Partial files of killed processes that are older than this are taken away; nothing takes this long to write.
STALE_AFTER_S = 24 * 3600
#: Longest part of the final name that is kept in the partial one, so that a file system takes it.
MAX_NAME_CHARACTERS = 32
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
#: All that numpy says of an array that did not get its place on the disk; it drops the number of the system.
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
#: A full disk may still have room in the last block of a file.
PROBE_BYTES = 2**16


@contextmanager
def whole_file(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[Path]:
    """Give a path to write to; on success what was written there takes the place of ``path``.

    Args:
        path: the final place; its folder is made where it is not there.
        private: only the user may read the file.
        durable: bring the content to the disk before the renaming, so that a power cut leaves no empty file.

    Yields:
        the path to write to, in the same folder and with the same suffixes.

    Raises:
        TargetError: the file cannot be written (full disk, no permission).
    """
    partial = _make_partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(path.parent, path.name)
        partial.touch(mode=PRIVATE_FILE if private else 0o666)
        yield partial
        if durable:
            _sync(partial)
        os.replace(partial, path)
    except Exception as error:  # a library's own, where it has written to a full disk
        if fault := _find_own_target_error(error, path, partial):
            raise fault from error
        raise
    finally:
        _unlink(partial)


@contextmanager
def whole_folder(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[Path]:
    """Give a folder to write into; on success it becomes ``path``, which must not be there yet.

    ``private`` and ``durable`` are those of :func:`whole_file`.

    Raises:
        TargetError: it cannot be written.
        FileExistsError: another process has made ``path`` meanwhile; what was written here is gone again.
    """
    partial = _make_partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(path.parent, path.name)
        partial.mkdir(mode=PRIVATE_FOLDER if private else 0o777)
        yield partial
        for file in partial.rglob("*") if durable else ():
            if file.is_file():
                _sync(file)
        if path.is_dir():
            raise FileExistsError(path)
        partial.rename(path)
    except FileExistsError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and path.is_dir():
            raise FileExistsError(path) from error
        if fault := _find_own_target_error(error, path, partial):
            raise fault from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def temporary_folder_beside(path: Path) -> Iterator[Path]:
    """Give a hidden private folder beside ``path`` to make files in that are moved to their place afterwards."""
    partial = _make_partial_path(path)
    remove_stale_partials(path.parent, path.name)
    partial.mkdir(mode=PRIVATE_FOLDER)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_folder(path: Path, *, private: bool = False) -> Path:
    """Make a folder, and those it lies in, unless it is there; returns it.

    Args:
        path: the folder.
        private: nobody but the user may enter it, also where it was there before.

    Raises:
        TargetError: it cannot be made, or a file stands in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if private:
            path.chmod(PRIVATE_FOLDER)
    except OSError as error:
        raise make_target_error(path, error) from error
    return path


@contextmanager
def remove_new_on_failure(folder: Path) -> Iterator[None]:
    """Take away what was written into ``folder`` meanwhile where that fails. What was there before stays."""
    before = set(os.listdir(folder)) if folder.is_dir() else None
    try:
        yield
    except Exception:
        if before is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for name in set(os.listdir(folder)) - before:
                _remove(folder / name)
        raise


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with whole_file(path, private=private) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file, whole or not at all."""
    with whole_file(path, private=private) as partial:
        partial.write_bytes(content)


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write a JSON file, whole or not at all. Raises ValueError for NaN."""
    write_text(path, format_json(content) + "\n", private=private)


def write_yaml(path: Path, content: Any) -> None:
    """Write a YAML file, whole or not at all."""
    write_text(path, format_yaml([content]))


def format_yaml(documents: Sequence[Any]) -> str:
    """YAML documents as text, without aliases, since :mod:`kicc_ml.core.received` reads none."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV, whole or not at all; a text that a spreadsheet would take for a formula is escaped."""
    with whole_file(path) as partial:
        escape_formulas(table).to_csv(partial, index=False)


def read_table(path: Path, names: tuple[str, ...] = ("case_id", "site", "fold")) -> pd.DataFrame:
    """Read a CSV that :func:`write_table` wrote.

    Columns in ``names`` stay text, also where they look like numbers (``01``) or like nothing (``NA``).
    """
    table = pd.read_csv(path, dtype=dict.fromkeys(names, str), keep_default_na=False, na_values=[""])
    return restore_formulas(table)


def move_damaged_away(path: Path) -> None:
    """Move a damaged file or folder out of the way, where :func:`remove_stale_partials` takes it away a day later.

    Who has it open reads on. Nothing happens where it is not there any more.
    """
    with suppress(FileNotFoundError):
        aside = path.rename(_make_partial_path(path))
        os.utime(aside)


def remove_stale_partials(folder: Path, name: str = "") -> None:
    """Take away what killed processes have left in a folder a day ago or earlier, of one final ``name`` or of all."""
    ending = name[-MAX_NAME_CHARACTERS:]
    for entry in os.scandir(folder):
        if not (entry.name.startswith(PARTIAL_PREFIX) and entry.name.endswith(ending)):
            continue
        try:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime < STALE_AFTER_S:
                continue
        except OSError:  # another process took it away
            continue
        _remove(folder / entry.name)


def _make_partial_path(path: Path) -> Path:
    """A name of this process alone; the end of the final name stays, since writers choose a format by the suffix."""
    return path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name[-MAX_NAME_CHARACTERS:]}")


def _find_own_target_error(error: Exception, path: Path, partial: Path) -> TargetError | None:
    """None for an error of a source file that is read meanwhile, or of the program."""
    if isinstance(error, TargetError):
        return None  # it has its words
    if is_full(error):
        return make_target_error(path, error)
    if any(SHORT_WRITE.fullmatch(str(one)) for one in iterate_causes(error)) and (full := _error_of_more(partial)):
        return make_target_error(path, full)
    if not isinstance(error, OSError) or error.errno not in TARGET_ERRNOS:
        return None
    place = "" if error.filename is None else os.fsdecode(error.filename)
    own = not place or path.is_relative_to(place) or place.startswith(str(partial))
    return make_target_error(path, error) if own else None


def _error_of_more(partial: Path) -> OSError | None:
    """The error of the system where the file that was written last can take no more; None where it can."""
    files = [partial] if partial.is_file() else [file for file in partial.rglob("*") if file.is_file()]
    try:
        with max(files, key=lambda file: file.stat().st_mtime_ns).open("ab") as last:
            last.write(bytes(PROBE_BYTES))
            last.flush()
            os.fsync(last.fileno())
    except OSError as error:
        return error if error.errno in FULL_ERRNOS else None
    return None


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """A file, a link or a folder with all in it; what a link leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        _unlink(path)


def _unlink(file: Path) -> None:
    with suppress(OSError):  # the disk is read-only or gone: the error that brought us here says so
        file.unlink(missing_ok=True)

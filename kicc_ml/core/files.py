"""Write files completely or not at all. Every file that this project writes is written by this module.

A file is first written beside its final place, under a hidden name that only one process uses. It is then synced to
the disk and renamed. A killed process can therefore leave a hidden file but never half a result. Such a hidden file is
removed when the same file is written again at least a day later.
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

#: Prefix of the name of a file or folder that is being written.
PARTIAL_PREFIX = ".partial-"
#: Partial files that are older than this are removed: no file takes this long to write.
STALE_AFTER_S = 24 * 3600
#: Characters of the final name that are part of the partial name; more could exceed the limit of a file system.
MAX_NAME_CHARACTERS = 32
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
#: All that numpy says of an array that did not get its place on the disk; it drops the number of the system.
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
#: A full disk may still have room in the last block of a file.
PROBE_BYTES = 2**16


@contextmanager
def whole_file(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to ``path`` on success.

    Args:
        path: the final path; its folder is created if needed.
        private: make the file readable for its owner only.
        durable: sync the content to the disk before the renaming, so that a power cut leaves no empty file.

    Yields:
        the temporary path, in the same folder and with the same suffixes.

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
    """Yield a temporary folder to write into, and rename it to ``path`` on success.

    Args:
        path: the final folder, which must not exist yet.
        private: make the folder accessible for its owner only.
        durable: sync all files to the disk before the renaming.

    Yields:
        the temporary folder.

    Raises:
        TargetError: the folder cannot be written.
        FileExistsError: another process has made ``path`` in the meantime; what was written here is removed.
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
    """Yield a hidden private folder beside ``path`` for files that are moved to their final place later."""
    partial = _make_partial_path(path)
    remove_stale_partials(path.parent, path.name)
    partial.mkdir(mode=PRIVATE_FOLDER)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_folder(path: Path, *, private: bool = False) -> Path:
    """Make a folder and its parents if they do not exist, and return it.

    Args:
        path: the folder.
        private: nobody but the user may enter it, also where it was there before.

    Raises:
        TargetError: the folder cannot be made, or a file has its name.
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
    """Remove what the block has written into ``folder`` if the block fails. What was there before stays."""
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
    """Write a text file in UTF-8, completely or not at all."""
    with whole_file(path, private=private) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a binary file, completely or not at all."""
    with whole_file(path, private=private) as partial:
        partial.write_bytes(content)


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write a JSON file, completely or not at all.

    Raises:
        ValueError: the content holds NaN or infinity, which JSON does not know.
    """
    write_text(path, format_json(content) + "\n", private=private)


def write_yaml(path: Path, content: Any) -> None:
    """Write a YAML file, completely or not at all."""
    write_text(path, format_yaml([content]))


def format_yaml(documents: Sequence[Any]) -> str:
    """Format YAML documents as text, without aliases, because :mod:`kicc_ml.core.received` refuses aliases."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV file, completely or not at all. Texts that a spreadsheet would run as a formula are escaped."""
    with whole_file(path) as partial:
        escape_formulas(table).to_csv(partial, index=False)


def read_table(path: Path, names: tuple[str, ...] = ("case_id", "site", "fold")) -> pd.DataFrame:
    """Read a CSV file that :func:`write_table` wrote.

    Args:
        path: the file.
        names: columns that stay text even if they look like numbers (``01``) or like missing values (``NA``).
    """
    table = pd.read_csv(path, dtype=dict.fromkeys(names, str), keep_default_na=False, na_values=[""])
    return restore_formulas(table)


def move_damaged_away(path: Path) -> None:
    """Rename a damaged file or folder, so that :func:`remove_stale_partials` removes it a day later.

    A process that has it open can read on. Nothing happens if it does not exist any more.
    """
    with suppress(FileNotFoundError):
        aside = path.rename(_make_partial_path(path))
        os.utime(aside)


def remove_stale_partials(folder: Path, name: str = "") -> None:
    """Remove partial files that killed processes left in a folder at least a day ago.

    Args:
        folder: the folder.
        name: remove only partial files of this final name; "" means all.
    """
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
    """Make a name that only this process uses. The end of the final name stays: writers need the suffix."""
    return path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name[-MAX_NAME_CHARACTERS:]}")


def _find_own_target_error(error: Exception, path: Path, partial: Path) -> TargetError | None:
    """Find the target error behind an error; None for an error of a source file or of the program."""
    if isinstance(error, TargetError):
        return None  # it has its words
    if is_full(error):
        return make_target_error(path, error)
    if any(SHORT_WRITE.fullmatch(str(cause)) for cause in iterate_causes(error)) and (full := _error_of_more(partial)):
        return make_target_error(path, full)
    if not isinstance(error, OSError) or error.errno not in TARGET_ERRNOS:
        return None
    place = "" if error.filename is None else os.fsdecode(error.filename)
    own = not place or path.is_relative_to(place) or place.startswith(str(partial))
    return make_target_error(path, error) if own else None


def _error_of_more(partial: Path) -> OSError | None:
    """Return the error of the system if the file that was written last can take no more; None if it can."""
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
    """Remove a file, a link, or a folder with its content. The target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        _unlink(path)


def _unlink(file: Path) -> None:
    with suppress(OSError):  # the disk is read-only or gone: the error that brought us here says so
        file.unlink(missing_ok=True)

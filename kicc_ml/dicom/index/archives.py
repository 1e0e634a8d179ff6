"""Unpack zip files, given as sources or found in a source, once into a private folder of the user's cache."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from kicc_ml.core.errors import make_target_error
from kicc_ml.core.files import PRIVATE_FOLDER, move_damaged_away, remove_stale_partials, whole_folder
from kicc_ml.core.locks import hold
from kicc_ml.core.user_folders import get_cache_folder
from kicc_ml.dicom.header.shown_path import decode_path
from kicc_ml.dicom.index.header_table import FoundFile
from kicc_ml.dicom.index.unpack import SUFFIX, Allowance, Member, NotUnpacked, is_zip, read_members, unpack
from kicc_ml.dicom.index.walk import make_found_fault, make_found_file

#: Days after its last use when an unpacked zip file is removed.
MAX_UNUSED_DAYS = 30


def unpack_archive(archive: Path, allowance: Allowance | None = None) -> Path:
    """Unpack a zip file into the user's cache, unless that was done before, and return the folder.

    The folder is made again when the archive has changed. It holds all that the archive holds, names of patients
    included, and only its owner can read it. It is removed when it was not used for :data:`MAX_UNUSED_DAYS` days. Of
    several processes one unpacks and the others wait. A complete folder is never replaced.

    Args:
        archive: a zip file.
        allowance: how much the zip files of one source may unpack to together; None for this zip file alone.

    Returns:
        the folder that holds the unpacked files.

    Raises:
        NotUnpacked: the zip file is damaged as a whole, encrypted, no export, or unpacks to more than is allowed.
        TargetError: the cache cannot be written. No part of the attempt is left.
    """
    allowance = Allowance() if allowance is None else allowance
    status = archive.stat()
    state = f"{archive.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    folder = _get_zip_cache() / hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    allowance.packed += status.st_size
    if _is_unpacked(folder, allowance):
        return folder
    _make_room(folder.parent)
    with hold(folder.with_name(f".{folder.name}.lock"), f"the unpacked {archive.name}", wait=True):
        if not _is_unpacked(folder, allowance):  # else another process has made it meanwhile
            _unpack(archive, folder, allowance, status.st_size)
    return folder


def _is_unpacked(folder: Path, allowance: Allowance) -> bool:
    """Whether an archive is unpacked completely; its unpacked size is then added to what was spent."""
    if (members := read_members(folder)) is None:
        return False
    allowance.spent += sum(member.size for member in members)
    os.utime(folder)
    return True


def _unpack(archive: Path, folder: Path, allowance: Allowance, packed_bytes: int) -> None:
    if folder.exists():  # somebody took files out of it
        move_damaged_away(folder)
    before = allowance.spent
    try:
        with suppress(FileExistsError), whole_folder(folder, private=True) as partial:
            unpack(archive, partial, allowance)
    except NotUnpacked:  # nothing is left of it
        allowance.spent = before
        allowance.packed -= packed_bytes
        raise


def list_members(folder: Path, archive: str = "", site: str = "") -> Iterator[FoundFile]:
    """List the files of an unpacked zip file in order of their names.

    Args:
        folder: the folder that :func:`unpack_archive` returned.
        archive: path of the zip file below the root of a source, if it was found there; "" if it is the source.
        site: the hospital in whose folder the zip file lies; if "", the first folder in the zip is the hospital.
    """
    for member in read_members(folder) or ():
        path = str(folder / member.path) if archive else member.path
        name = f"{decode_path(archive)}/{member.name}" if archive else member.name
        yield _make_found(folder, member, path, site or member.site, name)


def open_zips(root: Path, files: Iterable[FoundFile]) -> Iterator[FoundFile]:
    """Replace the zip files among ``files`` by the files in them. One that cannot be opened stays, with its fault.

    Args:
        root: the source.
        files: files below it.
    """
    allowance = Allowance()
    for file in files:
        if file.fault or not file.path.lower().endswith(SUFFIX):
            yield file
            continue
        try:
            folder = unpack_archive(root / file.path, allowance) if is_zip(root / file.path) else None
        except NotUnpacked as refusal:
            yield make_found_fault(file.path, file.site, refusal.code)
        except OSError:  # gone meanwhile, or closed to this account
            yield make_found_fault(file.path, file.site, "unreadable")
        else:
            yield from list_members(folder, file.path, file.site) if folder else (file,)


def _make_found(folder: Path, member: Member, path: str, site: str, name: str) -> FoundFile:
    if member.fault:
        return make_found_fault(path, site, member.fault, name)
    try:
        return make_found_file(path, site, (folder / member.path).stat(), name)
    except OSError:  # somebody clears the cache meanwhile
        return make_found_fault(path, site, "unreadable", name)


def _get_zip_cache() -> Path:
    return Path(os.path.abspath(get_cache_folder())) / "zip"


def _make_room(cache: Path) -> None:
    """Make the cache, and remove unpacked zip files that were not used for a long time."""
    try:
        cache.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise make_target_error(cache, error) from error
    remove_stale_partials(cache)
    for folder in cache.glob("[0-9a-f]*"):
        with suppress(OSError):  # another process takes it away
            if time.time() - folder.stat().st_mtime > MAX_UNUSED_DAYS * 24 * 3600:
                shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.{os.getpid()}")), ignore_errors=True)

"""DICOM files in a zip file, unpacked into a private folder under numbers: no name in it is ever a path here."""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.user_folders import user_cache
from kicc_ml.dicom.header.shown_path import readable
from kicc_ml.dicom.index.header_table import FoundFile
from kicc_ml.dicom.index.walk import found_file, is_source

#: Slices without an object shrink a thousandfold, whole exports three- to tenfold.
MAX_RATIO = 100
#: Below this a high ratio does no harm.
HARMLESS_BYTES = 64 * 2**20
MAX_MEMBER_BYTES = 8 * 2**30
FILES_A_FOLDER = 1000
CHUNK_BYTES = 2**20
NAMES = ".names.json"
#: Bits of the flags of a member (APPNOTE 4.4.4).
ENCRYPTED, UTF_8 = 0x1, 0x800


def unpacked(archive: Path) -> Path:
    """The folder with the files of ``archive``, made at first use and anew when the archive has changed.

    It holds what the archive holds, names of patients included, readable by its owner alone. Raises UserError
    for a zip file that is damaged as a whole, encrypted, or unfolds beyond :data:`MAX_RATIO`.
    """
    status = archive.stat()
    state = f"{archive.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    folder = user_cache() / "zip" / hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    if not (folder / NAMES).is_file():
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as partial:
            _unpack(archive, Path(partial))
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(partial, folder)
            Path(partial).mkdir()  # for the context manager to remove
    return folder


def members(folder: Path) -> Iterator[FoundFile]:
    """The files of an :func:`unpacked` folder, in order of their names; the first folder in the zip is the site."""
    for path, name in json.loads((folder / NAMES).read_text()).items():
        yield found_file(path, name.partition("/")[0] if "/" in name else "", (folder / path).stat(), name)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as source:
            _write_members(source, archive, folder)
    except zipfile.BadZipFile as error:
        raise UserError(f"{archive}: not a sound zip file ({error}); copy or pack it again") from error


def _write_members(source: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    wanted = sorted(((name, info) for info in source.infolist() if (name := _name(info))), key=itemgetter(0))
    if any(info.flag_bits & ENCRYPTED for _, info in wanted):
        raise UserError(f"{archive}: the zip file is encrypted; unpack it and give the folder")
    left = max(MAX_RATIO * archive.stat().st_size, HARMLESS_BYTES)
    names = {}
    for number, (name, info) in enumerate(wanted):
        path = f"{number // FILES_A_FOLDER:04d}/{number % FILES_A_FOLDER:03d}"
        names[path] = name
        (folder / path).parent.mkdir(exist_ok=True)
        left -= _write_member(source, info, folder / path, min(left, MAX_MEMBER_BYTES))
        if left < 0:
            raise UserError(f"{archive}: unfolds to more than {MAX_RATIO} times its size, as no images do; left alone")
    (folder / NAMES).write_text(json.dumps(names))


def _name(info: zipfile.ZipInfo) -> str:
    """The name of a member for people; "" of what a scan of folders would pass over."""
    name = info.filename
    if not info.flag_bits & UTF_8:  # zipfile took it for code page 437, of which every byte is a letter
        name = readable(os.fsdecode(name.encode("cp437")))
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "" if info.is_dir() or not parts or not is_source(parts) else "/".join(parts)


def _write_member(source: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, limit: int) -> int:
    """Bytes written, at most one chunk over ``limit``. What is damaged is left short, for the index to say so."""
    written = 0
    with path.open("wb") as target:
        try:
            with source.open(info) as member:
                while written <= limit and (chunk := member.read(CHUNK_BYTES)):
                    target.write(chunk)
                    written += len(chunk)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError):
            target.truncate(0)
    return written

"""Unpack zip files, and zip files in them, to numbered files: no name in a zip file becomes a path."""

import json
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from operator import itemgetter
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.header.shown_path import decode_path
from kicc_ml.dicom.index.walk import is_source_file
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.series.remedies import REMEDIES

#: Maximum ratio of unpacked to packed size: empty slices shrink a thousandfold, whole exports three- to tenfold.
MAX_RATIO = 100
#: Unpacked size below which a high ratio is harmless.
HARMLESS_BYTES = 64 * 2**20
MAX_MEMBER_BYTES = 8 * 2**30
MAX_MEMBERS = 10**6
#: Maximum depth of zip files in zip files: exports have two levels, and some malicious zip files contain themselves.
MAX_DEPTH = 3
FILES_PER_FOLDER = 1000
CHUNK_BYTES = 2**20
NAMES_FILE = ".names.json"
SUFFIX = ".zip"
#: Bits of the flags of a member (APPNOTE 4.4.4).
ENCRYPTED, UTF_8 = 0x1, 0x800
#: Signature of a zip file, and first members of spreadsheets and documents (ECMA-376, OpenDocument).
MAGIC = b"PK\3\4"
OFFICE_MEMBERS = frozenset({"[Content_Types].xml", "mimetype"})
READABLE_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
#: Errors of zipfile and the decompressors for damaged bytes.
DAMAGE_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError)


class NotUnpacked(UserError):
    """A zip file that is not unpacked; ``code`` is the reason."""

    def __init__(self, archive: str, code: str) -> None:
        super().__init__(f"{archive}: {REASONS[code]}; {REMEDIES[code]}")
        self.code = code


@dataclass
class Allowance:
    """Limit for the unpacked bytes of all zip files of one source, relative to their packed size."""

    packed: int = 0
    spent: int = 0

    @property
    def left(self) -> int:
        """Return how many more bytes may be unpacked."""
        return max(MAX_RATIO * self.packed, HARMLESS_BYTES) - self.spent


@dataclass(frozen=True)
class Member:
    """A file of a zip: its path after unpacking, its size, its name to show, its site, and its fault."""

    path: str
    size: int
    name: str
    site: str
    fault: str = ""


@dataclass
class _Unpacking:
    """State while one zip file of a source is unpacked into ``folder``."""

    archive: str
    folder: Path
    allowance: Allowance
    members: list[Member] = field(default_factory=list)
    written: int = 0

    def next_path(self) -> str:
        path = f"{self.written // FILES_PER_FOLDER:04d}/{self.written % FILES_PER_FOLDER:03d}"
        self.written += 1
        if self.written > MAX_MEMBERS:
            raise NotUnpacked(self.archive, "unfolding_zip")
        (self.folder / path).parent.mkdir(exist_ok=True)
        return path


def unpack(archive: Path, folder: Path, allowance: Allowance) -> None:
    """Unpack a zip file, and zip files in it, into a folder, with a list of the members for :func:`read_members`.

    A damaged member is left empty and gets a fault.

    Args:
        archive: the zip file.
        folder: an empty folder.
        allowance: how much may be unpacked.

    Raises:
        NotUnpacked: the zip file is damaged as a whole, encrypted, no export, or unpacks to more than is allowed.
        OSError: ``folder`` cannot be written.
    """
    unpacking = _Unpacking(str(archive), folder, allowance)
    _write_zip(unpacking, archive, "", (), 1)
    content = [astuple(member) for member in unpacking.members]
    (folder / NAMES_FILE).write_text(json.dumps(content), encoding="utf-8")


def read_members(folder: Path) -> list[Member] | None:
    """Read the list of members that :func:`unpack` wrote; None if the list or a file is missing or changed."""
    try:
        members = [Member(*fields) for fields in json.loads((folder / NAMES_FILE).read_text(encoding="utf-8"))]
        whole = all(os.stat(folder / member.path).st_size == member.size for member in members)
    except (OSError, ValueError, TypeError):
        return None
    return members if whole else None


def _write_zip(unpacking: _Unpacking, archive: Path, prefix: str, folders: tuple[str, ...], depth: int) -> None:
    """Unpack one zip file. ``prefix`` precedes the names of its members, ``folders`` are the folders around it."""
    shown = prefix or unpacking.archive
    try:
        with zipfile.ZipFile(archive) as source:
            for parts, info in _list_wanted_members(source, shown, folders):
                _write_member(unpacking, source, info, prefix, (folders, parts), depth)
    except DAMAGE_ERRORS as error:
        raise NotUnpacked(shown, "damaged_zip") from error


def _list_wanted_members(
    source: zipfile.ZipFile, shown: str, folders: tuple[str, ...]
) -> list[tuple[tuple[str, ...], zipfile.ZipInfo]]:
    """List the members in order of their names, without those that a scan of folders would ignore."""
    infos = source.infolist()
    if infos and infos[0].filename in OFFICE_MEMBERS:
        raise NotUnpacked(shown, "office_file")
    named = ((_split_name(info), info) for info in infos)
    wanted = [(parts, info) for parts, info in named if parts and is_source_file((*folders, *parts))]
    if any(info.flag_bits & ENCRYPTED for _, info in wanted):
        raise NotUnpacked(shown, "encrypted_zip")
    if any(info.compress_type not in READABLE_COMPRESSIONS for _, info in wanted):
        raise NotUnpacked(shown, "other_packing")
    return sorted(wanted, key=itemgetter(0))


def _split_name(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """Split the name of a member into folders and file name, to show; () for a folder. Windows writes backslashes."""
    name = info.filename
    if not info.flag_bits & UTF_8:  # zipfile took it for code page 437, of which every byte is a letter
        name = decode_path(os.fsdecode(name.encode("cp437")))
    name = name.replace("\\", "/")
    is_folder = name.endswith("/")
    return () if is_folder else tuple(part for part in name.split("/") if part not in ("", ".", ".."))


def _write_member(
    unpacking: _Unpacking,
    source: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    prefix: str,
    place: tuple[tuple[str, ...], Sequence[str]],
    depth: int,
) -> None:
    folders, parts = place
    name = "/".join((prefix, *parts) if prefix else parts)
    above = (*folders, *parts[:-1])
    path = unpacking.next_path()
    file = unpacking.folder / path
    fault = _write_bytes(unpacking, source, info, file)
    if not fault and name.lower().endswith(SUFFIX) and is_zip(file):
        fault = _unpack_inner_zip(unpacking, file, name, above, depth)
        if not fault:
            file.unlink()
            return
    if fault:
        file.write_bytes(b"")
    unpacking.members.append(Member(path, file.stat().st_size, name, above[0] if above else "", fault))


def _unpack_inner_zip(unpacking: _Unpacking, file: Path, name: str, folders: tuple[str, ...], depth: int) -> str:
    """Unpack a zip file that lies in a zip file. Returns "", or a reason code, and then no file of it is left."""
    if depth == MAX_DEPTH:
        return "nested_zip"
    before = len(unpacking.members)
    try:
        _write_zip(unpacking, file, name, folders, depth + 1)
    except NotUnpacked as refusal:
        if refusal.code == "unfolding_zip":
            raise
        for member in unpacking.members[before:]:
            (unpacking.folder / member.path).unlink()
        del unpacking.members[before:]
        return refusal.code
    return ""


def is_zip(file: Path) -> bool:
    """Whether a file begins like a zip file, whatever its name is."""
    with file.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def _write_bytes(unpacking: _Unpacking, source: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path) -> str:
    """Write a member to a file. Returns "", or the fault of a damaged member."""
    allowance, size = unpacking.allowance, 0
    with file.open("wb") as target:
        try:
            for chunk in _read_chunks(unpacking, source, info):
                target.write(chunk)
                size += len(chunk)
                allowance.spent += len(chunk)
                if allowance.left < 0 or size > MAX_MEMBER_BYTES:
                    raise NotUnpacked(unpacking.archive, "unfolding_zip")
        except _DamagedMember:
            return "damaged_in_zip"
    return ""


class _DamagedMember(Exception):
    """The bytes of a member are not those that were packed."""


def _read_chunks(unpacking: _Unpacking, source: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Read a member in chunks. Errors here concern the zip file, never the target."""
    try:
        with source.open(info) as member:
            while chunk := member.read(CHUNK_BYTES):
                yield chunk
    except DAMAGE_ERRORS as error:
        raise _DamagedMember from error
    except OSError as error:
        if error.errno is None:  # so says bz2
            raise _DamagedMember from error
        raise NotUnpacked(unpacking.archive, "unreadable") from error

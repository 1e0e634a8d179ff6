"""Index repositories, exports and DICOMweb services: series with a verdict, from headers only unless told to decode."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import joblib
import pyarrow.compute as pc

from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import load_repository_key, load_service_key
from kicc_ml.core.types import Series
from kicc_ml.core.user_folders import get_cache_folder
from kicc_ml.dicom.header.read import Header
from kicc_ml.dicom.header.shown_path import decode_path
from kicc_ml.dicom.index.archives import list_members, open_zips, unpack_archive
from kicc_ml.dicom.index.damaged_members import refuse_beside_damage
from kicc_ml.dicom.index.header_table import FoundFile
from kicc_ml.dicom.index.scan import read_found_files
from kicc_ml.dicom.index.shown_names import hide_identity_in_path, hide_identity_in_site, hide_identity_in_text
from kicc_ml.dicom.index.unpack import SUFFIX, is_zip
from kicc_ml.dicom.index.walk import make_found_file, walk
from kicc_ml.dicom.pixels.read import find_decoding_fault
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.reasons import NOT_OPENED, REASONS
from kicc_ml.dicom.series.verdict import REFUSE, FileRow, classify_series

logger = logging.getLogger(__name__)

WEB = ("http://", "https://")


@dataclass(frozen=True)
class SourceIndex:
    """The index of one source.

    ``shown`` has the names of files that are not shown by their path under ``root``. ``marks`` are pseudonyms of the
    words by which headers name patients (:func:`kicc_ml.dicom.header.shown_path.make_identity_marks`).
    With ``true_paths`` files are named by their real path, for readers within the hospital only.
    """

    root: Path
    key: bytes
    series: Sequence[Series]
    file_rows: Sequence[FileRow]
    shown: Mapping[Path, str] = field(default_factory=dict)
    marks: frozenset[str] = frozenset()
    true_paths: bool = False

    def name_file(self, path: Path) -> str:
        """Name a file for output: by its position in a series, else by a path that names no patient."""
        if self.true_paths:
            return decode_path(str(path))
        if path in self._place_in_series:
            one, number = self._place_in_series[path]
            return self.name_series_files(one)[number]
        return self.name_path(path)

    def name_path(self, path: Path) -> str:
        """Return the path of a file with pseudonyms for everything that may identify a patient."""
        below = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        shown = self.shown.get(path) or decode_path(str(below))
        site, slash, inside = shown.partition("/")
        if not slash and path.is_dir():  # a link in the place of a hospital's folder
            return hide_identity_in_site(site, self.key, self.marks)
        first = f"{hide_identity_in_site(site, self.key, self.marks)}/" if slash else ""
        return first + hide_identity_in_path(inside if slash else shown, self.key, self.marks)

    def name_series_files(self, series: Series) -> list[str]:
        """Name the files of a series in their order, by site, series and number."""
        if self.true_paths:
            return [decode_path(str(path)) for path in series.files]
        digits = len(str(len(series.files)))
        folder = "/".join(filter(None, (self.name_site(series.site), series.uid)))
        return [f"{folder}/{number:0{digits}d}" for number in range(1, len(series.files) + 1)]

    def name_site(self, site: str) -> str:
        """Name a hospital by its folder, or by a pseudonym if the folder is named after a patient."""
        return hide_identity_in_site(self._sites_shown.get(site) or decode_path(site), self.key, self.marks)

    def hide_identity(self, text: str) -> str:
        """Replace a patient's name in a text of a header, such as scanner or kernel, by a pseudonym."""
        return hide_identity_in_text(text, self.key, self.marks)

    @cached_property
    def _place_in_series(self) -> dict[Path, tuple[Series, int]]:
        return {path: (series, number) for series in reversed(self.series) for number, path in enumerate(series.files)}

    @cached_property
    def _sites_shown(self) -> dict[str, str]:
        """Shown names of the hospital folders that headers have changed."""
        paths = [(series.site, series.files[0]) for series in self.series] + [
            (row.site, row.path) for row in self.file_rows
        ]
        return {
            site: shown for site, path in paths if site and (shown := self._find_shown_site(path)) != decode_path(site)
        }

    def _find_shown_site(self, path: Path) -> str:
        first, slash, _ = self.shown.get(path, "").partition("/")
        return first if slash else ""


def index_repository(root: Path, cache: Path | None = None, policy: GeometryPolicy = REFUSE) -> list[Series]:
    """Index all series of ``root/<site>/**``, refused ones included. Zip files are opened.

    Args:
        root: the repository.
        cache: parquet file with which unchanged files are not opened again; it holds pseudonyms only.
        policy: which geometry faults are repaired.

    Returns:
        the series; an empty list if there is no image.

    Raises:
        UserError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds one folder per hospital")
    key = load_repository_key(root)
    found = _index_files(root, _list_files(root), key, policy, cache=cache)
    _log_verdicts(found)
    return list(found.series)


def index_sources(
    sources: Sequence[Path | str], policy: GeometryPolicy = REFUSE, *, decode: bool = False
) -> tuple[list[Series], list[FileRow]]:
    """Index several sources; returns all series, and all files in no series. See :func:`read_index`."""
    found = read_index(sources, policy, decode=decode)
    return [series for each in found for series in each.series], [row for each in found for row in each.file_rows]


def read_index(
    sources: Sequence[Path | str], policy: GeometryPolicy = REFUSE, *, decode: bool = False, cached: bool = False
) -> list[SourceIndex]:
    """Index each source: a folder, a zip file, a single file, or the address of a DICOMweb service.

    The first folder below a source is the site.

    Args:
        sources: the sources.
        policy: which geometry faults are repaired.
        decode: decode every image too, and refuse those that cannot be decoded.
        cached: keep the headers in the user's cache folder; a source is never written to.

    Raises:
        UserError: a source does not exist, or no source has a file.
    """
    found = [_index_source(str(source), policy, decode, cached) for source in sources]
    if not any(source.series or source.file_rows for source in found):
        raise UserError(f"no file under {', '.join(map(str, sources))}; give a folder that holds DICOM files")
    for source in found:
        _log_verdicts(source)
    return found


def _index_source(source: str, policy: GeometryPolicy, decode: bool, cached: bool) -> SourceIndex:
    if source.startswith(WEB):
        return _index_web(source, policy, decode)
    root, files, key = _open_source(Path(source))
    cache = get_cache_folder() / "index" / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}.parquet"
    return _index_files(root, files, key, policy, cache=cache if cached else None, decode=decode)


def _index_web(url: str, policy: GeometryPolicy, decode: bool) -> SourceIndex:
    # imported here: what reads from disk needs no HTTP
    from kicc_ml.dicom.web.cache import find_cache_folder
    from kicc_ml.dicom.web.client import check_address
    from kicc_ml.dicom.web.service import index_web

    if decode:
        logger.warning("%s: pixel data of a DICOMweb service is decoded when it is fetched, not by the index", url)
    series, rows = index_web(url, policy=policy)
    return SourceIndex(find_cache_folder(check_address(url)), load_service_key(check_address(url)), series, rows)


def _open_source(source: Path) -> tuple[Path, list[FoundFile], bytes]:
    """Open a source on disk, and return its root, its files and its key."""
    if source.is_dir():
        return source, _list_files(source), load_repository_key(source)
    if not source.is_file():
        raise UserError(f"{source}: no such folder or file; give a folder, a zip file or the address of a service")
    if source.suffix.lower() == SUFFIX or is_zip(source):
        folder = unpack_archive(source)
        return folder, list(list_members(folder)), load_repository_key(source)
    return source.parent, [make_found_file(source.name, "", source.stat())], load_repository_key(source.parent)


def _list_files(folder: Path) -> list[FoundFile]:
    return list(open_zips(folder, walk(folder)))


def _index_files(
    root: Path,
    files: Sequence[FoundFile],
    key: bytes,
    policy: GeometryPolicy,
    *,
    cache: Path | None,
    decode: bool = False,
) -> SourceIndex:
    """Index files patient by patient, so that only the headers of one patient are objects at a time."""
    table = read_found_files(root, files, key, cache)
    series: list[Series] = []
    rows: list[FileRow] = []
    for headers in table.group_by_patient():
        if decode:
            headers = mark_decoding_faults(root, headers)
        judged, dropped = classify_series(root, headers, policy)
        series += judged
        rows += dropped
    series = refuse_beside_damage(root, files, series)
    series.sort(key=lambda row: (row.site, row.files))  # not by pseudonym: the order must not hang on the key
    rows.sort(key=lambda row: (row.site, row.path, row.reason))
    renamed = table.table.filter(pc.not_equal(table.table["shown"], ""))
    paths = [root / os.fsdecode(path) for path in renamed["path"].to_pylist()]
    shown = dict(zip(paths, renamed["shown"].to_pylist(), strict=True))
    marks = frozenset(mark for marks in pc.unique(table.table["marks"]).to_pylist() for mark in marks.split())
    return SourceIndex(root, key, series, rows, shown, marks)


def mark_decoding_faults(root: Path, headers: Sequence[Header]) -> list[Header]:
    """Set the fault of each header whose image cannot be decoded."""
    paths = sorted({header.path for header in headers if not header.fault})
    pool = joblib.Parallel(n_jobs=-1, prefer="threads")  # the work is done by decoders in processes of their own
    faults = dict(zip(paths, pool(joblib.delayed(find_decoding_fault)(root / path) for path in paths), strict=True))
    return [replace(header, fault=header.fault or faults[header.path]) for header in headers]


def _log_verdicts(found: SourceIndex) -> None:
    verdicts = Counter(series.verdict for series in found.series)
    logger.info("%s: %s; %d files in no series", found.root, dict(verdicts), len(found.file_rows))
    refused = (reason for series in found.series if not series.usable for reason in series.reasons)
    for reason, count in Counter([*refused, *(row.reason for row in found.file_rows)]).most_common():
        is_lost = reason in NOT_OPENED - {"linked_twice"}  # its content is not known
        logger.log(logging.WARNING if is_lost else logging.INFO, "%5d  %s: %s", count, reason, REASONS[reason])

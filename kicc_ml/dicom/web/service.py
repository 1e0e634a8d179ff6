"""Index the series of a DICOMweb service by their metadata, and fetch them when they are read."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import whole_file
from kicc_ml.core.progress import track
from kicc_ml.core.pseudonym import load_service_key, make_pseudonym
from kicc_ml.core.types import Series
from kicc_ml.dicom.header.read import Header, make_headers_of_dataset, read_headers
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import GROUPS, KEYWORDS, TooLargeError
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.verdict import REFUSE, FileRow, classify_series
from kicc_ml.dicom.web.cache import find_cache_folder, read_uids, write_uids
from kicc_ml.dicom.web.client import (
    NotServed,
    check_address,
    connect,
    retrieve_object,
    retrieve_series_metadata,
    search_series_uids,
    store_object,
)

logger = logging.getLogger(__name__)

#: Number of parallel requests: enough to hide the network delay, few enough for the archive of a clinic.
CONNECTIONS = 4
#: Elements of DICOM JSON that are parsed; others, including names, are not.
NEEDED = {f"{Tag(keyword):08X}" for keyword in (*KEYWORDS, *GROUPS)}


@dataclass(frozen=True)
class _Service:
    """The service that is indexed."""

    client: DICOMwebClient
    cache: Path
    site: str
    key: bytes


def index_web(
    url: str, *, cache: Path | None = None, site: str | None = None, policy: GeometryPolicy = REFUSE
) -> tuple[list[Series], list[FileRow]]:
    """Index every series of a service.

    The files of a series are paths in the cache (see :mod:`kicc_ml.dicom.web.cache`) that :func:`fetch` fills. Only
    slices with the same position are fetched at once, to compare their pixels.

    Args:
        url: address of the service.
        cache: the cache folder; by default one of the user.
        site: name of the hospital; by default the host name.
        policy: which geometry faults are repaired.

    Returns:
        the series with a verdict, and the objects in no series. A series that the service does not return is one row.

    Raises:
        UserError: the service does not answer, or denies access.
    """
    url = check_address(url)
    source = _Service(
        connect(url), cache or find_cache_folder(url), site or str(urlsplit(url).hostname), load_service_key(url)
    )
    places = search_series_uids(source.client)
    series: list[Series] = []
    rows: list[FileRow] = []
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = track(pool.map(partial(_read_series, source), places), "reading metadata", total=len(places))
        for _, of_study in groupby(zip(places, answers, strict=True), key=lambda one: one[0][0]):
            found = [headers for _, headers in of_study]
            judged, dropped = _classify_study(source, policy, found)
            series += judged
            rows += dropped
    series.sort(key=lambda row: (row.site, row.files))
    rows.sort(key=lambda row: (row.site, row.path, row.reason))
    return [replace(item, origin=url) for item in series], rows


@dataclass(frozen=True)
class _SeriesHeaders:
    """Headers of one series whose files will lie in ``folder`` of the cache; None if the service does not return it."""

    folder: str
    headers: list[Header] | None


def _read_series(source: _Service, place: tuple[str, str]) -> _SeriesHeaders:
    folder = "/".join(make_pseudonym(source.key, uid) for uid in place)
    try:
        items = retrieve_series_metadata(source.client, *place)
    except NotServed as fault:
        logger.warning("site %s, series %s: %s", source.site, folder, fault)
        return _SeriesHeaders(folder, None)
    names = {sop: f"{make_pseudonym(source.key, sop)}.dcm" for sop in items}
    write_uids(source.cache, folder, *place, {name: sop for sop, name in names.items()})
    headers = [
        header for sop, item in items.items() for header in _make_headers(item, f"{folder}/{names[sop]}", source)
    ]
    return _SeriesHeaders(folder, headers)


def _classify_study(
    source: _Service, policy: GeometryPolicy, found: Sequence[_SeriesHeaders]
) -> tuple[list[Series], list[FileRow]]:
    """Classify the series of a study together, because each slice may have a series of its own.

    If the service does not return an object whose pixels are needed, its series is lost, and the others are classified
    alone.
    """
    try:
        judged, rows = _classify_and_fetch(source, [header for part in found for header in part.headers or []], policy)
        lost = [part for part in found if part.headers is None]
        return judged, rows + [FileRow(source.site, source.cache / part.folder, "not_served") for part in lost]
    except NotServed as fault:
        if len(found) > 1:
            parts = [_classify_study(source, policy, [part]) for part in found]
            return [series for judged, _ in parts for series in judged], [row for _, rows in parts for row in rows]
        logger.warning("site %s, series %s: %s", source.site, found[0].folder, fault)
        return [], [FileRow(source.site, source.cache / found[0].folder, "not_served")]


def _make_headers(item: Mapping[str, Any], path: str, source: _Service) -> list[Header]:
    """Make the headers of one instance, like :func:`kicc_ml.dicom.header.read.read_headers` for a file."""
    try:
        with suppress_warnings():  # values of the wrong form are expected here
            dataset = Dataset.from_json({tag: value for tag, value in item.items() if tag.upper() in NEEDED})
            return make_headers_of_dataset(dataset, path, source.site, source.key)
    except TooLargeError:
        return [Header(path, source.site, fault="too_large")]
    except Exception:  # pydicom raises anything on a value that is none; one object must not end the index
        return [Header(path, source.site, fault="unreadable")]


def _classify_and_fetch(
    source: _Service, headers: list[Header], policy: GeometryPolicy
) -> tuple[list[Series], list[FileRow]]:
    """Classify series, and fetch each file whose pixels this needs, then start again.

    Pixels are needed only for slices with the same position. Which files they are is known when they are opened.
    """
    while True:
        try:
            return classify_series(source.cache, headers, policy)
        except FileNotFoundError as missing:
            _fetch_file(source.client, Path(missing.filename))


def fetch(series: Series) -> None:
    """Fetch the files of a series of a DICOMweb service into its cache, except those that are there.

    Each file is written completely or not at all, so that an interrupted fetch can be continued.

    Raises:
        UserError: the service does not return a file.
    """
    missing = [path for path in series.files if not path.is_file()]
    if not missing:
        return
    client = connect(series.origin)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(partial(_fetch_file, client), missing):
            pass


def _fetch_file(client: DICOMwebClient, path: Path) -> None:
    dataset = retrieve_object(client, read_uids(path))

    def write(partial_path: Path) -> None:
        dataset.save_as(partial_path)
        (header, *_) = read_headers(path.parent, partial_path.name, "", b"")
        if header.fault:
            raise UserError(f"{path}: came incomplete ({header.fault}); fetch again, or have the archive check it")

    with whole_file(path, private=True, durable=False) as partial:
        write(partial)


@suppress_warnings()
def push(url: str, files: Sequence[Path]) -> None:
    """Store DICOM files in a service by STOW-RS, one request each.

    Raises:
        UserError: the service does not accept a file; later files are not sent.
    """
    client = connect(check_address(url))
    for file in files:
        store_object(client, pydicom.dcmread(file))

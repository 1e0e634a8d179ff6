"""Download of a public collection, series by series, with a client that its archive maintains.

A series gets its final folder only when all of its files are complete:
``<folder>/<PatientID>/<StudyInstanceUID>/<SeriesInstanceUID>/``. Therefore an interrupted download can continue.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kicc_ml.cohort.public.known_sets import KnownSet
from kicc_ml.core.errors import UserError, find_target_error
from kicc_ml.core.files import make_folder, whole_folder
from kicc_ml.core.help_pages import EXTRAS
from kicc_ml.core.locks import hold
from kicc_ml.core.path_names import resolve_subfolder
from kicc_ml.core.progress import track

logger = logging.getLogger(__name__)

INSTALL = "pip install 'kicc_ml[datasets]'"
LOCK = ".kicc-download.lock"


@dataclass(frozen=True)
class Remote:
    """A series in an archive; ``images`` is the number of its images."""

    patient: str
    study: str
    uid: str
    images: int


class Client(Protocol):
    """A client of an archive, as far as a download uses it."""

    def series_of(self, collection: str) -> Sequence[Remote]:
        """List all series of a collection."""

    def fetch(self, series: Remote, folder: Path) -> None:
        """Download the files of a series into a folder, at any depth."""


class IdcClient:
    """A client of the Imaging Data Commons that uses idc-index."""

    def __init__(self) -> None:
        try:
            from idc_index import IDCClient
        except ImportError as error:
            raise UserError(
                f"downloading from the Imaging Data Commons needs idc-index: {INSTALL}", page=EXTRAS
            ) from error
        self.client = IDCClient()

    def series_of(self, collection: str) -> Sequence[Remote]:
        """List the series of a collection."""
        index = self.client.index
        rows = index[index["collection_id"] == collection]
        return [
            Remote(row["PatientID"], row["StudyInstanceUID"], row["SeriesInstanceUID"], int(row["instanceCount"]))
            for row in rows.to_dict("records")
        ]

    def fetch(self, series: Remote, folder: Path) -> None:
        """Download one series into a folder."""
        self.client.download_from_selection(
            downloadDir=str(folder),
            seriesInstanceUID=[series.uid],
            quiet=True,
            show_progress_bar=False,
            dirTemplate=None,
        )


class TciaClient:
    """A client of The Cancer Imaging Archive that uses tcia-utils."""

    def __init__(self) -> None:
        try:
            from tcia_utils import nbia
        except ImportError as error:
            raise UserError(f"downloading from TCIA needs tcia-utils: {INSTALL}", page=EXTRAS) from error
        self.nbia = nbia

    def series_of(self, collection: str) -> Sequence[Remote]:
        """List the series of a collection."""
        found = self.nbia.getSeries(collection=collection) or []
        return [
            Remote(one["PatientID"], one["StudyInstanceUID"], one["SeriesInstanceUID"], int(one.get("ImageCount") or 0))
            for one in found
        ]

    def fetch(self, series: Remote, folder: Path) -> None:
        """Download one series into a folder."""
        self.nbia.downloadSeries([series.uid], path=str(folder), input_type="list")


def client_for(known: KnownSet) -> tuple[Client, str]:
    """Make a client of the archive that holds a set.

    Returns:
        The client, and the name of the collection in that archive.

    Raises:
        UserError: no client has the set (the message says how to get it by hand), or the client is not installed.
    """
    if known.idc:
        return IdcClient(), known.idc
    if known.tcia:
        return TciaClient(), known.tcia
    steps = "; ".join(known.get)
    raise UserError(f"{known.name} cannot be downloaded by a client ({known.terms}); by hand: {steps}")


def download(client: Client, collection: str, folder: Path) -> dict[str, str]:
    """Download those series of a collection that the folder does not hold yet.

    A series that fails does not stop the others.

    Returns:
        The reason for each series that could not be downloaded, by SeriesInstanceUID.

    Raises:
        UserError: the archive has no such collection, or another process downloads into the folder.
        TargetError: the folder cannot be written.
    """
    series = client.series_of(collection)
    if not series:
        raise UserError(f"the archive says that {collection} has no series; is the network there? Try again later")
    make_folder(folder)
    failed: dict[str, str] = {}
    with hold(folder / LOCK, f"the download into {folder}"):
        for one in track(series, f"downloading {collection}"):
            if reason := _download_series(client, one, folder):
                logger.warning("series %s is left out: %s", one.uid, reason)
                failed[one.uid] = reason
    return failed


def _download_series(client: Client, series: Remote, folder: Path) -> str:
    """Download a series unless its folder exists. Return the reason of a failure, "" for success."""
    try:
        target = resolve_subfolder(folder, series.patient, "PatientID")
        target = resolve_subfolder(target, series.study, "StudyInstanceUID")
        target = resolve_subfolder(target, series.uid, "SeriesInstanceUID")
        if target.is_dir():
            return ""
        with whole_folder(target) as partial:
            client.fetch(series, partial)
            files = sum(path.suffix.lower() == ".dcm" for path in partial.rglob("*"))
            if files < max(series.images, 1):
                raise UserError(f"{files} of {series.images} images came; start again later")
    except Exception as error:  # clients and networks each fail in their own way
        if fault := find_target_error(error, folder):
            raise fault from error
        return str(error) or type(error).__name__
    return ""

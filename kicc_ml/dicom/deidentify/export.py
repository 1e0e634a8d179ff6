"""A de-identified copy of the series of an index, laid down as a repository: ``<site>/<patient>/<series>/<n>.dcm``."""

import errno
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import joblib

from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import track
from kicc_ml.core.types import Series
from kicc_ml.dicom.deidentify.copy import NotExportedError, write_deidentified
from kicc_ml.dicom.index.build import Indexed
from kicc_ml.dicom.index.scan import PARALLEL_FROM
from kicc_ml.dicom.index.table import shown_site
from kicc_ml.dicom.series.reasons import REASONS

VERDICTS = ("usable", "repaired", "refused")
READABLE = VERDICTS[:2]
#: The site of files that lie in no folder of their source.
NO_SITE = "site"
#: Reasons for which a series is not written, whatever was asked for: its pictures may show a name.
SHOWS_TEXT = ("burned_in", "dose_page", "secondary_capture")
#: Errors of the file system that are no fault of the file that is read.
OF_THE_TARGET = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Selection:
    """Which series are exported; what is empty is no condition.

    ``secondary_captures`` are those that the index takes for radiographs: somebody has to look at them first.
    """

    sites: Collection[str] = ()
    modality: str = ""
    verdicts: Collection[str] = READABLE
    secondary_captures: bool = False

    def __post_init__(self) -> None:
        if unknown := set(self.verdicts) - set(VERDICTS):
            raise UserError(f"there is no verdict {', '.join(sorted(unknown))}; there are {', '.join(VERDICTS)}")

    def of(self, source: Indexed) -> list[Series]:
        return [
            one
            for one in source.series
            if (not self.sites or site_folder(source, one) in self.sites)
            and one.modality in (self.modality or one.modality,)
            and (not self.verdicts or one.verdict in self.verdicts)
        ]


@dataclass
class Exported:
    """What was written, left out by reason code, and set aside by name with what went wrong."""

    written: list[tuple[Indexed, Series]] = field(default_factory=list)
    files: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # series
    set_aside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Copied:
    path: Path
    left_out: str = ""
    fault: str = ""


def refuse_overlap(sources: Collection[str], out: Path) -> None:
    """Raises UserError where ``out`` lies in a source or around one: a source is never written to."""
    target = out.resolve()
    for source in sources:
        place = Path(source).resolve()
        if place.exists() and (target.is_relative_to(place) or place.is_relative_to(target)):
            raise UserError(f"{out} and the source {source} lie one in the other; give another folder with -o")


def export_series(found: Sequence[Indexed], selection: Selection, out: Path) -> Exported:
    """Write de-identified copies of the selected series under ``out``.

    A file that is there already is left, so that a stopped export goes on; a damaged one is set aside.
    Raises UserError where no series is selected, or ``out`` cannot be written.
    """
    chosen = [(source, series) for source in found for series in selection.of(source)]
    if not chosen:
        sites = sorted({site_folder(source, series) for source in found for series in source.series})
        raise UserError(f"no series is selected; there are the sites {', '.join(sites)}, and kicc-ml index lists them")
    exported = Exported(left_out=Counter(filter(None, (_shows_text(series) for _, series in chosen))))
    kept = [(source, series) for source, series in chosen if not _shows_text(series)]
    jobs = [
        (series, source.key, series_folder(source, series, out), selection.secondary_captures)
        for source, series in _each_file_once(kept)
    ]
    many = sum(len(series.files) for _, series in kept) >= PARALLEL_FROM
    pool = joblib.Parallel(n_jobs=-1 if many else 1, return_as="generator")
    results = track(pool(joblib.delayed(_copy_series)(*job) for job in jobs), "writing series", len(jobs))
    for (source, series), copied in zip(kept, results, strict=True):
        _note(exported, source, series, copied)
    return exported


def site_folder(source: Indexed, series: Series) -> str:
    return shown_site(series.site, series.files[0], source) or NO_SITE


def series_folder(source: Indexed, series: Series, out: Path) -> Path:
    return out / site_folder(source, series) / series.patient / series.uid


def _shows_text(series: Series) -> str:
    """Why no picture of a series is written; "". What was dropped from a usable series is none of its files."""
    telling = SHOWS_TEXT if not series.usable else ("burned_in",)
    return next((code for code in telling if code in series.reasons), "")


def _each_file_once(chosen: Sequence[tuple[Indexed, Series]]) -> list[tuple[Indexed, Series]]:
    """Stacks of one multi-frame object are several series of one file: it goes with the first."""
    owner = {path: number for number, (_, series) in reversed(list(enumerate(chosen))) for path in series.files}
    return [
        (source, replace(series, files=tuple(path for path in series.files if owner[path] == number)))
        for number, (source, series) in enumerate(chosen)
    ]


def _copy_series(series: Series, key: bytes, folder: Path, captures: bool) -> list[_Copied]:
    if series.origin:
        from kicc_ml.dicom.web.service import fetch  # only whoever reads over the network waits for its libraries

        fetch(series)
    digits = len(str(len(series.files)))
    return [
        _copy_file(path, folder / f"{number:0{digits}d}.dcm", key, series.patient, captures)
        for number, path in enumerate(series.files, start=1)
    ]


def _copy_file(source: Path, target: Path, key: bytes, patient: str, captures: bool) -> _Copied:
    try:
        if not target.exists():
            write_deidentified(source, target, key, patient, secondary_captures=captures)
    except NotExportedError as refusal:
        return _Copied(source, left_out=refusal.code)
    except Exception as error:  # a hostile file can raise anything inside the parser, in words that quote a name
        if isinstance(error, OSError) and error.errno in OF_THE_TARGET:
            raise UserError(f"{target}: {error.strerror}; make room and start the export again") from None
        return _Copied(source, fault=REASONS["unreadable"])
    return _Copied(source)


def _note(exported: Exported, source: Indexed, series: Series, copied: Sequence[_Copied]) -> None:
    whole = [one for one in copied if not (one.left_out or one.fault)]
    exported.files += len(whole)
    if whole:
        exported.written.append((source, series))
    exported.left_out.update({one.left_out for one in copied if one.left_out})
    exported.set_aside |= {source.name(one.path): one.fault for one in copied if one.fault}

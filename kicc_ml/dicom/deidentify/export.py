"""Export de-identified copies of indexed series as a new repository: ``<site>/<patient>/<series>/<object>.dcm``.

Each file is named by the pseudonym of its object, so that the same object has the same name in every export.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import joblib

from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.core.path_names import check_distinct, find_name_fault, make_path_name
from kicc_ml.core.progress import track
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.shown import make_printable
from kicc_ml.core.types import Series
from kicc_ml.dicom.deidentify.copy import NotExportedError, read_object_uid, write_deidentified
from kicc_ml.dicom.deidentify.manifest import (
    CopyFolder,
    Entry,
    compute_source_digest,
    compute_source_state,
    is_unchanged,
)
from kicc_ml.dicom.index.build import SourceIndex
from kicc_ml.dicom.index.scan import MIN_PARALLEL_FILES
from kicc_ml.dicom.series.reasons import REASONS

VERDICTS = ("usable", "repaired", "refused")
READABLE = VERDICTS[:2]
#: Site of files that lie in no folder of their source.
NO_SITE = "site"
#: Reasons for which a series is never written: its pictures may show a name.
TEXT_REASONS = ("burned_in", "dose_page", "secondary_capture")


@dataclass(frozen=True)
class Selection:
    """Which series are exported. An empty field is no condition.

    ``secondary_captures`` also selects those that the index classifies as radiographs; look at them first.
    """

    sites: Collection[str] = ()
    modality: str = ""
    verdicts: Collection[str] = READABLE
    secondary_captures: bool = False

    def __post_init__(self) -> None:
        if unknown := set(self.verdicts) - set(VERDICTS):
            raise UserError(f"there is no verdict {', '.join(sorted(unknown))}; choose from {', '.join(VERDICTS)}")

    def select(self, source: SourceIndex) -> list[Series]:
        """List the series of a source that are to be copied."""
        return [
            series
            for series in source.series
            if (not self.sites or make_site_folder_name(source, series) in self.sites)
            and series.modality in (self.modality or series.modality,)
            and (not self.verdicts or series.verdict in self.verdicts)
        ]


@dataclass
class ExportResult:
    """Result of an export: series written, counts of series left out by reason, files set aside with their fault."""

    written: list[tuple[SourceIndex, Series]] = field(default_factory=list)
    files: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # series
    set_aside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _FileResult:
    """Result for one file: its name and entry in the copy, or why there is no copy."""

    path: Path
    name: str = ""
    entry: Entry | None = None
    left_out: str = ""
    fault: str = ""


def refuse_overlap(sources: Collection[str], out: Path) -> None:
    """Raise UserError if ``out`` lies in a source or contains one: a source is never written to."""
    target = out.resolve()
    for source in sources:
        place = Path(source).resolve()
        if place.exists() and (target.is_relative_to(place) or place.is_relative_to(target)):
            raise UserError(f"{out} and the source {source} lie one in the other; give another folder with -o")


def choose_series(found: Sequence[SourceIndex], selection: Selection) -> list[tuple[SourceIndex, Series]]:
    """Choose the selected series of all sources.

    Raises:
        UserError: no series is selected, or two hospitals would be the same folder on some disks.
    """
    chosen = [(source, series) for source in found for series in selection.select(source)]
    sites = sorted({make_site_folder_name(source, series) for source in found for series in source.series})
    if not chosen:
        there = ", ".join(map(make_printable, sites))
        raise UserError(
            f"no series is selected; there are the sites {there}, and kicc-ml index lists them. Nothing was written: a "
            "copy of an earlier export is as it was"
        )
    check_distinct(sites, "the hospitals")
    return chosen


def export_series(chosen: Sequence[tuple[SourceIndex, Series]], selection: Selection, copy: CopyFolder) -> ExportResult:
    """Write de-identified copies of the chosen series, and remove other files of an earlier export.

    A copy whose source has not changed stays; a damaged source is set aside.

    Raises:
        TargetError: the copy cannot be written.
    """
    exported = ExportResult(left_out=Counter(filter(None, (_find_text_reason(series) for _, series in chosen))))
    kept = [(source, series) for source, series in chosen if not _find_text_reason(series)]
    folders = [make_series_folder_name(source, series) for source, series in kept]
    copy.remove_others(folders, masks=False)  # before anything is written: it may show a name
    copy.reserve_folders(folders)
    jobs = [
        (series, source.key, copy.folder(folder), copy.folders[folder], selection.secondary_captures)
        for (source, series), folder in zip(_assign_files_once(kept), folders, strict=True)
    ]
    many = sum(len(series.files) for _, series in kept) >= MIN_PARALLEL_FILES
    pool = joblib.Parallel(n_jobs=-1 if many else 1, return_as="generator")
    results = track(pool(joblib.delayed(_copy_series)(*job) for job in jobs), "writing series", len(jobs))
    for (source, series), folder, copied in zip(kept, folders, results, strict=True):
        copy.record_files(folder, {result.name: result.entry for result in copied if result.entry})
        _add_result(exported, source, series, copied)
    return exported


def make_site_folder_name(source: SourceIndex, series: Series) -> str:
    """Make the name of the hospital's folder in the copy from its shown name."""
    shown = source.name_site(series.site) or NO_SITE
    return make_path_name(shown) if find_name_fault(shown) else shown


def make_series_folder_name(source: SourceIndex, series: Series) -> str:
    """Make the path of the folder of a series, relative to the copy."""
    return f"{make_site_folder_name(source, series)}/{series.patient}/{series.uid}"


def _find_text_reason(series: Series) -> str:
    """Find the reason for skipping a series because its pixels may show text, or "".

    Files that were already dropped from a usable series are not considered.
    """
    telling = TEXT_REASONS if not series.usable else ("burned_in",)
    return next((code for code in telling if code in series.reasons), "")


def _assign_files_once(chosen: Sequence[tuple[SourceIndex, Series]]) -> list[tuple[SourceIndex, Series]]:
    """Assign each file to one series: several stacks of a multi-frame object share a file, which goes to the first."""
    owner = {path: number for number, (_, series) in reversed(list(enumerate(chosen))) for path in series.files}
    return [
        (source, replace(series, files=tuple(path for path in series.files if owner[path] == number)))
        for number, (source, series) in enumerate(chosen)
    ]


def _copy_series(
    series: Series, key: bytes, folder: Path, before: Mapping[str, Entry], captures: bool
) -> list[_FileResult]:
    """Copy the files of one series; ``before`` are the files that an earlier export wrote into its folder."""
    if series.origin:
        from kicc_ml.dicom.web.service import fetch  # only whoever reads over the network waits for its libraries

        fetch(series)
    there = {name: entry for name, entry in before.items() if is_unchanged(folder / name, entry)}
    copied: list[_FileResult] = []
    for path in series.files:
        taken = {result.name for result in copied}
        copied.append(_copy_file(path, folder, there, taken, key, series.patient, captures))
    return copied


def _copy_file(
    source: Path,
    folder: Path,
    there: Mapping[str, Entry],
    taken: Collection[str],
    key: bytes,
    patient: str,
    captures: bool,
) -> _FileResult:
    """Copy one file unless an unchanged copy is ``there``; ``taken`` are the names of other files of the series."""
    how = (patient, str(captures))
    try:
        state = compute_source_state(key, source, *how)
        for name, entry in there.items():
            if entry.state == state and name not in taken:
                return _FileResult(source, name, entry)
        digest = compute_source_digest(key, source.read_bytes(), *how)
        name = _make_free_name(make_pseudonym(key, read_object_uid(source) or digest), digest, taken)
        if name not in there or there[name].digest != digest:
            write_deidentified(source, folder / name, key, patient, secondary_captures=captures)
        return _FileResult(source, name, Entry(digest, state, (folder / name).stat().st_size))
    except NotExportedError as refusal:
        return _FileResult(source, left_out=refusal.code)
    except TargetError:
        raise
    except Exception:  # a hostile file can raise anything in the parser, with a message that quotes a name
        return _FileResult(source, fault=REASONS["unreadable"])


def _make_free_name(object_name: str, digest: str, taken: Collection[str]) -> str:
    """Make an unused file name. Several slices may have the same UID; their content then distinguishes them."""
    name = f"{object_name}.dcm"
    return f"{object_name}-{digest}.dcm" if name in taken else name


def _add_result(exported: ExportResult, source: SourceIndex, series: Series, copied: Sequence[_FileResult]) -> None:
    whole = [result for result in copied if result.entry]
    exported.files += len(whole)
    if whole:
        exported.written.append((source, series))
    exported.left_out.update({result.left_out for result in copied if result.left_out})
    exported.set_aside |= {source.name_file(result.path): result.fault for result in copied if result.fault}

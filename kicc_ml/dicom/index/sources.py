"""Find the scans of a source: a NIfTI, picture or DICOM file, a zip file or folder of these, or a DICOMweb service."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import REFUSED_SERIES
from kicc_ml.core.path_names import check_distinct, find_name_fault
from kicc_ml.core.shown import format_count, make_printable
from kicc_ml.core.types import Modality, Series, Units
from kicc_ml.dicom.index.build import WEB, read_index
from kicc_ml.dicom.index.walk import walk
from kicc_ml.dicom.series.image_files import (
    NIFTI_SUFFIXES,
    RADIOGRAPH_SUFFIXES,
    explain_refusal,
    make_nifti_series,
    make_radiograph_series,
    strip_suffix,
)
from kicc_ml.dicom.series.reasons import NOT_OPENED, REASONS

logger = logging.getLogger(__name__)

#: One image and several of a modality, in words.
KIND_NAMES = {"CT": ("CT", "CT"), "CXR": ("radiograph", "radiographs")}


class Scans(dict[str, Series]):
    """Scans by case id. ``set_aside`` holds the files that cannot be predicted, with the reason."""

    def __init__(self, scans: Mapping[str, Series], set_aside: Mapping[str, str]) -> None:
        super().__init__(scans)
        self.set_aside = set_aside


def find_scans(source: Path | str, units: Units, spacing_known: bool, modality: Modality = "CT") -> Scans:
    """Find CT series or radiographs by case id: a file name without suffix, or the pseudonym of a DICOM series.

    CT may be NIfTI files, and radiographs PNG or JPEG files, but not within zip files. Refused series, and entries that
    are not opened, are logged with their reason.

    Args:
        source: the source.
        units: unit of NIfTI files, which do not state it.
        spacing_known: whether the spacing of NIfTI files is true.
        modality: ``CT`` or ``CXR``.

    Raises:
        UserError: there is no scan, or two files have the same id.
    """
    suffixes = NIFTI_SUFFIXES if modality == "CT" else RADIOGRAPH_SUFFIXES
    files = list(_list_files(source, suffixes))
    set_aside = {
        make_printable(path.name): f"its name without suffix cannot be the name of a folder: {fault}; rename the file"
        for path in files
        if (fault := find_name_fault(strip_suffix(path)))
    }
    others = ""
    found = [
        make_nifti_series(path, site="", patient=strip_suffix(path), units=units, spacing_known=spacing_known)
        if modality == "CT"
        else make_radiograph_series(path, site="", patient=strip_suffix(path))
        for path in files
        if not find_name_fault(strip_suffix(path))
    ]
    if not files or Path(source).is_dir():
        everything = _index_dicom(source)
        found += [series for series in everything if series.modality == modality]
        others = _count_other_kind(source, everything, modality)
    set_aside |= _log_refusals(found, suffixes)
    if others:
        logger.warning("left out: %s in %s, because this run is for %s", others, source, KIND_NAMES[modality][1])
    usable = {series.uid: series for series in found if series.usable}
    if not usable and len(set_aside) == len(files) == 1:
        ((name, reason),) = set_aside.items()
        raise UserError(f"{name}: {reason}", page=REFUSED_SERIES)
    if not usable:
        raise _make_none_usable(source, modality, others, is_refused=bool(found))
    if len(usable) < sum(series.usable for series in found):
        raise UserError(f"{source} holds two scans of one name; rename one, or give their folders one by one")
    check_distinct(usable, "the scans")
    return Scans(usable, set_aside)


def _make_none_usable(source: Path | str, modality: Modality, others: str, is_refused: bool) -> UserError:
    """Make the error for a source without a usable scan. ``others`` counts the usable images of the other kind."""
    left_out = f", and {others}, which this run is not for" if others else ""
    if others and not is_refused:  # nothing is wrong with the images, so that no list of reasons helps
        remedy = f"give {KIND_NAMES[modality][1]}, or a run for images of the other kind"
        return UserError(f"{source} holds no {KIND_NAMES[modality][0]}{left_out}; {remedy}")
    remedy = f"kicc-ml index {source} says why"
    return UserError(f"{source} holds no usable {modality}{left_out}; {remedy}", page=REFUSED_SERIES)


def _log_refusals(found: Iterable[Series], suffixes: tuple[str, ...]) -> dict[str, str]:
    """Log all refused series, and return the files that cannot be predicted, by name.

    A refused DICOM series may be a scout beside the scan, but a refused file of another kind was meant to be a scan.
    """
    set_aside: dict[str, str] = {}
    for series in found:
        if not series.usable:
            reasons = explain_refusal(series)
            first = series.files[0].name  # the files of a DICOM series may be named after the patient
            of_file = first.lower().endswith(suffixes)
            logger.warning("%s refused: %s", first if of_file else series.uid, reasons)
            set_aside |= {make_printable(first): reasons} if of_file else {}
    return set_aside


def _index_dicom(source: Path | str) -> list[Series]:
    (found,) = read_index([source])
    for row in found.file_rows:
        if row.reason in NOT_OPENED:
            logger.warning("%s left out: %s", found.name_file(row.path), REASONS[row.reason])
    return list(found.series)


def _count_other_kind(source: Path | str, series: Iterable[Series], modality: Modality) -> str:
    """Count the images of the other kind in words, such as ``2 radiographs``; "" if there are none."""
    other, suffixes = ("CXR", RADIOGRAPH_SUFFIXES) if modality == "CT" else ("CT", NIFTI_SUFFIXES)
    count = sum(one.usable and one.modality == other for one in series) + len(list(_list_files(source, suffixes)))
    return format_count(count, *KIND_NAMES[other]) if count else ""


def _list_files(source: Path | str, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """List the files of a source on disk with one of the suffixes."""
    if str(source).startswith(WEB):
        return
    place = Path(source)
    if not place.exists():
        raise UserError(f"{source} is not there")
    if place.is_file():
        paths = [place]
    else:
        paths = sorted([*(place / file.path for file in walk(place) if not file.fault), *_list_hidden_files(place)])
    yield from (path for path in paths if path.name.lower().endswith(suffixes))


def _list_hidden_files(place: Path) -> Iterator[Path]:
    """List files whose name begins with a dot, except ``._`` files of a Mac; such scans are set aside by name."""
    for path in place.rglob(".*"):
        folders = path.relative_to(place).parts[:-1]
        if path.is_file() and not path.name.startswith("._") and not any(folder[0] == "." for folder in folders):
            yield path

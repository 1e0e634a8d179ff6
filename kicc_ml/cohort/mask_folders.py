"""Masks beside the images of a repository: ``masks/<SeriesInstanceUID>/<region>.nii.gz``, or DICOM files there.

A DICOM Segmentation or RT Structure Set (``.dcm``, any file name) holds the regions that its segments or structures
name. A NIfTI file of a region takes precedence.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.regions import MASK_NAMES, is_known
from kicc_ml.core.shown import format_count
from kicc_ml.core.types import Series
from kicc_ml.data.mask_file import DICOM_SUFFIX, NO_LABELS, Labels
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES, strip_suffix

logger = logging.getLogger(__name__)

FOLDER = "masks"
#: A file of several labels, where ``masks.labels`` says what each is.
LABEL_FILE = "labels"

REMEDY = (
    f"name the folder after the SeriesInstanceUID of its images (of a radiograph the SOPInstanceUID) and its files "
    f"{', '.join(f'{name}.nii.gz' for name in MASK_NAMES)}, or lay a DICOM SEG or RTSTRUCT there (.dcm)"
)


@dataclass(frozen=True)
class Misplaced:
    """An entry of the masks folder that is not used; ``where`` holds pseudonyms in place of UIDs and names."""

    where: str
    why: str


def check_labels(labels: Labels, names: Sequence[str] = MASK_NAMES) -> Labels:
    """Return the labels unchanged. Raises UserError if a value is no whole number above 0, or its region no name."""
    for value, region in labels.items():
        if not isinstance(value, int) or value < 1 or region not in names:
            raise UserError(
                f"masks.labels: {value}: {region}; give whole numbers from 1 up, each with a region "
                f"({', '.join(names)})"
            )
    return labels


def mask_folders(
    root: Path, key: bytes, labels: Labels = NO_LABELS, names: Sequence[str] = MASK_NAMES
) -> dict[str, Mapping[str, Path]]:
    """Find the mask files, by pseudonym of the series or radiograph, then by region.

    If ``labels`` are stated, a region without a file of its own is read from ``labels.nii.gz``, or from the only file
    of its folder. ``names`` are the regions.

    Args:
        root: the repository.
        key: the key of its pseudonyms.
        labels: the region that each value of a file of several labels means.
        names: the regions that files may be named after.
    """
    return {make_pseudonym(key, folder.name): _files(folder, labels, names) for folder in _folders(root)}


def warn_of_masks_without_partner(
    root: Path, series: Sequence[Series], key: bytes, labelled: bool = False, names: Sequence[str] = MASK_NAMES
) -> None:
    """Log the entries of the masks folder that are not used, and the remedy.

    Args:
        root: the repository.
        series: all series of its index.
        key: the key of its pseudonyms.
        labelled: whether the meaning of label values is stated (``mask_labels``).
        names: the regions.
    """
    for why, count in Counter(one.why for one in misplaced_masks(root, series, key, labelled, names)).items():
        logger.warning("%s: %d not used: %s; %s", root / FOLDER, count, why, REMEDY)


def misplaced_masks(
    root: Path, series: Sequence[Series], key: bytes, labelled: bool = False, names: Sequence[str] = MASK_NAMES
) -> Iterator[Misplaced]:
    """List the mask folders that match no series, and the files whose name is not a region.

    Args:
        root: the repository.
        series: all series of its index.
        key: the key of its pseudonyms.
        labelled: whether the meaning of label values is stated (``mask_labels``).
        names: the regions.
    """
    uids = {one.uid for one in series}
    for folder in _folders(root):
        name = make_pseudonym(key, folder.name)
        if name not in uids:
            yield Misplaced(f"{FOLDER}/{name} (a pseudonym)", _why_of_folder(folder.name, series, key))
        for path in sorted(folder.iterdir()):
            known = strip_suffix(path) in names or (labelled and strip_suffix(path) == LABEL_FILE)
            used = _is_dicom(path) or (known and path.name.endswith(NIFTI_SUFFIXES))
            if path.name[0] != "." and not used:
                yield Misplaced(f"{FOLDER}/{name} (a pseudonym)", "files whose name is no region")


def _why_of_folder(name: str, series: Sequence[Series], key: bytes) -> str:
    if any(make_pseudonym(key, site, name) in {one.patient for one in series} for site in {one.site for one in series}):
        return "folders of masks named after a patient"
    if make_pseudonym(key, name) in {one.study for one in series}:
        return "folders of masks named after a study"
    return "folders of masks that belong to no series"


def _folders(root: Path) -> list[Path]:
    return sorted(folder for folder in (root / FOLDER).glob("*") if folder.is_dir())


def _files(folder: Path, labels: Labels, names: Sequence[str]) -> Mapping[str, Path]:
    there = {strip_suffix(path): path for path in sorted(folder.iterdir()) if path.name.endswith(NIFTI_SUFFIXES)}
    files = {region: there[region] for region in names if region in there}
    source = there.get(LABEL_FILE) or (next(iter(there.values())) if len(there) == 1 else None)
    if labels and source:
        named = [region for region in names if region in labels.values() or is_known(region, labels.values())]
        files |= {region: source for region in named if region not in files}
    for path in filter(_is_dicom, sorted(folder.iterdir())):
        files = _regions_of_dicom(path, labels) | files
    return files


def _is_dicom(path: Path) -> bool:
    return path.name[0] != "." and path.suffix.lower() == DICOM_SUFFIX


def _regions_of_dicom(path: Path, labels: Labels) -> dict[str, Path]:
    """Read the regions in a Segmentation or RT Structure Set.

    An unreadable file counts as a lesion mask, so that the reader of the case sets the case aside with the reason.
    """
    from kicc_ml.dicom.results.drawn_masks import read_header  # highdicom takes a second to import

    try:
        header = read_header(path, labels)
    except UserError:
        return {"lesion": path}
    if header.strange:
        logger.warning(  # without the names, which may be a patient's
            "masks in DICOM: %s whose name is no region, not used; state numbers: masks.labels={1: lesion}",
            format_count(len(header.strange), "segment or structure", "segments or structures"),
        )
    return dict.fromkeys(header.region_of.values(), path)

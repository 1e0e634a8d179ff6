"""NIfTI files of a downloaded set: they are found at any depth below its folder and made into cases."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import find_name_fault
from kicc_ml.core.shown import format_count, make_printable
from kicc_ml.core.types import Case, Series
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES, strip_suffix

logger = logging.getLogger(__name__)

#: The first bytes of a Git LFS pointer, which can lie in the place of the real file.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LFS_REMEDY = "Git LFS has left pointers in their place; fetch the files themselves: git lfs pull"
#: Folders that macOS adds to an archive.
NOT_DATA = frozenset({"__MACOSX"})

NO_HOSPITALS = "cases whose hospital is not published: their source is the site"


@dataclass(frozen=True)
class Scan:
    """A scan with its masks, from which a case is made; ``person`` is empty if it has the same value as the case id."""

    case_id: str
    site: str
    series: Series
    masks: Mapping[str, Path]
    region_labels: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    person: str = ""


def existing_folder(root: str | Path | None, name: str) -> Path:
    """Return the folder of a set. Raises UserError if it does not exist."""
    if root is None or not str(root) or not Path(root).is_dir():
        given = f"{root} is not a folder" if root else "no folder is given"
        raise UserError(f"{given}; say where {name} lies: cohort.root=DIR (kicc-ml datasets says how to get it)")
    return Path(root)


def list_nifti_files(root: Path) -> list[Path]:
    """List all NIfTI files below a folder, sorted by path, without hidden ones."""
    return sorted(path for path in root.rglob("*") if _is_nifti(path.relative_to(root)) and path.is_file())


def _is_nifti(inside: Path) -> bool:
    hidden = any(part.startswith(".") or part in NOT_DATA for part in inside.parts)
    return not hidden and inside.name.lower().endswith(NIFTI_SUFFIXES)


def index_by_name(paths: Iterable[Path], name_of: Callable[[Path], str] = strip_suffix) -> dict[str, Path]:
    """Index files by name, by default without suffix. Raises UserError if two files have the same name."""
    found: dict[str, Path] = {}
    for path in paths:
        if (other := found.setdefault(name_of(path), path)) != path:
            raise UserError(f"{other} and {path} are one file of the set; remove the copy, or name the folder of one")
    return found


def is_lfs_pointer(path: Path) -> bool:
    """Tell whether a file is a Git LFS pointer to the real file."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def make_cohort(scans: Iterable[Scan], flow: Flow, root: Path, layout: str) -> Cohort:
    """Make cases from those scans that have masks and are complete files.

    Args:
        scans: all scans that were found, with or without masks.
        flow: receives the number of scans left out, by reason; the caller has set its ``rows``.
        root: the folder of the set, for error messages.
        layout: the expected files, for the error message if no scan is left.

    Raises:
        UserError: no scan with a mask is left.
    """
    cases = [_case(scan) for scan in _usable(scans, flow, root)]
    if not cases:
        left_out = "; ".join(f"{why}: {count}" for why, count in flow.excluded.items())
        raise UserError(
            f"{root} holds no scan with a mask{f' ({left_out})' if left_out else ''}; it should hold {layout}"
        )
    flow.cases = len(cases)
    flow.log()
    return Cohort(cases, flow)


def without_hospitals(cohort: Cohort) -> Cohort:
    """Record in the flow of a cohort that the hospitals of its set are not published."""
    cohort.flow.counts[NO_HOSPITALS] = len(cohort)
    return cohort


def _usable(scans: Iterable[Scan], flow: Flow, root: Path) -> Iterator[Scan]:
    pointers = 0
    for scan in scans:
        if fault := find_name_fault(scan.case_id):
            logger.warning(
                "%s: %r is left out, which cannot be a case id: %s", root, make_printable(scan.case_id), fault
            )
            flow.excluded["no usable id"] += 1
        elif not scan.masks:
            flow.excluded["no mask"] += 1
        elif any(is_lfs_pointer(path) for path in (*scan.series.files, *scan.masks.values())):
            flow.excluded["a Git LFS pointer in the place of scan or mask"] += 1
            pointers += 1
        else:
            yield scan
    if pointers:
        logger.warning("%s: %s left out: %s", root, format_count(pointers, "scan"), LFS_REMEDY)


def _case(scan: Scan) -> Case:
    return Case(
        scan.case_id,
        scan.site,
        person=scan.person or scan.case_id,
        ct=scan.series,
        masks=scan.masks,
        region_labels=scan.region_labels,
    )

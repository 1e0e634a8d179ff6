"""Cases of a repository: the rows of its clinical table are joined with the index images."""

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from kicc_ml.cohort.clinical_table import endpoint_columns, features, later_columns, read_clinical
from kicc_ml.cohort.ct_ranking import CRITERIA
from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.id_mismatch import find_likely_cause
from kicc_ml.cohort.index_image import (
    NO_DAY,
    OUTSIDE_WINDOW,
    WINDOW_DAYS,
    IndexRule,
    Serial,
    explain_date_mismatch,
    further_images,
    index_image,
)
from kicc_ml.cohort.mask_folders import check_labels, mask_folders, warn_of_masks_without_partner
from kicc_ml.cohort.persons import PersonConflict, link_persons, resolve_conflicts
from kicc_ml.cohort.temporal_guard import remove_late_values
from kicc_ml.cohort.units_apart import find_unit_mismatches
from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import REPOSITORY
from kicc_ml.core.pseudonym import load_repository_key, make_pseudonym
from kicc_ml.core.regions import MASK_NAMES
from kicc_ml.core.types import ENDPOINTS, Case, Series
from kicc_ml.data.mask_file import NO_LABELS, Labels
from kicc_ml.dicom.index.build import index_repository
from kicc_ml.dicom.pixels.read import read_image
from kicc_ml.dicom.series.geometry import GeometryPolicy

logger = logging.getLogger(__name__)

#: What the clinical table may be called, the first that is there counts.
TABLES = ("clinical.csv", "clinical.parquet", "clinical.xlsx", "clinical.xls")
#: Folders of a repository that are no hospitals.
NOT_HOSPITALS = ("masks", "truth")
#: Characters of a hospital's name in a case id; the pseudonym behind it tells hospitals apart that begin alike.
SITE_IN_ID = 80


class NoHospitalsError(UserError):
    """The repository has no hospital folders: it cannot be trained on, but its table can be summarised."""

    page = REPOSITORY


def repository(  # noqa: D417 - the classes named in the docstring explain their fields
    root: str | Path,
    *,
    ct_window_days: Sequence[int] | None = WINDOW_DAYS,
    cxr_window_days: Sequence[int] | None = WINDOW_DAYS,
    guard_endpoints: Collection[str] = ENDPOINTS,
    person_conflict: PersonConflict = "refuse",
    index_cache: str | Path | None = None,
    gaps: Literal["refuse", "resample"] = "refuse",
    tilt: Literal["refuse", "shear"] = "refuse",
    ct_ranking: Sequence[str] = tuple(CRITERIA),
    serial: Serial = "first",
    composites: Mapping[str, Sequence[str]] = MappingProxyType({}),
    mask_labels: Labels = NO_LABELS,
    endpoints: Sequence[str] = (),
    mask_names: Sequence[str] = MASK_NAMES,
) -> Cohort:
    """Read the cases of a repository: DICOM files in ``root/<site>/**`` and ``root/clinical.csv`` (or parquet, Excel).

    Some or all hospitals may have no images. Arguments that are not listed are fields of
    :class:`kicc_ml.cohort.index_image.IndexRule` and :class:`kicc_ml.dicom.series.geometry.GeometryPolicy`.

    Args:
        root: the repository.
        person_conflict: the rule for a person at two hospitals (:func:`kicc_ml.cohort.persons.resolve_conflicts`).
        index_cache: the parquet file that caches the DICOM index.
        composites: additional endpoints by name; each is 1 if any of its listed endpoints is 1.
        mask_labels: what the values of mask files mean.
        mask_names: the regions that mask files may be named after.
        endpoints: further 0/1 columns that are endpoints; they guard images and values if ``guard_endpoints`` do.

    Returns:
        One case per row of the table, in its order; a row without images becomes a case with clinical data only.

    Raises:
        UserError: no hospitals, no valid table, one person at two hospitals, or a composite of unknown endpoints.
    """
    root = Path(root)
    own = tuple(endpoints) if guard_endpoints else ()
    rule = IndexRule(ct_window_days, cxr_window_days, guard_endpoints, ct_ranking, serial, own)
    sites = hospitals_with_images(root)
    table = read_clinical(clinical_path(root), sites, endpoints)
    cache = Path(index_cache) if index_cache else None
    series = index_repository(root, cache, GeometryPolicy(gaps, tilt)) if sites else []
    key = load_repository_key(root)
    masks = mask_folders(root, key, check_labels(mask_labels, mask_names), mask_names)
    cases, flow = join(table, series, key, rule, masks, person_conflict)
    warn_of_masks_without_partner(root, series, key, bool(mask_labels), mask_names)
    _warn_of_cases(root, table, cases, flow)
    return Cohort([replace(add_composites(case, composites), mask_labels=mask_labels) for case in cases], flow)


def _warn_of_cases(root: Path, table: pd.DataFrame, cases: Sequence[Case], flow: Flow) -> None:
    """Log the flow, and warn of other units at a hospital, of dates that do not fit, and of a cohort without images."""
    flow.log()
    for mismatch in find_unit_mismatches(table):
        logger.warning("%s: %s, as in another unit: state it in columns.yaml", root, mismatch.in_words)
    warn_of_dates(root, flow)
    if not any(case.ct or case.cxr for case in cases):
        logger.warning("%s: no patient of the table has a usable image; only clinical models can be trained", root)


def hospitals(root: Path) -> list[str]:
    """List the names of the hospital folders of a repository.

    Raises:
        UserError: there is no such folder.
        NoHospitalsError: it holds no hospital.
    """
    layout = "lay down one folder of DICOM files per hospital and clinical.csv beside them"
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; {layout}, and give their folder as cohort.root=DIR", page=REPOSITORY)
    sites = [entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not (found := sorted(set(sites) - set(NOT_HOSPITALS))):
        raise NoHospitalsError(f"{root} holds no hospital folders; {layout}")
    return found


def hospitals_with_images(root: Path) -> list[str]:
    """List the names of the hospital folders; an empty list for a folder that holds only a clinical table."""
    try:
        return hospitals(root)
    except NoHospitalsError:
        if not clinical_path(root).is_file():
            raise
        return []


def clinical_path(root: Path) -> Path:
    """Find the first of ``TABLES`` that exists in a repository, else ``clinical.csv``."""
    return next((root / name for name in TABLES if (root / name).exists()), root / TABLES[0])


def join(
    table: pd.DataFrame,
    series: Sequence[Series],
    key: bytes,
    rule: IndexRule,
    masks: Mapping[str, Mapping[str, Path]],
    person_conflict: PersonConflict,
) -> tuple[list[Case], Flow]:
    """Join the rows of a clinical table with the index of images, by pseudonym; the core of :func:`repository`.

    Args:
        table: the clinical table after :func:`kicc_ml.cohort.clinical_table.read_clinical`.
        series: all series of the index.
        key: the key of the repository's pseudonyms.
        rule: the rule that chooses the index images.
        masks: the mask files, by pseudonym of the image, then by region.
        person_conflict: the rule for a person at two hospitals.

    Returns:
        One case per row that is kept, and how many rows and images were left out.
    """
    flow = Flow(rows=len(table))
    flow.counts.update(table.attrs.get("converted", {}))
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    values: list[Any] = features(table).to_dict("records")
    if later := later_columns(table):
        flow.counts["columns not used: a treatment, or what came later"] = len(later)
        logger.warning("columns that name a treatment or what came later are not used: %s", ", ".join(later))
    patients = [make_pseudonym(key, row["site"], row["patient_id"]) for row in rows]
    cause = find_likely_cause(table[["site", "patient_id"]], {one.patient for one in series} - set(patients), key)
    images_of = _images_of(patients, series, flow, f"; {cause}" if cause else "")
    cases = [
        _case(row, value, endpoint_columns(table), patient, images_of[patient], rule, masks, flow)
        for row, value, patient in zip(rows, values, patients, strict=True)
    ]
    copies = _copies(cases)
    traces = [
        _traces(row, images_of[patient], key) | copies[patient] for row, patient in zip(rows, patients, strict=True)
    ]
    cases = [replace(case, person=patients[first]) for case, first in zip(cases, link_persons(traces), strict=True)]
    cases, dropped = resolve_conflicts(cases, person_conflict)
    flow.excluded["the person is a patient of another hospital"] = dropped
    flow.cases = len(cases)
    return cases, flow


def make_case_id(site: str, patient: str) -> str:
    """Make a case id ``<site>_<patient pseudonym>`` that is safe as a file name and on a command line."""
    return f"{re.sub(r'[^A-Za-z0-9.-]', '-', site)[:SITE_IN_ID]}_{patient}"


def warn_of_dates(root: Path, flow: Flow) -> None:
    """Warn if days exclude at least as many images as there are cases with one: the table may hold wrong dates."""
    left_out = {why: n for why, n in flow.counts.items() if why.endswith((NO_DAY, OUTSIDE_WINDOW))}
    used = sum(n for what, n in flow.counts.items() if what.startswith("cases with ") and not what.endswith("no image"))
    if left_out and sum(left_out.values()) >= used:
        logger.warning("%s: %s", root, explain_date_mismatch(left_out))


def add_composites(case: Case, composites: Mapping[str, Sequence[str]]) -> Case:
    """Add composite endpoints: 1 if any of the parts is 1, 0 if all are 0, unknown otherwise."""
    if unknown := sorted({part for parts in composites.values() for part in parts} - set(case.endpoints)):
        raise UserError(f"composites: {', '.join(unknown)} unknown; there are {', '.join(case.endpoints)}")
    met = {name: [case.endpoints[part] for part in parts] for name, parts in composites.items()}
    added = {name: 1.0 if 1.0 in parts else float(sum(parts)) for name, parts in met.items()}  # NaN + 0 is NaN
    return replace(case, endpoints={**case.endpoints, **added})


def _images_of(patients: Sequence[str], series: Sequence[Series], flow: Flow, cause: str) -> dict[str, list[Series]]:
    """Group usable series by patient of the table; count the others, and warn of series without a row."""
    images: dict[str, list[Series]] = {patient: [] for patient in patients}
    strangers = Counter(one.site for one in series if one.usable and one.patient not in images)
    if strangers:
        where = ", ".join(f"{site} {count}" for site, count in sorted(strangers.items()))
        logger.warning(
            "%d series belong to no row of the clinical table and are not used: %s%s", strangers.total(), where, cause
        )
    flow.counts["series without a row of the table"] = strangers.total()
    flow.counts["series refused by the index"] = sum(not one.usable for one in series)
    for one in series:
        if one.usable and one.patient in images:
            images[one.patient].append(one)
    return images


def _traces(row: Mapping, images: Sequence[Series], key: bytes) -> set[tuple[str, str]]:
    """Collect the traces of a person: the stated id, and the studies and series, which two hospitals may share."""
    stated = {("person", make_pseudonym(key, row["person_id"]))} if row.get("person_id") else set()
    return stated | {("study", one.study) for one in images} | {("series", one.uid) for one in images}


def _copies(cases: Sequence[Case]) -> dict[str, set[tuple[str, str]]]:
    """Compute digests of index images, by person, if an image of another hospital has the same size.

    The digest of a CT is that of its middle slice: two people never have one that is equal to the last bit.
    """
    images = [(case, image) for case in cases for image in (case.ct, case.cxr) if image]
    sites_of_size = defaultdict(set)
    for _, image in images:
        sites_of_size[_size(image)].add(image.site)
    found: dict[str, set[tuple[str, str]]] = {case.person: set() for case in cases}
    for case, image in images:
        if len(sites_of_size[_size(image)]) > 1:
            found[case.person] |= _pixel_trace(image.files[len(image.files) // 2])
    return found


def _pixel_trace(path: Path) -> set[tuple[str, str]]:
    """Compute the digest of the decoded pixel values, for any compression; none if the image is blank or unreadable."""
    try:
        stored = read_image(path).stored
    except UserError:
        return set()  # whoever reads the image says so
    return set() if stored.min() == stored.max() else {("pixels", hashlib.sha256(stored.tobytes()).hexdigest())}


def _size(image: Series) -> tuple[str, int, int, int]:
    return image.modality, image.rows, image.columns, image.slices


def _case(
    row: Mapping,
    values: Mapping[str, float],
    endpoints: Sequence[str],
    patient: str,
    images: Sequence[Series],
    rule: IndexRule,
    masks: Mapping[str, Mapping[str, Path]],
    flow: Flow,
) -> Case:
    ct, ct_obstacles = index_image("CT", images, row, rule)
    cxr, cxr_obstacles = index_image("CXR", images, row, rule)
    clinical, late = remove_late_values(values, row, rule)
    flow.counts.update(ct_obstacles + cxr_obstacles + late)
    kinds = " and ".join(name for name, image in (("CT", ct), ("CXR", cxr)) if image)
    flow.counts[f"cases with {kinds or 'no image'}"] += 1
    return Case(
        case_id=make_case_id(row["site"], patient),
        site=row["site"],
        person=patient,
        ct=ct,
        cxr=cxr,
        clinical=clinical,
        endpoints={name: float("nan") if row.get(name) is None else row[name] for name in endpoints},
        masks=masks.get(ct.uid, {}) if ct else {},
        admitted=row.get("admission_date"),
        further=further_images("CT", images, row, rule) + further_images("CXR", images, row, rule),
        cxr_masks={region: (path,) for region, path in masks.get(cxr.uid, {}).items()} if cxr else {},
    )

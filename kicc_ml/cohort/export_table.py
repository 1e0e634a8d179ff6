"""Export of a repository's clinical table and masks: identifiers become pseudonyms, dates shift with the images."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kicc_ml.cohort.clinical_table import is_register, read_clinical
from kicc_ml.cohort.mask_folders import mask_folders
from kicc_ml.cohort.repository import clinical_path, hospitals
from kicc_ml.core.errors import TargetError, UserError, make_target_error
from kicc_ml.core.files import whole_file
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.shown import escape_formulas
from kicc_ml.core.types import Series
from kicc_ml.data.mask_file import DICOM_SUFFIX, PlacedMask, read_mask, read_placed_masks
from kicc_ml.dicom.deidentify.export import ExportResult, make_site_folder_name
from kicc_ml.dicom.deidentify.manifest import (
    CopyFolder,
    Entry,
    compute_source_digest,
    compute_source_state,
    is_unchanged,
)
from kicc_ml.dicom.deidentify.replacements import MAX_AGE_YEARS, make_uid, shift_date
from kicc_ml.dicom.header.shown_path import decode_path
from kicc_ml.dicom.index.build import SourceIndex
from kicc_ml.dicom.series.image_files import write_nifti

TABLE, SUFFIX = "clinical.csv", ".nii.gz"
#: Columns whose values are replaced by pseudonyms.
IDENTIFIERS = ("patient_id", "person_id")


def read_tables(found: Sequence[SourceIndex]) -> list[tuple[SourceIndex, pd.DataFrame]]:
    """Read the clinical tables of those sources that have one. Raises UserError for an invalid table."""
    with_table = [source for source in found if clinical_path(source.root).is_file()]
    return [(one, read_clinical(clinical_path(one.root), hospitals(one.root))) for one in with_table]


def export_tables(tables: Sequence[tuple[SourceIndex, pd.DataFrame]], exported: ExportResult, copy: CopyFolder) -> int:
    """Write ``clinical.csv`` with the rows of all patients of the exported sites.

    If there is no row, no file is written, and the file of an earlier export is removed.

    Returns:
        The number of rows written.
    """
    parts = []
    for source, table in tables:
        names = {series.site: make_site_folder_name(one, series) for one, series in exported.written if one is source}
        parts.append(pseudonymize_table(table[table["site"].isin(list(names))], source.key, names))
    path = copy.root / TABLE
    if not any(len(part) for part in parts):
        _remove(path)
        return 0
    whole = pd.concat(parts, ignore_index=True)
    with whole_file(path) as partial:
        escape_formulas(whole).to_csv(partial, index=False, float_format="%.10g")
    return len(whole)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise make_target_error(path, error) from error


def pseudonymize_table(table: pd.DataFrame, key: bytes, names: dict[str, str] | None = None) -> pd.DataFrame:
    """Replace the identifiers of a clinical table by pseudonyms and shift its dates.

    Birth dates and register numbers are left out. Ages are limited to ``MAX_AGE_YEARS``.

    Args:
        table: a table of :func:`kicc_ml.cohort.clinical_table.read_clinical`.
        key: the key of the pseudonyms.
        names: the new site names, by site, if the exported folders have other names.
    """
    patients = [make_pseudonym(key, *pair) for pair in zip(table["site"], table["patient_id"], strict=True)]
    copy = table.drop(columns=[name for name in map(str, table) if _identifies(name, table[name])])
    copy["site"] = [(names or {}).get(site) or decode_path(site) for site in table["site"]]
    copy["patient_id"] = patients
    copy["age_years"] = copy["age_years"].clip(upper=MAX_AGE_YEARS)
    if "person_id" in copy:
        copy["person_id"] = copy["person_id"].map(lambda person: make_pseudonym(key, person), na_action="ignore")
    for name in map(str, copy):
        if name.endswith("_date"):
            pairs = zip(patients, copy[name], strict=True)
            copy[name] = [None if pd.isna(day) else shift_date(key, patient, day) for patient, day in pairs]
    return copy


def _identifies(name: str, cells: pd.Series) -> bool:
    if name.endswith("_date"):
        return "birth" in name
    return name not in IDENTIFIERS and is_register(name, cells)


def export_masks(exported: ExportResult, copy: CopyFolder) -> int:
    """Write the masks of the exported series under the UIDs of the copies and with plain headers.

    A mask that cannot be read is recorded in ``exported.set_aside``. Masks of series that are no longer exported are
    removed.

    Returns:
        The number of mask files in the copy.
    """
    planned: dict[str, tuple[SourceIndex, Series, dict[str, Path]]] = {}
    for source in {id(source): source for source, _ in exported.written}.values():
        written = {series.uid: series for one, series in exported.written if one is source}
        for uid, paths in mask_folders(source.root, source.key).items():
            for region, path in paths.items() if uid in written else ():
                folder = f"masks/{make_uid(source.key, path.parent.name)}"
                planned.setdefault(folder, (source, written[uid], {}))[2][region] = path
    copy.remove_others(planned, masks=True)
    copy.reserve_folders(planned)
    for folder, (source, series, masks) in planned.items():
        copied = {name: _copy_mask(masks[name], copy, folder, name, series, source.key, exported) for name in masks}
        copy.record_files(folder, {f"{name}{SUFFIX}": entry for name, entry in copied.items() if entry})
    return sum(len(copy.folders.get(folder, ())) for folder in planned)


def _read_mask(path: Path, region: str, series: Series) -> PlacedMask:
    """Read a mask with its affine. For a mask in DICOM, the image is read too."""
    if path.suffix.lower() != DICOM_SUFFIX:
        return read_mask(path)
    from kicc_ml.dicom.volume.read import read_volume  # only an export of such masks waits for MONAI

    return read_placed_masks({region: path}, {}, series, read_volume(series))[region]


def _copy_mask(
    path: Path, copy: CopyFolder, folder: str, region: str, series: Series, key: bytes, exported: ExportResult
) -> Entry | None:
    target, known = copy.folder(folder) / f"{region}{SUFFIX}", copy.folders[folder].get(f"{region}{SUFFIX}")
    try:
        state, digest = compute_source_state(key, path), compute_source_digest(key, path.read_bytes())
        if not (known and known.digest == digest and is_unchanged(target, known)):
            write_nifti(target, *_read_mask(path, region, series))
        return Entry(digest, state, target.stat().st_size)
    except TargetError:
        raise
    except (UserError, OSError):  # an error message names the folder, which is a UID of the source
        exported.set_aside[f"mask {region} of series {series.uid}"] = "cannot be read as a mask"
        return None

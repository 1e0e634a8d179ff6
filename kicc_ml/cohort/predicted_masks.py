"""Masks that other software predicted: files are matched with cases, and masks are read on the grid of the CT."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS, find_region, is_known
from kicc_ml.core.types import Case, Volume
from kicc_ml.data.masks import reference_masks
from kicc_ml.dicom.results.read_segmentation import (
    SegmentationHeader,
    read_masks_on_grid,
    read_segments,
    read_series_uids,
)
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES, strip_suffix

SEGMENTATION_SUFFIX = ".dcm"


def list_files_by_case(folder: Path, cases: Mapping[str, Case]) -> list[tuple[str, Path]]:
    """List every mask file below ``folder`` with its case id; a file of no case has its own name in place of the id.

    A NIfTI file is named ``<case_id>.nii.gz``. A DICOM Segmentation (``.dcm``), or its folder, may be named so too;
    else the CT that it refers to determines the case. Raises UserError, with all names, if segments are no known
    region.
    """
    nifti = [
        (strip_suffix(path), path) for path in _files(folder.glob("*")) if path.name.lower().endswith(NIFTI_SUFFIXES)
    ]
    dicom = [path for path in _files(folder.rglob("*")) if path.suffix.lower() == SEGMENTATION_SUFFIX]
    segmentations = [read_segments(path) for path in dicom]
    _require_known(folder, segmentations)
    case_of = {uid: case.case_id for case in cases.values() if case.ct and (uid := read_series_uids(case.ct)[0])}
    return nifti + [(_case_id(one, cases, case_of), one.path) for one in segmentations]


def predicted_masks(case: Case, path: Path, volume: Volume) -> dict[str, np.ndarray]:
    """Read predicted regions as bool ``[x, y, z]`` on the grid of ``volume``, the CT of the case.

    A NIfTI file holds the lesion only. Raises UserError for a file on another grid, with other values than 0 and one
    more, or without a lesion.
    """
    if path.suffix.lower() != SEGMENTATION_SUFFIX:
        return _from_nifti(case, path, volume)
    assert case.ct is not None
    masks = read_masks_on_grid(read_segments(path), case.ct, volume)
    if not is_known("lesion", masks):
        raise UserError(f"{path}: has no segment of the lesion, nor both of ground glass and consolidation")
    return {region: found for region in REGIONS if (found := find_region(masks, region)) is not None}


def _from_nifti(case: Case, path: Path, volume: Volume) -> dict[str, np.ndarray]:
    try:
        return reference_masks(replace(case, masks={"lesion": path}, mask_labels={}, region_labels={}), volume)
    except UserError as error:
        raise UserError(
            f"{path}: {error}; a predicted mask is 0 outside and 1 inside, on the grid of the scan: cut probabilities "
            "at the threshold you mean, and leave other labels out"
        ) from error


def _files(paths: Iterable[Path]) -> list[Path]:
    return [path for path in sorted(paths) if path.is_file() and not path.name.startswith(".")]


def _require_known(folder: Path, segmentations: Sequence[SegmentationHeader]) -> None:
    strange = sorted({label for one in segmentations for label in one.strange})
    if strange:
        raise UserError(
            f"{folder}: segments that are none of lung, left lung, right lung, lesion, ground glass and consolidation: "
            f"{', '.join(strange)}; rename them, or leave them out"
        )


def _case_id(one: SegmentationHeader, cases: Mapping[str, Case], case_of: Mapping[str, str]) -> str:
    named = next((name for name in (one.path.stem, one.path.parent.name) if name in cases), None)
    return named or case_of.get(one.series, one.path.name)

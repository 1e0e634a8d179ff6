"""Names of the files of a case in reasons that are written to files: without folders and names from the hospital."""

from pathlib import Path

from kicc_ml.core.types import Case, Series
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES, RADIOGRAPH_SUFFIXES


def name_series_files(series: Series) -> dict[Path, str]:
    """Name the files of a DICOM series by number in order of position, and a NIfTI or picture by its own name."""
    return {path: _name(path, number, series.uid) for number, path in enumerate(series.files, start=1)}


def name_case_files(case: Case) -> dict[Path, str]:
    """Name the images and masks of a case, whose folders may be named by true UIDs."""
    images = [series for view in case.views for series in (view.ct, view.cxr) if series is not None]
    names = {path: name for series in images for path, name in name_series_files(series).items()}
    masks = [(region, path) for region, path in case.masks.items()]
    masks += [(region, path) for region, paths in case.cxr_masks.items() for path in paths]
    return names | {path: f"the mask {region}" for region, path in masks}


def _name(path: Path, number: int, uid: str) -> str:
    named_by_case = path.name.lower().endswith(NIFTI_SUFFIXES + RADIOGRAPH_SUFFIXES)
    return path.name if named_by_case else f"file {number} of series {uid}"

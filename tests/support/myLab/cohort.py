"""A cohort in a layout of its own: DIR/<hospital>/<patient>_ct.nii.gz and <patient>_lesion.nii.gz."""

from pathlib import Path

from kicc_ml.core.types import Case
from kicc_ml.dicom.series.image_files import make_nifti_series


def pairs(root: str | Path, region: str = "lesion") -> list[Case]:
    """A case for each pair; what is marked is called ``region``."""
    return [_case(path, region) for path in sorted(Path(root).glob("*/*_ct.nii.gz"))]


def _case(path: Path, region: str) -> Case:
    site, patient = path.parent.name, path.name.removesuffix("_ct.nii.gz")
    ct = make_nifti_series(path, site=site, patient=patient, units="hu")
    masks = {region: path.with_name(f"{patient}_lesion.nii.gz")}
    return Case(f"{site}-{patient}", site, f"{site}-{patient}", ct=ct, masks=masks)

"""Read and write images that are not DICOM: NIfTI volumes and masks, PNG and JPEG radiographs."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from kicc_ml.core.files import whole_file
from kicc_ml.core.types import Series, Units, Verdict
from kicc_ml.dicom.pixels.picture_file import describe_picture, read_picture
from kicc_ml.dicom.pixels.source import NotAnImage
from kicc_ml.dicom.series.nifti_file import compute_spacing_mm, is_voxel_size, make_nifti_image, read_affine_ras
from kicc_ml.dicom.series.reasons import REASONS

NIFTI_SUFFIXES = (".nii", ".nii.gz")
RADIOGRAPH_SUFFIXES = (".png", ".jpg", ".jpeg")


def make_nifti_series(
    path: Path,
    *,
    site: str,
    patient: str,
    units: Units,
    spacing_known: bool = True,
    grey_window_hu: tuple[float, float] | None = None,
) -> Series:
    """Make a CT series of a NIfTI volume from its header; its ids are the file name.

    A file that cannot be read, or holds no single 3-D volume, comes back refused, as does one whose voxel size is that
    of no CT. Where the affine and the voxel size of a header (pixdim) disagree the affine holds.
    ``spacing_known=False`` is for collections that write 1 mm where they do not know, ``grey_window_hu`` (the HU of the
    grey values 0 and 255) for those that were windowed.
    """
    reasons: tuple[str, ...] = ()
    shape: tuple[int, ...] = (0, 0, 0)
    spacing_mm = (0.0, 0.0, 0.0)
    try:
        image = nib.load(path)
        shape, spacing_mm = tuple(image.header.get_data_shape()), compute_spacing_mm(read_affine_ras(image))
    except Exception:  # a damaged header can raise anything in the parser; the intake goes on
        reasons = ("unreadable",)
    if not reasons and (len(shape) < 3 or any(size > 1 for size in shape[3:])):
        reasons = ("not_3d",)
    elif not reasons and not is_voxel_size(spacing_mm):
        reasons = ("voxel_size",)
    columns, rows, slices = (*shape, 1, 1, 1)[:3]
    known_mm = spacing_mm if spacing_known and not reasons else None
    series = _make_series(path, site, patient, "CT", (rows, columns, slices), known_mm, units, reasons)
    return replace(series, grey_window_hu=grey_window_hu)


def make_radiograph_series(path: Path, *, site: str, patient: str, projection: str = "") -> Series:
    """Make a series of a PNG or JPEG radiograph from its header. Its ids are the file name.

    Returns:
        the series, refused with the code of the fault if the file is not a usable picture.
    """
    reasons: tuple[str, ...] = ()
    rows = columns = 0
    try:
        coded = describe_picture(path)
        rows, columns = coded.rows, coded.columns
    except NotAnImage as fault:
        reasons = (fault.code,)
    return _make_series(path, site, patient, "CXR", (rows, columns, 1), None, "arbitrary", reasons, projection)


def explain_refusal(series: Series) -> str:
    """Explain why a series was refused; for a picture file also what it holds instead of a PNG or JPEG."""
    path = series.files[0]
    if path.name.lower().endswith(RADIOGRAPH_SUFFIXES):
        try:
            describe_picture(path)
        except NotAnImage as fault:
            return str(fault).removeprefix(f"{path}: ")
    return "; ".join(REASONS.get(code, code) for code in series.reasons)


def _make_series(
    path: Path,
    site: str,
    patient: str,
    modality: str,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None,
    units: Units,
    reasons: tuple[str, ...],
    projection: str = "",
) -> Series:
    rows, columns, slices = shape
    verdict: Verdict = "refused" if reasons else "usable"
    uid = strip_suffix(path)
    return Series(
        site=site,
        patient=patient,
        study=uid,
        uid=uid,
        modality=modality,
        files=(path,),
        rows=rows,
        columns=columns,
        slices=slices,
        spacing_mm=spacing_mm,
        units=units,
        verdict=verdict,
        reasons=reasons,
        projection=projection,
    )


def strip_suffix(path: Path) -> str:
    """Return the name of an image file without its suffix; ``.nii.gz`` counts as one suffix."""
    return path.name.removesuffix(".gz").removesuffix(".nii") if path.name.endswith(NIFTI_SUFFIXES) else path.stem


def read_radiograph(path: Path) -> np.ndarray:
    """Read the grey values ``[x, y]`` of a PNG or JPEG, upright, as float32; see :func:`read_picture`."""
    return read_picture(path).T.astype(np.float32)


def write_nifti(path: Path, array_xyz: np.ndarray, affine_ras: np.ndarray, orientation_known: bool = True) -> None:
    """Write a NIfTI file (.nii or .nii.gz), completely or not at all. A mask is stored as uint8 0/1.

    Args:
        path: the file.
        array_xyz: the volume or boolean mask ``[x, y, z]``.
        affine_ras: its affine in mm (RAS).
        orientation_known: if False, the file states voxel sizes only.
    """
    array_xyz = array_xyz.astype(np.uint8) if array_xyz.dtype == bool else array_xyz
    with whole_file(path) as partial:
        nib.save(make_nifti_image(array_xyz, affine_ras, orientation_known), partial)

"""Read and write images that are not DICOM: NIfTI volumes and masks, PNG and JPEG radiographs."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import whole_file
from kicc_ml.core.types import Series, Units, Verdict
from kicc_ml.dicom.pixels.picture_file import describe_picture, read_picture
from kicc_ml.dicom.pixels.source import NotAnImage
from kicc_ml.dicom.series.reasons import REASONS

NIFTI_SUFFIXES = (".nii", ".nii.gz")
RADIOGRAPH_SUFFIXES = (".png", ".jpg", ".jpeg")
#: Millimetres per unit of length of NIfTI; files that state no unit are in millimetres.
UNIT_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
#: Possible voxel sizes of a chest image in mm; other values are stated in a wrong unit.
MIN_VOXEL_MM, MAX_VOXEL_MM = 0.05, 50.0
#: NIfTI code (qform_code, sform_code) of coordinates aligned to the scanner.
SCANNER_ANATOMICAL = 1


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
        shape, spacing_mm = tuple(image.header.get_data_shape()), _compute_spacing_mm(_read_affine_ras(image))
    except Exception:  # a damaged header can raise anything in the parser; the intake goes on
        reasons = ("unreadable",)
    if not reasons and (len(shape) < 3 or any(size > 1 for size in shape[3:])):
        reasons = ("not_3d",)
    elif not reasons and not _is_voxel_size(spacing_mm):
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


def states_orientation(path: Path) -> bool:
    """Whether a NIfTI states its orientation in the patient, by an sform or qform whose code is not 0 (unknown)."""
    header = nib.load(path).header
    return bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def _read_affine_ras(image: nib.Nifti1Image) -> np.ndarray:
    """Read the affine in mm from the sform, else the qform, else from the voxel sizes only."""
    unit, _ = image.header.get_xyzt_units()
    return np.diag([UNIT_MM[unit]] * 3 + [1.0]) @ np.asarray(image.affine, dtype=float)


def _compute_spacing_mm(affine_ras: np.ndarray) -> tuple[float, float, float]:
    x_mm, y_mm, z_mm = np.linalg.norm(affine_ras[:3, :3], axis=0).tolist()
    return x_mm, y_mm, z_mm


def _is_voxel_size(spacing_mm: tuple[float, ...]) -> bool:
    return all(MIN_VOXEL_MM <= mm <= MAX_VOXEL_MM for mm in spacing_mm)  # nan is not


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a NIfTI volume.

    Returns:
        the array ``[x, y, z]``, int16 if all its values are integers of that range, else float32; and the affine in mm
        (RAS).

    Raises:
        UserError: the file cannot be read, or does not hold one three-dimensional volume.
    """
    try:
        image = nib.load(path)
        array, affine_ras = np.asanyarray(image.dataobj), _read_affine_ras(image)
    except Exception as error:  # nibabel, zlib and the file system each have their own
        raise UserError(f"{path}: cannot be read as NIfTI ({error}); is the file whole?") from error
    array = array.reshape(array.shape[:3]) if array.ndim > 3 and array[..., 0].size == array.size else array
    if array.ndim != 3:
        raise UserError(f"{path}: shape {array.shape}; one three-dimensional volume is needed")
    return _convert_to_int16_where_exact(array), affine_ras


def _convert_to_int16_where_exact(array: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int16)
    fits = array.size > 0 and array.min() >= limits.min and array.max() <= limits.max
    if fits and (array.dtype.kind in "iu" or np.array_equal(array, np.round(array))):
        return array.astype(np.int16)
    return array.astype(np.float32)


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
    image = nib.Nifti1Image(array_xyz, affine_ras)
    image.header.set_xyzt_units("mm")
    code = SCANNER_ANATOMICAL if orientation_known else 0
    image.set_qform(affine_ras, code)
    image.set_sform(affine_ras, code)
    with whole_file(path) as partial:
        nib.save(image, partial)

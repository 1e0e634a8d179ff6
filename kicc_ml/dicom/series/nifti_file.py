"""Read a NIfTI volume as an array with its place in the patient; it needs nibabel alone, as a bundle has it."""

from pathlib import Path

import nibabel as nib
import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import HU_CEILING, HU_FLOOR, Units, Volume

#: Millimetres per unit of length of NIfTI; files that state no unit are in millimetres.
UNIT_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
#: Possible voxel sizes of a chest image in mm; other values are stated in a wrong unit.
MIN_VOXEL_MM, MAX_VOXEL_MM = 0.05, 50.0
#: NIfTI code (qform_code, sform_code) of coordinates aligned to the scanner.
SCANNER_ANATOMICAL = 1


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
        array, affine_ras = np.asanyarray(image.dataobj), read_affine_ras(image)
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


def make_nifti_volume(
    array_xyz: np.ndarray, affine_ras: np.ndarray, units: Units, *, spacing_known: bool, orientation_known: bool
) -> Volume:
    """Make the volume of what :func:`read_nifti` gives.

    Args:
        array_xyz: the voxels.
        affine_ras: their affine in mm.
        units: what the values are; of HU, those beyond the range of a CT are clipped.
        spacing_known: False for a collection that states 1 mm where it does not know; voxels are counted then.
        orientation_known: as :func:`states_orientation` says.
    """
    if units == "hu":
        array_xyz = array_xyz.clip(HU_FLOOR, HU_CEILING)
    if not spacing_known:
        affine_ras = affine_ras @ np.diag([*1 / np.linalg.norm(affine_ras[:3, :3], axis=0), 1.0])
    return Volume(array_xyz, affine_ras, units, spacing_known, orientation_known)


def states_orientation(path: Path) -> bool:
    """Whether a NIfTI states its orientation in the patient, by an sform or qform whose code is not 0 (unknown)."""
    header = nib.load(path).header
    return bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def read_affine_ras(image: nib.Nifti1Image) -> np.ndarray:
    """Read the affine in mm from the sform, else the qform, else from the voxel sizes only."""
    unit, _ = image.header.get_xyzt_units()
    return np.diag([UNIT_MM[unit]] * 3 + [1.0]) @ np.asarray(image.affine, dtype=float)


def compute_spacing_mm(affine_ras: np.ndarray) -> tuple[float, float, float]:
    """Compute the lengths of the axes of a voxel, in mm."""
    x_mm, y_mm, z_mm = np.linalg.norm(affine_ras[:3, :3], axis=0).tolist()
    return x_mm, y_mm, z_mm


def is_voxel_size(spacing_mm: tuple[float, ...]) -> bool:
    """Whether a chest image can have voxels of this size."""
    return all(MIN_VOXEL_MM <= mm <= MAX_VOXEL_MM for mm in spacing_mm)  # nan is not


def make_nifti_image(array_xyz: np.ndarray, affine_ras: np.ndarray, orientation_known: bool = True) -> nib.Nifti1Image:
    """Make the image of a volume or mask ``[x, y, z]``.

    Args:
        array_xyz: its voxels.
        affine_ras: its affine in mm (RAS).
        orientation_known: if False, the file states voxel sizes only.
    """
    image = nib.Nifti1Image(array_xyz, affine_ras)
    image.header.set_xyzt_units("mm")
    code = SCANNER_ANATOMICAL if orientation_known else 0
    image.set_qform(affine_ras, code)
    image.set_sform(affine_ras, code)
    return image

"""What the files of a CT series say of themselves under their true names: for sets whose labels name them by UID."""

from dataclasses import dataclass

import numpy as np
import pydicom

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.series import geometry

TAGS = ("PatientID", "SOPInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


@dataclass(frozen=True)
class Slices:
    """True PatientID of a series, SOPInstanceUID of each slice in order, and the affine of the whole stack."""

    patient_id: str
    sop_uids: tuple[str, ...]
    affine_ras: np.ndarray


@suppress_warnings()
def read_patient_id(series: Series) -> str:
    """Read the true PatientID from the first file. It is shown for public data sets, never for hospitals."""
    return str(_read(series, 0).get("PatientID", "")).strip()


@suppress_warnings()
def read_slices(series: Series) -> Slices:
    """Headers of all slices of a series with a file for each slice, none of which was repaired by interpolation.

    Raises:
        UserError: a file cannot be read, or says no more where its slice lies.
    """
    images = [_read(series, number) for number in range(len(series.files))]
    try:
        positions_mm = np.array([image.ImagePositionPatient for image in images], float)
        orientation = np.array(images[0].ImageOrientationPatient, float)
        spacing_mm = np.array(images[0].PixelSpacing, float)
        uids = tuple(str(image.SOPInstanceUID) for image in images)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{series.files[0]}: a slice does not say where it lies; download the series again") from error
    affine_ras = geometry.compute_affine_ras(positions_mm, orientation, spacing_mm)
    return Slices(str(images[0].get("PatientID", "")).strip(), uids, affine_ras)


def _read(series: Series, number: int) -> pydicom.Dataset:
    path = series.files[number]
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS), force=True)
    except Exception as error:  # a damaged file can raise anything in the parser
        raise UserError(f"{path}: cannot be read as DICOM; download it again") from error

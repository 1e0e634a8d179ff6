"""Write DICOM files of one CT series or one radiograph, as a hospital archive would send them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from kicc_ml.synthetic.anatomy import Grid, Sex
from kicc_ml.synthetic.hospital import Hospital
from kicc_ml.synthetic.korean_names import choose_korean_name
from kicc_ml.synthetic.pixel_encoding import choose_bits_stored, set_pixels
from kicc_ml.synthetic.radiograph import MAX_12_BIT_VALUE

CODE_FIXED, KOREAN = "", "ISO 2022 IR 149"


@dataclass(frozen=True)
class ImageOrder:
    """Whose image it is and when it was taken; with ``seed`` (of the image) it determines every byte.

    ``anatomy_seed`` is the patient's. Studies are per patient and day, series per image.
    """

    site: str
    patient_id: str
    sex: Sex
    age_years: float
    modality: Literal["CT", "CXR"]
    acquired: datetime
    projection: Literal["AP", "PA", ""]  # empty for a CT
    anatomy_seed: int
    seed: int

    @property
    def study_uid(self) -> UID:
        """Each CT is a study of its own, as it was ordered; the radiographs of a day share one."""
        when = f"{self.acquired:%Y%m%d%H%M%S}" if self.modality == "CT" else f"{self.acquired:%Y%m%d}"
        return self._uid("study", when)

    @property
    def series_uid(self) -> UID:
        """Return the series UID; the same seed gives the same UID."""
        return self._uid("series", self.modality, str(self.seed))

    @property
    def frame_uid(self) -> UID:
        """Return the frame of reference UID; the same seed gives the same UID."""
        return self._uid("frame of reference", str(self.seed))

    def instance_uid(self, number: int) -> UID:
        """Return the SOP instance UID of a slice; the same seed gives the same UID."""
        return self._uid("instance", self.modality, str(self.seed), str(number))

    def _uid(self, *parts: str) -> UID:
        return generate_uid(entropy_srcs=["kicc_ml", str(self.anatomy_seed), self.site, self.patient_id, *parts])


def make_ct_affine_ras(grid: Grid) -> np.ndarray:
    """Make the RAS affine of ``[x, y, z]`` on this grid as written; LPS is converted to RAS."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.block(
        [[np.diag(grid.spacing_mm), np.array(grid.first_mm)[:, None]], [0, 0, 0, 1]]
    )


def make_radiograph_affine_ras(pixel_mm: float) -> np.ndarray:
    """Make the RAS affine of ``[column, row, 1]`` of a radiograph: columns to the left, rows to the feet."""
    affine_ras = np.zeros((4, 4))
    affine_ras[0, 0] = affine_ras[2, 1] = affine_ras[1, 2] = -pixel_mm
    affine_ras[3, 3] = 1.0
    return affine_ras


def write_ct(folder: Path, hu_xyz: np.ndarray, grid: Grid, hospital: Hospital, order: ImageOrder) -> None:
    """Write one axial series into an empty folder: one file per slice, and what this hospital's habits add."""
    rng = np.random.default_rng([order.seed, 1])
    habits, slices = hospital.habits, grid.shape[2]
    stored = _convert_to_stored(hu_xyz, hospital)
    names = _generate_file_names(order, habits.shuffled_file_names)
    numbers = np.arange(slices, 0, -1)  # from head to foot
    if habits.instance_number_disordered:
        numbers = rng.permutation(numbers)
    dataset = _make_ct_description(hospital, order, grid)
    for z in rng.permutation(slices) if habits.shuffled_file_names else range(slices - 1, -1, -1):
        _identify(dataset, order.instance_uid(int(z)), None if habits.instance_number_missing else int(numbers[z]))
        height = grid.first_mm[2] + z * grid.spacing_mm[2]
        dataset.ImagePositionPatient = _format_decimals(*grid.first_mm[:2], height)
        dataset.SliceLocation = _format_decimals(height)[0]
        set_pixels(dataset, stored[:, :, z].T, hospital.transfer_syntax)
        _save(dataset, folder / next(names))
    if habits.duplicated_slice:  # the last one, sent twice
        _save(dataset, folder / next(names))
    if habits.localizer_in_series:
        _save(_make_localizer(hospital, order, grid, hu_xyz), folder / next(names))
    if habits.dose_page_in_series:
        _save(_make_dose_page(hospital, order), folder / next(names))


def write_radiograph(
    folder: Path, image_xz: np.ndarray, pixel_mm: float, hospital: Hospital, order: ImageOrder
) -> None:
    """Write one frontal radiograph (uint16, 12 bit, ``[x, z]`` with z upwards and bright bone) into a folder."""
    digital = hospital.cxr_modality == "DX"
    storage = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    dataset = _make_description(hospital, order, storage)
    stored = MAX_12_BIT_VALUE - image_xz if hospital.monochrome1 else image_xz
    syntax = hospital.transfer_syntax
    dataset.Modality, dataset.Manufacturer = hospital.cxr_modality, hospital.cxr_vendor
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""] if digital else ["ORIGINAL", "PRIMARY"]
    dataset.ViewPosition = order.projection
    dataset.PatientOrientation = ["L", "F"]
    dataset.SeriesDescription = f"CHEST {order.projection}"
    dataset.ImagerPixelSpacing = dataset.PixelSpacing = _format_decimals(pixel_mm, pixel_mm)
    photometric = "MONOCHROME1" if hospital.monochrome1 else "MONOCHROME2"
    _describe_pixels(dataset, stored.T.shape, choose_bits_stored(12, syntax), signed=False, photometric=photometric)
    if digital:
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.PresentationLUTShape = "INVERSE" if hospital.monochrome1 else "IDENTITY"
    number = None if hospital.habits.instance_number_missing else 1
    _identify(dataset, order.instance_uid(0), number)
    set_pixels(dataset, stored.T[::-1].astype(np.uint16), syntax)
    _save(dataset, folder / next(_generate_file_names(order, hospital.habits.shuffled_file_names)))


def _make_description(hospital: Hospital, order: ImageOrder, storage: UID) -> Dataset:
    """Make the attributes that all files of a series share: patient, study, series, equipment."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = storage
    name = choose_korean_name(order.anatomy_seed, order.sex)
    if hospital.habits.korean_names:
        dataset.SpecificCharacterSet = [CODE_FIXED, KOREAN]
    dataset.PatientName = name.in_three_scripts if hospital.habits.korean_names else name.latin
    dataset.PatientID, dataset.PatientSex, dataset.PatientBirthDate = order.patient_id, order.sex, ""
    dataset.PatientAge = f"{int(order.age_years):03d}Y"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = order.study_uid, order.series_uid
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "", "", ""
    day, time = f"{order.acquired:%Y%m%d}", f"{order.acquired:%H%M%S}"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day
    dataset.StudyTime = "080000"
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = time
    dataset.AcquisitionDateTime = day + time
    dataset.SeriesNumber = 2 if order.modality == "CT" else 1
    dataset.InstitutionName, dataset.Manufacturer = hospital.name, hospital.vendor.manufacturer
    dataset.BodyPartExamined = "CHEST"
    if hospital.habits.private_tags:
        block = dataset.private_block(0x0029, "KICC SYNTHETIC HEADER", create=True)
        block.add_new(0x10, "LO", f"{order.site}^{order.patient_id}")
        block.add_new(0x11, "OB", hashlib.sha256(order.series_uid.encode()).digest())
    return dataset


def _make_ct_description(hospital: Hospital, order: ImageOrder, grid: Grid) -> Dataset:
    dataset = _make_description(hospital, order, CTImageStorage)
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ManufacturerModelName = hospital.vendor.ct_model
    dataset.ConvolutionKernel = hospital.kernel
    dataset.SeriesDescription = f"CHEST {hospital.kernel}"
    dataset.KVP, dataset.Exposure = "120", str(round(hospital.tube_current_mas))
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = order.frame_uid
    dataset.PositionReferenceIndicator = ""
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.PixelSpacing = _format_decimals(grid.spacing_mm[1], grid.spacing_mm[0])
    dataset.SpacingBetweenSlices = _format_decimals(grid.spacing_mm[2])[0]
    dataset.SliceThickness = _format_decimals(round(grid.spacing_mm[2] * hospital.overlap, 2))[0]
    columns, rows = grid.shape[:2]
    _describe_pixels(dataset, (rows, columns), 16, signed=_choose_stored_type(hospital) is np.int16)
    dataset.RescaleIntercept, dataset.RescaleSlope = str(hospital.vendor.rescale_intercept), "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "-600", "1500"  # of the lungs, as scanners state it for a chest
    if hospital.vendor.padding_hu is not None:
        dataset.PixelPaddingValue = hospital.vendor.padding_hu - hospital.vendor.rescale_intercept
    return dataset


def _choose_stored_type(hospital: Hospital) -> type[np.int16] | type[np.uint16]:
    """Choose a signed type if stored values can be negative: without an offset, or for padding below air."""
    vendor = hospital.vendor
    return np.int16 if vendor.rescale_intercept == 0 or vendor.padding_hu is not None else np.uint16


def _convert_to_stored(hu: np.ndarray, hospital: Hospital) -> np.ndarray:
    return (hu - hospital.vendor.rescale_intercept).astype(_choose_stored_type(hospital))


def _describe_pixels(
    dataset: Dataset, rows_columns: tuple[int, ...], bits: int, *, signed: bool, photometric: str = "MONOCHROME2"
) -> None:
    dataset.Rows, dataset.Columns = rows_columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(signed)


def _make_localizer(hospital: Hospital, order: ImageOrder, grid: Grid, hu_xyz: np.ndarray) -> Dataset:
    """Make the localizer of the scan, which belongs to the same series."""
    dataset = _make_ct_description(hospital, order, grid)
    scout = np.maximum(hu_xyz, -1024).mean(1).astype(np.int16).T[::-1]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    top = grid.first_mm[2] + grid.spacing_mm[2] * (grid.shape[2] - 1)
    dataset.ImagePositionPatient = _format_decimals(grid.first_mm[0], 0.0, top)
    dataset.PixelSpacing = _format_decimals(grid.spacing_mm[2], grid.spacing_mm[0])
    del dataset.SpacingBetweenSlices
    dataset.Rows, dataset.Columns = scout.shape
    _identify(dataset, order.instance_uid(9001), 0)
    set_pixels(dataset, _convert_to_stored(scout, hospital), ExplicitVRLittleEndian)
    return dataset


def _make_dose_page(hospital: Hospital, order: ImageOrder) -> Dataset:
    """Make the scanner's dose report as a colour screenshot, with bright bars in place of lines of text."""
    dataset = _make_description(hospital, order, SecondaryCaptureImageStorage)
    page = np.zeros((96, 128, 3), np.uint8)
    page[12:84:8, 10:100] = (200, 220, 255)
    dataset.Modality, dataset.ConversionType = "CT", "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    dataset.SeriesDescription = "Dose Report"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 96, 128, 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    _identify(dataset, order.instance_uid(9002), 999)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PixelData = page.tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def _identify(dataset: Dataset, instance_uid: UID, number: int | None) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = instance_uid
    dataset.InstanceNumber = number  # type 2: it may be empty, and in some archives is


def _generate_file_names(order: ImageOrder, shuffled: bool) -> Iterator[str]:
    """Generate file names without any order, or numbered as written."""
    number = 0
    while True:
        number += 1
        digest = hashlib.sha256(f"{order.series_uid}/{number}".encode()).hexdigest()[:16]
        yield digest if shuffled else f"IM{number:05d}.dcm"


def _format_decimals(*values_mm: float) -> list[str]:
    """Format decimal strings to the micrometre; DICOM allows 16 characters."""
    return [f"{round(value, 3):g}" if value == int(value) else f"{value:.3f}" for value in values_mm]


def _save(dataset: Dataset, path: Path) -> None:
    dataset.save_as(path, enforce_file_format=True, overwrite=False)

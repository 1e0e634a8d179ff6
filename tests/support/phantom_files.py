"""DICOM files of the phantom with any defect, written by pydicom alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.support.phantoms import CORONAL, Grid, even_mm

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"

#: Added to HU to store them unsigned.
INTERCEPT = -1024

TagsOfSlice = Callable[[int], Mapping[str, Any]]


def write_series(
    folder: Path,
    grid: Grid,
    name: str = "s",
    tags_of: TagsOfSlice = lambda k: {},
    added_hu: int = 0,
    **tags: Any,
) -> list[Path]:
    """Write the phantom on a grid as one CT file per slice; the paths in order of the grid's slices.

    File names run against the order of slices. ``tags`` go into every file, ``tags_of(k)`` into that of slice
    k; a tag of None is left out.
    """
    paths = []
    for k, (hu, position_mm) in enumerate(zip(grid.hu, grid.positions_mm, strict=True)):
        placed = {
            "InstanceNumber": k + 1,
            "ImagePositionPatient": _decimals(position_mm),
            "ImageOrientationPatient": _decimals(grid.orientation),
            "PixelSpacing": _decimals(grid.pixel_spacing_mm),
        }
        stored = (hu + added_hu - INTERCEPT).astype(np.uint16)
        paths.append(write_image(folder / f"{name}{999 - k}", stored, **(placed | tags | dict(tags_of(k)))))
    return paths


def write_study(folder: Path, added_hu: int = 20) -> dict[str, list[Path]]:
    """One CT examination as archives hold it: each reconstruction a series of its own, all in one folder.

    The thin series in a lung kernel is the third of them by series number and file name.
    """
    low = {"rows": 16, "columns": 16, "pixel_spacing_mm": (6.0, 6.0)}
    series = {
        "thick": (Grid(even_mm(30, 7.0), **low), {"ConvolutionKernel": "B40f", "SliceThickness": 7}),
        "bone": (Grid(even_mm(70, 3.0), **low), {"ConvolutionKernel": "BONE"}),
        "thin": (Grid(even_mm(70, 3.0), **low), {"ConvolutionKernel": "B60f"}),
        "upper part": (Grid(even_mm(70, 3.0)[40:], **low), {"ConvolutionKernel": "B60f", "AcquisitionNumber": 2}),
        "coronal": (Grid(even_mm(70, 3.0), CORONAL, **low), {"ConvolutionKernel": "B60f"}),
    }
    return {
        name: write_series(
            folder, grid, f"{number}-", added_hu=number * added_hu, SeriesInstanceUID=f"1.2.3.1.{number}", **tags
        )
        for number, (name, (grid, tags)) in enumerate(series.items(), start=1)
    }


def write_image(path: Path, stored: np.ndarray, **tags: Any) -> Path:
    """Write one image of stored values ``[row, column]``, a CT slice where ``tags`` do not say otherwise."""
    bits = stored.dtype.itemsize * 8
    plain: dict[str, Any] = {
        **_identity(),
        **{"SOPClassUID": CT_IMAGE, "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]},
        **{"ConvolutionKernel": "B40f", "SliceThickness": 3, "AcquisitionNumber": 1},
        **{"Rows": stored.shape[0], "Columns": stored.shape[1], "SamplesPerPixel": 1},
        **{"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits},
        **{"HighBit": bits - 1, "PixelRepresentation": int(stored.dtype.kind == "i")},
        **{"RescaleSlope": 1, "RescaleIntercept": INTERCEPT, "PixelData": stored.tobytes()},
    }
    return _save(path, plain | tags)


def write_colour_page(path: Path, **tags: Any) -> Path:
    """A dose report as scanners append it: RGB, secondary capture, no place in space."""
    page = np.zeros((48, 56, 3), np.uint8)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    plain = {"SOPClassUID": SECONDARY_CAPTURE, "ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}
    return write_image(path, page, **(plain | colour | {"RescaleSlope": None, "RescaleIntercept": None} | tags))


def write_radiograph(path: Path, stored: np.ndarray, **tags: Any) -> Path:
    """One radiograph of stored values ``[row, column]``: computed radiography, PA."""
    plain = {"SOPClassUID": CR_IMAGE, "Modality": "CR", "ViewPosition": "PA", "ImageType": ["ORIGINAL", "PRIMARY"]}
    nothing = {"RescaleSlope": None, "RescaleIntercept": None, "ConvolutionKernel": None, "SliceThickness": None}
    return write_image(path, stored, **(plain | nothing | {"ImagerPixelSpacing": [0.2, 0.2]} | tags))


def write_enhanced(
    path: Path,
    grid: Grid,
    order: Sequence[int],
    added_hu: Sequence[int] | int = 0,
    content_of: TagsOfSlice = lambda frame: {},
) -> Path:
    """Write slices of a grid as one enhanced multi-frame CT, frame i holding slice ``order[i]``.

    ``content_of(i)`` goes into the Frame Content of frame i. PS3.3 A.38.1: position per frame, the rest shared.
    """
    frames_hu = grid.hu[list(order)] + np.broadcast_to(added_hu, len(order))[:, None, None]
    stored = (frames_hu - INTERCEPT).astype(np.uint16)
    groups = {
        "SharedFunctionalGroupsSequence": [_shared(grid)],
        "PerFrameFunctionalGroupsSequence": [_frame(grid, k, content_of(i)) for i, k in enumerate(order)],
    }
    plain = {"SOPClassUID": ENHANCED_CT, "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]}
    moved = dict.fromkeys(("RescaleSlope", "RescaleIntercept", "ConvolutionKernel", "SliceThickness"))
    frames = {"NumberOfFrames": len(order), "PixelData": stored.tobytes()}
    return write_image(path, stored[0], **(plain | moved | groups | frames))


def _shared(grid: Grid) -> Dataset:
    rescale = _dataset(RescaleSlope=1, RescaleIntercept=INTERCEPT, RescaleType="HU")
    return _dataset(
        PixelMeasuresSequence=[_dataset(PixelSpacing=_decimals(grid.pixel_spacing_mm), SliceThickness=3)],
        PlaneOrientationSequence=[_dataset(ImageOrientationPatient=_decimals(grid.orientation))],
        PixelValueTransformationSequence=[rescale],
        CTReconstructionSequence=[_dataset(ConvolutionKernel="B40f")],
    )


def _frame(grid: Grid, k: int, content: Mapping[str, Any]) -> Dataset:
    return _dataset(
        FrameContentSequence=[_dataset(StackID="1", InStackPositionNumber=int(k) + 1, **content)],
        PlanePositionSequence=[_dataset(ImagePositionPatient=_decimals(grid.positions_mm[k]))],
    )


def _identity() -> dict[str, Any]:
    return {
        **{"PatientID": "A-17", "StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1"},
        **{"StudyDate": "20200301", "StudyTime": "101500", "SOPInstanceUID": generate_uid()},
        **{"Manufacturer": "PHANTOM", "ManufacturerModelName": "GAUSS"},
    }


def _dataset(**tags: Any) -> Dataset:
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def _decimals(values: Sequence[float] | np.ndarray) -> list[str]:
    """Decimal strings of at most sixteen characters, as DICOM allows them (PS3.5 6.2)."""
    return [f"{value:.9f}"[:16] for value in values]


def _save(path: Path, tags: Mapping[str, Any]) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for name, value in tags.items():
        if isinstance(value, DataElement):
            dataset.add(value)
        elif value is not None:
            setattr(dataset, name, value)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path

"""Plain CT images with known numbers, written by pydicom alone."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def slice_dataset(stored: np.ndarray, **tags: Any) -> FileDataset:
    """One image of ``stored`` [row, column]: a CT slice with ``tags`` put over; a tag of None is left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    rows, columns = stored.shape[:2]
    signed = int(stored.dtype.kind == "i")
    bits = stored.dtype.itemsize * 8
    values = {
        **{"SOPClassUID": CT_IMAGE, "SOPInstanceUID": generate_uid(), "PatientID": "A-17", "Modality": "CT"},
        **{"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1", "StudyDate": "20200301"},
        **{"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "ImageOrientationPatient": list(AXIAL)},
        **{"ImagePositionPatient": [0, 0, 0], "PixelSpacing": [0.7, 0.5], "Rows": rows, "Columns": columns},
        **{"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits},
        **{"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": signed},
        **{"RescaleSlope": 1, "RescaleIntercept": -1024, "PixelData": stored.tobytes()},
        **tags,
    }
    for name, value in values.items():
        if isinstance(value, DataElement):
            dataset.add(value)
        elif value is not None:
            setattr(dataset, name, value)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def write(path: Path, stored: np.ndarray, **tags: Any) -> Path:
    """Write the image of :func:`slice_dataset`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    slice_dataset(stored, **tags).save_as(path, enforce_file_format=True)
    return path


def item(**values: Any) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def save(path: Path, dataset: Dataset, syntax: str = "", **arguments: Any) -> Path:
    """Write a dataset as a DICOM file in any transfer syntax."""
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True, **arguments)
    return path


def write_three_frames(path: Path, **frames_tags: Any) -> Path:
    """Three frames at 30, 10 and 20 mm, the third of another acquisition; rescale and spacing are shared."""
    tags = {"NumberOfFrames": 3, "PixelData": bytes(3 * 4 * 4 * 2), "RescaleSlope": None, "ImageType": "ORIGINAL"}
    tags |= {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    dataset = slice_dataset(np.zeros((4, 4), np.uint16), SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", **tags)
    transformation = item(RescaleSlope=2, RescaleIntercept=-1000, RescaleType="HU")
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25], SliceThickness=5)],
        PixelValueTransformationSequence=[transformation],
        CTReconstructionSequence=[item(ConvolutionKernel="B30f")],
    )
    own = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, height])],
            FrameContentSequence=[item(FrameAcquisitionNumber=1 + (height == 20), TemporalPositionIndex=4)],
            CTImageFrameTypeSequence=[item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME"])],
        )
        for height in (30, 10, 20)
    ]
    own[1].PixelMeasuresSequence = [item(PixelSpacing=[0.7, 0.7])]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = own
    for name, value in frames_tags.items():
        setattr(dataset, name, value)
    return save(path, dataset)

"""Make a Secondary Capture of the montage and an encapsulated PDF of the summary, for viewers without maps and SR."""

import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.results.segmentation import MANUFACTURER, SERIES_NUMBER, PredictionSource

#: Attributes of patient and study (PS3.3 C.7.1.1, C.7.2.1) that a derived object shares with its source.
PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "SpecificCharacterSet"),
    *("PatientAge", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    "StudyDescription",
)


def make_picture_object(source: PredictionSource, png: Path) -> Dataset:
    """Make an RGB Secondary Capture (PS3.3 A.8.1) of a PNG picture."""
    rgb = np.asarray(Image.open(png, formats=("PNG",)).convert("RGB"))
    with suppress_warnings():
        made = hd.sc.SCImage.from_ref_dataset(
            ref_dataset=source.images[0],
            pixel_array=rgb,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            patient_orientation=("L", "F"),
            series_description="Severity montage, research use only",
            **source.series_arguments("picture"),
        )
    if source.series.modality == "CXR":  # it lies as its source does, if that says how
        made.PatientOrientation = source.images[0].get("PatientOrientation", "")
    made.BurnedInAnnotation = "YES"
    made.BodyPartExamined = "CHEST"
    return made


def make_summary_object(source: PredictionSource, pdf: bytes, identified: bool) -> Dataset:
    """Make an Encapsulated PDF (PS3.3 A.45.1) of the summary.

    Args:
        source: the series and the model.
        pdf: content of the PDF.
        identified: whether name or ID of the patient are printed in it.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    meta.MediaStorageSOPInstanceUID = source.make_uid("summary")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for name in PATIENT_AND_STUDY:
        if name in source.images[0]:
            made[name] = source.images[0][name]
    now = datetime.datetime.now()
    made.SOPClassUID, made.SOPInstanceUID = EncapsulatedPDFStorage, source.make_uid("summary")
    made.Modality, made.ConversionType, made.Manufacturer = "DOC", "WSD", MANUFACTURER
    made.ManufacturerModelName, made.SoftwareVersions = MANUFACTURER, source.version
    made.SeriesInstanceUID, made.SeriesNumber = source.make_uid("summary series"), SERIES_NUMBER["summary"]
    made.SeriesDescription = "Severity summary, research use only"
    made.InstanceNumber = 1
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.AcquisitionDateTime = source.images[0].get("AcquisitionDateTime", "")
    made.BurnedInAnnotation = "YES" if identified else "NO"
    made.DocumentTitle = "Severity of COVID-19 pneumonia on CT"
    made.ConceptNameCodeSequence = []
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(pdf)
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return made

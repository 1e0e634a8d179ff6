"""Headers and tables that hold more of a patient than usual ones."""

import csv
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset


def enrich(path: Path, number: int) -> None:
    """What an archive adds: people, places and numbers on every level, private blocks, overlays, bytes behind."""
    dataset = pydicom.dcmread(path)
    dataset.PatientBirthDate, dataset.OtherPatientIDs = "19580731", f"OTHER-{number}"
    dataset.ReferringPhysicianName, dataset.OperatorsName = "Choi^Referrer", "Yoon^Operator"
    dataset.InstitutionName, dataset.StationName = "Hankook University Hospital", "CTHOST17"
    dataset.AccessionNumber, dataset.StudyID = f"ACC{number:07d}", f"STUDY{number}"
    dataset.ImageComments, dataset.DeviceSerialNumber = f"seen by {dataset.PatientName}", "SN-448812"
    dataset.IrradiationEventUID = f"1.2.410.200001.{number}.1"
    request = Dataset()
    request.RequestedProcedureID, request.AccessionNumber = f"REQ{number}", f"INNER{number}"
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    referenced.PurposeOfReferenceCodeSequence = [Dataset()]
    referenced.PurposeOfReferenceCodeSequence[0].CodeMeaning = f"scan of {dataset.PatientID}"
    referenced.private_block(0x0009, "HANKOOK PRIVATE", create=True).add_new(1, "LO", f"deep {dataset.PatientID}")
    dataset.RequestAttributesSequence, dataset.ReferencedImageSequence = [request], [referenced]
    dataset.private_block(0x0009, "HANKOOK PRIVATE", create=True).add_new(1, "LO", f"Hospital No {number:06d}")
    dataset.add_new((0x6000, 0x0010), "US", 8)
    dataset.add_new((0x6000, 0x3000), "OW", b"overlay of Choi^Referrer")
    dataset.add_new((0x5000, 0x2500), "LO", "curve of the patient")
    dataset.file_meta.SourceApplicationEntityTitle = "HANKOOKPACS"
    dataset.preamble = b"Hankook University Hospital".ljust(128)
    dataset.save_as(path)
    path.write_bytes(path.read_bytes() + b"\xfe\xff\xfe\xfftrailing: Choi^Referrer")


def add_columns(table: Path) -> None:
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    for number, row in enumerate(rows):
        row |= {"person_id": f"RRN58073110{number}", "remark": f"daughter of Mrs Kim {number}", "telephone": 1012345670}
        row |= {"birth_date": "1958-07-31", "smoker": number % 2}
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

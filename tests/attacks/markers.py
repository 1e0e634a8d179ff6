"""A repository of patients in which everything that identifies one is marked, so that it can be looked for."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from nibabel.nifti1 import Nifti1Extension
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

WORD, NUMBER, RESIDENT = "QZMARKER", "91827364", "900101-1234567"
#: Neither below the root of DICOM nor in its dictionary.
UID_ROOT = f"1.2.410.{NUMBER}"
BORN = date(1943, 11, 27)
#: The day of each patient's images: years apart, so that no day that was moved by less is another's true one.
DAYS = [date(1996 + 3 * at, 4, 7 + at) for at in range(8)]
FRACTION = "918273"

#: Elements that the tests need as they are, or that are set apart from the others.
SET_APART = {
    *("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"),
    *("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime", "PatientBirthDate"),
    *("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "PatientSex", "PatientAge", "PregnancyStatus"),
}
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")

#: What the copy keeps by an option of the profile where it is a value of its kind.
CHARACTERISTICS = ("PatientSize", "PatientWeight")

#: Values of their VR, and values that are none, for those in which text can stand.
VALID = {
    **dict.fromkeys(("LO", "SH", "AE", "CS", "ST", "LT", "UT", "UC"), WORD),
    **{"PN": f"{WORD}^{WORD}", "UR": f"http://{WORD}.example/x", "UI": f"{UID_ROOT}.7", "DA": f"{BORN:%Y%m%d}"},
    **{"DT": f"{BORN:%Y%m%d}101112.{FRACTION}", "TM": f"101112.{FRACTION}", "DS": f"{NUMBER}.5", "IS": NUMBER},
    **{"AS": "077Y", "OB": WORD, "UN": WORD, "US": ""},
}
INVALID = {
    **dict.fromkeys(VALID, f"{WORD} is no value of this kind"),
    **{"UI": f"1.2.840.10008.{NUMBER}", "DS": RESIDENT, "TM": RESIDENT, "DA": f"{WORD}{BORN:%Y%m%d}", "US": ""},
    **{"IS": RESIDENT, "AS": f"{WORD}Y", "DT": f"{BORN:%Y%m%d} {WORD}"},
}


def marks() -> dict[bytes, re.Pattern[bytes]]:
    """What no output may hold: the marked words and numbers, and true days as people and programs write them.

    Each lower-case text that a mark cannot do without, with what is then looked for.
    """
    days = (BORN, *DAYS)
    bounded = [NUMBER, RESIDENT, *(spelling for day in days for spelling in spellings(day))]
    found = {text: rf"(?<!\d){re.escape(text)}(?!\d)" for text in bounded}
    found |= {
        text: rf"(?<!\d){text}(?!\d)|(?<!\d){text}(?=[0-2]\d[0-5]\d)" for text in (f"{day:%Y%m%d}" for day in days)
    }
    found |= {WORD: WORD, f".{FRACTION}": rf"\.{FRACTION}(?!\d)"}
    return {text.lower().encode(): re.compile(regex.encode(), re.IGNORECASE) for text, regex in found.items()}


def spellings(day: date) -> list[str]:
    """A day as ISO, DICOM, Europeans, Americans and Koreans write it, and in milliseconds since 1970."""
    milliseconds = (day - date(1970, 1, 1)) // timedelta(milliseconds=1)
    formats = ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d %b %Y", "%B %d, %Y")
    return [day.strftime(format) for format in formats] + [str(milliseconds)] * (milliseconds > 0)


def identifying_tags() -> Iterator[tuple[BaseTag, str]]:
    """Every element of the table of PS3.15 Annex E with its VR; curves and overlays, which repeat, are set apart."""
    table = dicom_anonymization_database_selector("dicomfields_2026c")
    for numbers in sorted({numbers for tags in table.values() for numbers in tags}):
        tag = Tag(numbers[0], numbers[1])
        if (keyword_for_tag(tag) not in SET_APART and 2 < tag.group < 0x5000) or tag.group > 0x60FF:
            yield tag, dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"


TAGS = tuple(identifying_tags())


def mark(path: Path, target: Path, patient: int) -> None:
    """Write a copy of a DICOM file in which every identifying element is marked; odd patients have invalid values."""
    dataset = pydicom.dcmread(path)
    values = INVALID if patient % 2 else VALID
    kept = () if patient % 2 else CHARACTERISTICS
    for tag, vr in (one for one in TAGS if keyword_for_tag(one[0]) not in kept):
        dataset[tag] = _element(tag, vr, values, dataset)
    for group in (0x5000, 0x6000):
        dataset.add_new((group, 0x3000), "OW", WORD.encode())
        dataset.add_new((group, 0x4000), "LT", WORD)
    dataset.private_block(0x0029, f"{WORD} 1", create=True).add_new(0x10, "LO", WORD)
    _identify(dataset, patient)
    dataset.file_meta.SourceApplicationEntityTitle = WORD
    dataset.file_meta.PrivateInformationCreatorUID = UID(f"{UID_ROOT}.9")
    dataset.file_meta.PrivateInformation = WORD.encode()
    dataset.preamble = WORD.encode() * 16
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target)
    with target.open("ab") as file:
        file.write(b"\xfe\xff\xfe\xff" + WORD.encode())


def _element(tag: BaseTag, vr: str, values: dict[str, str], dataset: Dataset) -> DataElement | RawDataElement:
    if vr == "SQ":
        return DataElement(tag, "SQ", Items([_item()]))
    raw = values.get(vr, WORD).encode()
    raw += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(raw) % 2)
    implicit, little = dataset.original_encoding
    return RawDataElement(tag, vr, len(raw), raw, 0, bool(implicit), bool(little))


def _item() -> Dataset:
    """An item that says who it is, two deep, in a private element too."""
    inner, item = Dataset(), Dataset()
    inner.PatientName, inner.ReferencedSOPInstanceUID = WORD, f"{UID_ROOT}.8"
    inner.private_block(0x0029, f"{WORD} 2", create=True).add_new(0x11, "LO", WORD)
    item.PatientID, item.RequestedProcedureDescription, item.ContentSequence = WORD, WORD, [inner]
    return item


def _identify(dataset: Dataset, patient: int) -> None:
    day = f"{DAYS[patient]:%Y%m%d}"
    for keyword in DATES:
        setattr(dataset, keyword, day)
    for keyword in TIMES:
        setattr(dataset, keyword, f"101112.{FRACTION}")
    dataset.AcquisitionDateTime = f"{day}101112.{FRACTION}"
    dataset.PatientID, dataset.PatientBirthDate = patient_id(patient), f"{BORN:%Y%m%d}"
    dataset.PatientName = f"{WORD}FAMILY^{WORD}GIVEN"
    if "ManufacturerModelName" in dataset:
        dataset.ManufacturerModelName = f"{WORD}GIVEN scanner"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        if keyword in dataset:
            setattr(dataset, keyword, marked_uid(dataset[keyword].value))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def patient_id(patient: int) -> str:
    return f"{WORD}P{patient}"


def marked_uid(uid: str) -> str:
    """The same UID below the marked root, so that series stay together."""
    return f"{UID_ROOT}.{int(uid.rsplit('.', 1)[-1]) % 10**30}"


def mark_nifti(path: Path, target: Path) -> None:
    """Write a copy of a NIfTI with marks in all text of its header, and behind it."""
    image = nib.load(path)
    copy = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
    for name in ("descrip", "aux_file", "db_name", "intent_name"):
        copy.header[name] = WORD.encode()
    copy.header.extensions.append(Nifti1Extension("comment", WORD.encode()))
    target.parent.mkdir(parents=True, exist_ok=True)
    nib.save(copy, target)


def mark_table(table: pd.DataFrame) -> pd.DataFrame:
    """The clinical table with marked numbers, true days, and columns that nobody asked for."""
    marked = table.assign(patient_id=[patient_id(row) for row in range(len(table))])
    marked["admission_date"] = [f"{DAYS[row]:%Y-%m-%d}" for row in range(len(table))]
    marked = marked.drop(columns=[name for name in table if name.endswith("_date") and name != "admission_date"])
    marked["person_id"] = [f"{WORD}{row}" for row in range(len(table))]
    marked["name"], marked["address"], marked["birth_date"] = f"{WORD} {WORD}", f"{WORD}-ro 1", f"{BORN:%Y-%m-%d}"
    marked["phone"], marked["hospital_no"], marked["resident_number"] = f"010-{NUMBER}", NUMBER, RESIDENT
    return marked


def mark_repository(source: Path, target: Path) -> None:
    """Write a marked copy of a synthetic repository: files, folders, masks, table and strays among them."""
    table = pd.read_csv(source / "clinical.csv", dtype=str).reset_index(drop=True)
    target.mkdir(parents=True)
    mark_table(table).to_csv(target / "clinical.csv", index=False)
    number = {(row.site, row.patient_id): at for at, row in enumerate(table.itertuples())}
    for path in sorted(path for site in set(table["site"]) for path in (source / site).rglob("*") if path.is_file()):
        head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
        site = path.relative_to(source).parts[0]
        patient = number[site, str(head.PatientID)]
        folder = target / site / f"{WORD}_{BORN:%Y%m%d}" / f"{DAYS[patient]:%Y%m%d}" / path.parent.name
        mark(path, folder / f"{WORD}_{path.name}", patient)
    for path in sorted((source / "masks").rglob("*.nii.gz")):
        mark_nifti(path, target / "masks" / marked_uid(path.parent.name) / path.name)
    for site in set(table["site"]):
        for name in (f"report_{WORD}.txt", f"broken_{WORD}.dcm"):
            (target / site / f"{WORD}_{BORN:%Y%m%d}" / name).write_text(WORD, encoding="utf-8")

"""Repositories, scans, tables and archives in which hostile names stand at one place."""

import csv
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from tests.attacks.hostile_names import fits_on_disk
from tests.support.phantom_files import write_radiograph

FILM = np.random.default_rng(0).integers(0, 4096, (32, 40)).astype(np.uint16)
COLUMNS = ("site", "patient_id", "age_years", "sex", "icu", "death")


def write_film(path: Path, number: int, patient: str, **tags: Any) -> None:
    """A radiograph of a patient; no two are alike."""
    uids = {f"{level}InstanceUID": f"1.2.826.{number + 1}.{at}" for at, level in enumerate(("Study", "Series", "SOP"))}
    film = FILM.copy()
    film[0, :2] = number % 4096, number // 4096
    given = {"PatientID": patient, "PatientName": f"N{number}", **uids, **tags}
    raw = {tag: value for tag, value in given.items() if isinstance(value, str) and not _encodes(value)}
    stand_ins = {tag: f"{at:02d}" + "?" * (len(os.fsencode(value)) - 2) for at, (tag, value) in enumerate(raw.items())}
    write_radiograph(path, film, SpecificCharacterSet="ISO_IR 192", **(given | stand_ins))
    if raw:  # bytes that no encoder writes
        content = path.read_bytes()
        for tag, value in raw.items():
            content = content.replace(stand_ins[tag].encode(), os.fsencode(value))
        path.write_bytes(content)


def _encodes(text: str) -> bool:
    return text.isascii() and text.isprintable()


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A CSV as somebody's program writes it, with whatever bytes the cells hold; none where a folder has its name."""
    if path.is_dir():
        return
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def patient_row(number: int, site: str, patient: str) -> list[object]:
    """A row of the clinical table under ``COLUMNS``; outcomes follow age a little."""
    age = 20 + 7 * number % 70
    return [site, patient, age, "MF"[number % 2], int(age > 60) ^ (number % 5 == 0), int(age > 75) ^ (number % 7 == 0)]


def lay_sites(root: Path, names: Sequence[str]) -> None:
    """Each name a hospital folder with one patient."""
    for number, name in enumerate(names):
        write_film(root / name / "film.dcm", number, f"p{number}")
    write_table(root / "clinical.csv", COLUMNS, [patient_row(at, name, f"p{at}") for at, name in enumerate(names)])


def lay_plain_sites(root: Path, patients: Sequence[str], tags: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Patients of the given numbers at three hospitals of ordinary names, with ``tags`` in the film of each."""
    rows = []
    for number, patient in enumerate(patients):
        site = f"site-{number % 3}"
        write_film(root / site / f"{number}.dcm", number, patient, **(tags[number] if tags else {}))
        rows.append(patient_row(number, site, patient))
    write_table(root / "clinical.csv", COLUMNS, rows)


def lay_patients(root: Path, names: Sequence[str]) -> None:
    """Each name the number of a patient, in file and table; blank ones get a letter."""
    lay_plain_sites(root, [name if name.strip() else f"{name}x" for name in names])


#: Text of a DICOM file that becomes part of what is shown, or is read to decide something.
TEXTS = (
    *("PatientName", "StudyDescription", "SeriesDescription", "ProtocolName", "InstitutionName", "StationName"),
    *("Manufacturer", "ManufacturerModelName", "ContrastBolusAgent", "BodyPartExamined", "SoftwareVersions"),
    *("ImageComments", "PatientComments", "AccessionNumber", "StudyID", "ViewPosition", "ConvolutionKernel"),
)


def lay_texts(root: Path, names: Sequence[str]) -> None:
    """Each name in all texts of a patient's file."""
    lay_plain_sites(
        root, [f"p{number}" for number in range(len(names))], [dict.fromkeys(TEXTS, name) for name in names]
    )


UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


def lay_uids(root: Path, names: Sequence[str]) -> None:
    """Each name in place of the UIDs of a patient's file."""
    tags = [{uid: f"{name}{at}" for at, uid in enumerate(UIDS)} for name in names]
    lay_plain_sites(root, [f"p{number}" for number in range(len(names))], tags)


def lay_files(root: Path, names: Sequence[str]) -> None:
    """Each name a file and, where it may be one too, a folder of a hospital; half of them hold no image."""
    lay_plain_sites(root, ["p0", "p1", "p2"])
    for number, name in enumerate(names, start=3):
        write_film(root / "site-0" / "files" / name, number, f"p{number}")
        write_film(root / "site-1" / "folders" / name / "film.dcm", 1000 + number, f"p{number}")
        path = root / "site-2" / "others" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image")


def lay_masks(root: Path, names: Sequence[str]) -> None:
    """Each name a folder of masks, of series that are not there, and a file among the masks of one that is."""
    lay_plain_sites(root, ["p0", "p1", "p2", "p3"])
    mask = nib.Nifti1Image(np.ones((40, 32, 1), np.uint8), np.eye(4))
    for folder in (*names, "1.2.826.1.2"):
        (root / "masks" / folder).mkdir(parents=True)
        nib.save(mask, root / "masks" / folder / "lesion.nii.gz")
    for name in names:
        if fits_on_disk(name, ".nii.gz"):
            (root / "masks" / "1.2.826.1.2" / f"{name}.nii.gz").write_bytes(b"no mask")


def lay_columns(root: Path, names: Sequence[str]) -> None:
    """Each name a column of numbers, some empty, in the clinical table."""
    rows = [patient_row(number, f"site-{number % 3}", f"p{number}") for number in range(12)]
    lay_plain_sites(root, [f"p{number}" for number in range(3)])
    values = [["" if (row + at) % 4 == 0 else row * 10 + at + 0.5 for at in range(len(names))] for row in range(12)]
    write_table(root / "clinical.csv", (*COLUMNS, *names), [row + more for row, more in zip(rows, values, strict=True)])


def lay_cells(root: Path, names: Sequence[str]) -> None:
    """Each name a cell of columns that hold text, a date, an identifier of a person, and a number with its unit."""
    lay_plain_sites(root, [f"p{number}" for number in range(len(names))])
    rows = [[*patient_row(number, f"site-{number % 3}", f"p{number}"), name, name] for number, name in enumerate(names)]
    write_table(root / "clinical.csv", (*COLUMNS, "note", "person_id"), rows)


def lay_zip(root: Path, names: Sequence[str]) -> None:
    """An archive whose members carry the names: as hospital, folder and file; and one named so within a folder."""
    film = root / "film.dcm"
    with zipfile.ZipFile(root / "export.zip", "w") as archive:
        for number, name in enumerate(names):
            write_film(film, number, f"p{number}")
            for member in (f"{name}/film.dcm", f"site/{name}/film.dcm", f"site/{name}"):
                info = zipfile.ZipInfo("x")
                info.filename = member.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                archive.writestr(info, film.read_bytes())
    film.unlink()


def chest(number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """HU ``[x, y, z]`` of two lungs, one with a lesion, and the affine of a patient on the back; no two are alike."""
    hu = np.full((32, 24, 16), 40, np.int16)
    hu[3:14, 4:20, 2:14] = hu[18:29, 4:20, 2:14] = -850
    hu[5:10, 12:18, 3:6] = -300 + number % 50
    return hu, np.diag([-10.0, -10.0, 16.0, 1.0])


def lay_scans(root: Path, names: Sequence[str]) -> None:
    """Each name a NIfTI of a chest."""
    for number, name in enumerate(names):
        nib.save(nib.Nifti1Image(*chest(number)), root / "scan.nii.gz")
        os.rename(root / "scan.nii.gz", root / f"{name}.nii.gz")


def lay_refused_scans(root: Path, names: Sequence[str]) -> None:
    """Each name a NIfTI of nothing, which is set aside once it was looked at, beside one scan as it should be."""
    lay_scans(root, ["ordinary"])
    nib.save(nib.Nifti1Image(np.zeros((32, 24, 16), np.int16), np.eye(4)), root / "nothing.nii.gz")
    content = (root / "nothing.nii.gz").read_bytes()
    (root / "nothing.nii.gz").unlink()
    for name in names:
        (root / f"{name}.nii.gz").write_bytes(content)


def lay_pictures(root: Path, names: Sequence[str]) -> None:
    """Each name a radiograph as PNG."""
    for number, name in enumerate(names):
        grey = np.full((32, 40), 200, np.uint8)
        grey[6:26, 4:17] = grey[6:26, 23:36] = 60 + number % 50
        with (root / f"{name}.png").open("wb") as file:
            Image.fromarray(grey).save(file, "PNG")

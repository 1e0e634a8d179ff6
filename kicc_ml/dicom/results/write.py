"""Write a prediction as DICOM objects for a PACS: all objects of a patient, or none."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from kicc_ml.core.errors import find_target_error
from kicc_ml.core.files import PRIVATE_FILE, make_folder, temporary_folder_beside
from kicc_ml.core.regions import find_region
from kicc_ml.core.types import RadiographScore, Risk, SeverityMap, Volume
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.results.key_image import find_key_image
from kicc_ml.dicom.results.pictures import make_picture_object, make_summary_object
from kicc_ml.dicom.results.segmentation import PredictionSource, make_parametric_map, make_segmentation, state_origin
from kicc_ml.dicom.results.structured_report import make_severity_report

#: File names of the objects without suffix. The report, which every case has, is removed first and written last.
OBJECTS = ("report", "segmentation", "map", "picture", "summary")


@dataclass(frozen=True)
class ScanFindings:
    """What was found in one scan, on the grid of ``volume``; ``montage`` is a PNG, ``pdf`` the summary's bytes.

    A radiograph has no ``pdf``; ``sides`` is False where its file does not say that it lies as usual.
    """

    volume: Volume
    masks: Mapping[str, np.ndarray]
    probability_xyz: np.ndarray | None
    severity: SeverityMap
    montage: Path
    pdf: bytes | None
    identified: bool = False
    risks: Sequence[Risk] = ()
    scores: Sequence[RadiographScore] = ()
    sides: bool = True


def write_objects(source: PredictionSource, findings: ScanFindings, folder: Path) -> list[Path]:
    """Write ``folder/{segmentation,map,report,picture,summary}.dcm`` for the source's own PACS.

    Of a radiograph, only ``report`` and ``picture`` are written. The objects keep the patient, study and frame of
    reference of the source, and nobody but the user can read them. They take the place of earlier ones; other files in
    the folder stay. Raises UserError where the source cannot be read or nothing was segmented; the folder is then as it
    was before.
    """
    with suppress_warnings():
        objects = (_make_radiograph_objects if source.series.modality == "CXR" else _make_ct_objects)(source, findings)
        for made in objects.values():
            state_origin(made, source)
        _write(objects, folder)
    return [folder / f"{name}.dcm" for name in objects]


def _write(objects: Mapping[str, Dataset], folder: Path) -> None:
    make_folder(folder, private=True)
    try:
        with temporary_folder_beside(folder) as partial:
            for name, made in objects.items():
                path = partial / f"{name}.dcm"
                path.touch(PRIVATE_FILE)
                made.save_as(path, enforce_file_format=True)
            _replace_objects(partial, folder)
    except OSError as error:
        raise (find_target_error(error, folder.parent) or error) from error


def _replace_objects(partial: Path, folder: Path) -> None:
    """Move the objects into the folder in place of earlier ones. If the report is there, all objects are there."""
    for name in OBJECTS:
        (folder / f"{name}.dcm").unlink(missing_ok=True)
    for name in reversed(OBJECTS):
        if (partial / f"{name}.dcm").is_file():
            os.replace(partial / f"{name}.dcm", folder / f"{name}.dcm")


def _make_ct_objects(source: PredictionSource, findings: ScanFindings) -> dict[str, Dataset]:
    masks = findings.masks
    objects = {"segmentation": make_segmentation(source, findings.volume, masks)}
    lung = find_region(masks, "lung")
    if findings.probability_xyz is not None and lung is not None:
        objects["map"] = make_parametric_map(source, findings.volume, findings.probability_xyz, lung)
    objects["picture"] = make_picture_object(source, findings.montage)
    objects["report"] = make_severity_report(
        source,
        findings.severity,
        findings.risks,
        objects["segmentation"],
        pictures=[objects[name] for name in ("map", "picture") if name in objects],
        key_image=find_key_image(source, findings.volume, masks.get("lesion")),
    )
    if findings.pdf is not None:
        objects["summary"] = make_summary_object(source, findings.pdf, findings.identified)
    return objects


def _make_radiograph_objects(source: PredictionSource, findings: ScanFindings) -> dict[str, Dataset]:
    """Make report and picture, no masks: these are placed in the patient, which a shadow is not.

    A side is reported only where the file says which is which.
    """
    severity = findings.severity
    known = severity if findings.sides else severity.without_sides
    picture = make_picture_object(source, findings.montage)
    report = make_severity_report(
        source, known, findings.risks, scores=findings.scores, pictures=[picture], key_image=source.images[0]
    )
    return {"report": report, "picture": picture}

"""A prediction as the DICOM objects a PACS takes: all of a patient's, or none."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from kicc_ml.core.types import FilmScore, Risk, SeverityMap, Volume
from kicc_ml.dicom.results.pictures import picture, summary_pdf
from kicc_ml.dicom.results.segmentation import Source, parametric_map, segmentation, state_origin
from kicc_ml.dicom.results.structured_report import severity_report


@dataclass(frozen=True)
class Findings:
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
    scores: Sequence[FilmScore] = ()
    sides: bool = True


def export(source: Source, findings: Findings, folder: Path) -> list[Path]:
    """Write ``folder/{segmentation,map,report,picture,summary}.dcm`` for the source's own PACS, of a radiograph
    ``report`` and ``picture``.

    They keep the patient, study and frame of reference of the source. Raises UserError where the source cannot be
    read or nothing was segmented; the folder is then as it was before.
    """
    objects = (_of_radiograph if source.series.modality == "CXR" else _of_ct)(source, findings)
    for made in objects.values():
        state_origin(made, source)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        for name, made in objects.items():
            made.save_as(partial / f"{name}.dcm", enforce_file_format=True)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [folder / f"{name}.dcm" for name in objects]


def _of_ct(source: Source, findings: Findings) -> dict[str, Dataset]:
    masks = findings.masks
    lung = masks["lung"] if "lung" in masks else masks["left_lung"] | masks["right_lung"]
    objects = {"segmentation": segmentation(source, findings.volume, masks)}
    if findings.probability_xyz is not None:
        objects["map"] = parametric_map(source, findings.volume, findings.probability_xyz, lung)
    objects["report"] = severity_report(source, findings.severity, findings.risks, objects["segmentation"])
    objects["picture"] = picture(source, findings.montage)
    if findings.pdf is not None:
        objects["summary"] = summary_pdf(source, findings.pdf, findings.identified)
    return objects


def _of_radiograph(source: Source, findings: Findings) -> dict[str, Dataset]:
    """No masks: Segmentation and Parametric Map are placed in the patient, which a shadow is not. A side is reported
    only where the file says which is which.
    """
    severity = findings.severity
    known = severity if findings.sides else severity.without_sides
    return {
        "report": severity_report(source, known, findings.risks, scores=findings.scores),
        "picture": picture(source, findings.montage),
    }

"""A prediction as the DICOM objects a PACS takes: all of a patient's, or none."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kicc_ml.dicom.derived import Source, parametric_map, segmentation, state_origin
from kicc_ml.dicom.derived_pictures import picture, summary_pdf
from kicc_ml.dicom.derived_report import severity_report
from kicc_ml.records import Risk, SeverityMap, Volume


@dataclass(frozen=True)
class Findings:
    """What was found in one CT, on the grid of ``volume``; ``montage`` is a PNG, ``pdf`` the summary's bytes."""

    volume: Volume
    masks: Mapping[str, np.ndarray]
    probability_xyz: np.ndarray | None
    severity: SeverityMap
    montage: Path
    pdf: bytes
    identified: bool = False
    risks: Sequence[Risk] = ()


def export(source: Source, findings: Findings, folder: Path) -> list[Path]:
    """Write ``folder/{segmentation,map,report,picture,summary}.dcm`` for the source's own PACS.

    They keep the patient, study and frame of reference of the source. Raises UserError where the source cannot be
    read or nothing was segmented; the folder is then as it was before.
    """
    masks = findings.masks
    lung = masks["lung"] if "lung" in masks else masks["left_lung"] | masks["right_lung"]
    objects = {"segmentation": segmentation(source, findings.volume, masks)}
    if findings.probability_xyz is not None:
        objects["map"] = parametric_map(source, findings.volume, findings.probability_xyz, lung)
    objects["report"] = severity_report(source, findings.severity, findings.risks, objects["segmentation"])
    objects["picture"] = picture(source, findings.montage)
    objects["summary"] = summary_pdf(source, findings.pdf, findings.identified)
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

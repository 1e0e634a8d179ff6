"""Scans somebody points at: a NIfTI, picture or DICOM file, a zip file or folder of these, or a DICOMweb service."""

import logging
from collections.abc import Iterator
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Modality, Series, Units
from kicc_ml.dicom.index.build import WEB, index_sources
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES, RADIOGRAPH_SUFFIXES, nifti_series, radiograph_series, stem
from kicc_ml.dicom.series.reasons import REASONS

logger = logging.getLogger(__name__)


def scans_at(source: Path | str, units: Units, spacing_known: bool, modality: Modality = "CT") -> dict[str, Series]:
    """CT series or radiographs by case id: the name of a file less its suffix, the pseudonym of a DICOM series.

    CT may be NIfTI, radiographs PNG or JPEG; in zip files they are not looked for. ``units`` and ``spacing_known`` are
    said of NIfTI files, which do not say themselves. Refused series are logged with their reason. Raises UserError
    where there is no scan, or where two files give one id.
    """
    suffixes = NIFTI_SUFFIXES if modality == "CT" else RADIOGRAPH_SUFFIXES
    found = [
        nifti_series(path, site="", patient=stem(path), units=units, spacing_known=spacing_known)
        if modality == "CT"
        else radiograph_series(path, site="", patient=stem(path))
        for path in _files(source, suffixes)
    ]
    if not found or Path(source).is_dir():
        found += [series for series in index_sources([source])[0] if series.modality == modality]
    for series in found:
        if not series.usable:
            reasons = "; ".join(REASONS.get(code, code) for code in series.reasons)
            first = series.files[0].name  # the files of a DICOM series may be named after the patient
            logger.warning("%s refused: %s", first if first.lower().endswith(suffixes) else series.uid, reasons)
    usable = {series.uid: series for series in found if series.usable}
    if not usable:
        raise UserError(f"{source} holds no usable {modality}; kicc-ml index {source} says why")
    if len(usable) < sum(series.usable for series in found):
        raise UserError(f"{source} holds two scans of one name; rename one, or give their folders one by one")
    return usable


def _files(source: Path | str, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The files at a place on disk whose name ends so."""
    if str(source).startswith(WEB):
        return
    place = Path(source)
    if not place.exists():
        raise UserError(f"{source} is not there")
    for path in [place] if place.is_file() else sorted(place.rglob("*")):
        if path.name.lower().endswith(suffixes):
            yield path

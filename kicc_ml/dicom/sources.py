"""Scans somebody points at: a NIfTI file, a DICOM folder, or a folder of these."""

import logging
from pathlib import Path

from kicc_ml.dicom.image_files import NIFTI_SUFFIXES, nifti_series, stem
from kicc_ml.dicom.index import index_sources
from kicc_ml.dicom.reasons import REASONS
from kicc_ml.records import Series, Units, UserError

logger = logging.getLogger(__name__)


def scans_at(source: Path, units: Units, spacing_known: bool) -> dict[str, Series]:
    """CT series by case id: the name of a NIfTI less its suffix, the pseudonym of a DICOM series.

    ``units`` and ``spacing_known`` are said of NIfTI files, which do not say themselves. Refused series are logged
    with their reason. Raises UserError where there is no scan, or where two files give one id.
    """
    if not source.exists():
        raise UserError(f"{source} is not there")
    volumes = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.name.endswith(NIFTI_SUFFIXES))
    found = [
        nifti_series(path, site="", patient=stem(path), units=units, spacing_known=spacing_known) for path in volumes
    ]
    if source.is_dir():
        found += [series for series in index_sources([source])[0] if series.modality == "CT"]
    for series in found:
        if not series.usable:
            reasons = "; ".join(REASONS.get(code, code) for code in series.reasons)
            logger.warning("%s refused: %s", series.files[0], reasons)
    usable = {series.uid: series for series in found if series.usable}
    if not usable:
        raise UserError(f"{source} holds no usable CT; kicc-ml index {source} says why")
    if len(usable) < sum(series.usable for series in found):
        raise UserError(f"{source} holds two scans of one name; rename one, or give their folders one by one")
    return usable

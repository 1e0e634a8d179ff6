"""Segmentations of a ball in a known place, as other software writes them: highdicom, without this project."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from kicc_ml.core.types import Series
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.series.verdict import classify_series
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantoms import CENTRE_MM, Grid, even_mm

#: What highdicom asks of the images it is given.
STUDY = {
    **dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"), ""),
    **{"ReferringPhysicianName": "", "FrameOfReferenceUID": "1.2.3.9"},
}
TISSUE = Code("85756007", "SCT", "Tissue")
GRID = Grid(even_mm())


def ball(points_mm: np.ndarray, radius_mm: float = 12.0) -> np.ndarray:
    """Off the middle, so that a flip or a shift shows."""
    return np.linalg.norm(points_mm - CENTRE_MM - np.array([-9.0, 6.0, -5.0]), axis=-1) < radius_mm


def described(number: int, label: str, kind: Code = TISSUE) -> hd.seg.SegmentDescription:
    """A segment of any name, drawn by hand."""
    return hd.seg.SegmentDescription(number, label, codes.SCT.Tissue, kind, hd.seg.SegmentAlgorithmTypeValues.MANUAL)


def write_segmentation(
    path: Path,
    paths: Sequence[Path],
    mask_nrcs: np.ndarray,
    segments: Sequence[hd.seg.SegmentDescription],
    kind: str = "BINARY",
    **more: Any,
) -> Path:
    """``mask_nrcs``: a mask of each source image and segment."""
    made = hd.seg.Segmentation(
        source_images=[pydicom.dcmread(one) for one in paths],
        pixel_array=mask_nrcs,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=5,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Elsewhere",
        manufacturer_model_name="Other",
        software_versions="1",
        device_serial_number="1",
        **more,
    )
    made.save_as(path)
    return path


def series_of(folder: Path) -> Series:
    """The one series that lies in ``folder``."""
    (series,), _ = classify_series(folder, scan(folder, b"key"))
    return series


def true_mask(series: Series) -> np.ndarray:
    """The ball on the grid of the volume, by patient coordinates."""
    volume = read_volume(series)
    index = np.moveaxis(np.indices(volume.array.shape), 0, -1)
    points_ras = index @ volume.affine_ras[:3, :3].T + volume.affine_ras[:3, 3]
    return ball(points_ras * np.array([-1, -1, 1]))

"""RT Structure Sets as planning systems write them: by pydicom, without this project."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from tests.support.phantoms import CENTRE_MM, Grid

#: A closed outline in LPS millimetres ``[n, 3]``, or that and another geometric type.
Outline = np.ndarray | tuple[np.ndarray, str]


def circles_of_ball(grid: Grid, radius_mm: float = 12.0, corners: int = 720) -> list[np.ndarray]:
    """Where the slices of a grid cut the ball of :func:`tests.support.segmentations.ball`."""
    centre_mm = CENTRE_MM + np.array([-9.0, 6.0, -5.0])
    angles = np.arange(corners) * 2 * np.pi / corners
    circles = []
    for position_mm in grid.positions_mm:
        height_mm = float((position_mm - centre_mm) @ grid.normal)
        if abs(height_mm) < radius_mm:
            around = np.cos(angles)[:, None] * grid.row_direction + np.sin(angles)[:, None] * grid.column_direction
            circles.append(centre_mm + height_mm * grid.normal + np.sqrt(radius_mm**2 - height_mm**2) * around)
    return circles


def on_slice(grid: Grid, k: int, corners_rc: Sequence[tuple[float, float]], off_mm: float = 0.0) -> np.ndarray:
    """Corners (row, column) on slice ``k`` in LPS millimetres, perhaps off it."""
    between_rows_mm, between_columns_mm = grid.pixel_spacing_mm
    rows, columns = np.array(corners_rc, float).T[..., None]
    across = columns * between_columns_mm * grid.row_direction + rows * between_rows_mm * grid.column_direction
    return grid.positions_mm[k] + across + off_mm * grid.normal


def write_structures(path: Path, image: Path, structures: Mapping[str, Sequence[Outline]], **tags: Any) -> Path:
    """Structures by name, drawn on the series that ``image`` is a file of."""
    source = pydicom.dcmread(image, stop_before_pixels=True)
    series = _dataset(SeriesInstanceUID=source.SeriesInstanceUID)
    study = _dataset(ReferencedSOPInstanceUID=source.StudyInstanceUID, RTReferencedSeriesSequence=[series])
    frame = source.get("FrameOfReferenceUID", "")
    plain = {
        "SOPClassUID": RTStructureSetStorage,
        "SOPInstanceUID": generate_uid(),
        "Modality": "RTSTRUCT",
        "PatientID": source.PatientID,
        "ReferencedFrameOfReferenceSequence": [_dataset(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])],
        "StructureSetROISequence": [
            _dataset(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame)
            for number, name in enumerate(structures, start=1)
        ],
        "ROIContourSequence": [
            _dataset(ReferencedROINumber=number, ContourSequence=[_contour(one) for one in outlines])
            for number, outlines in enumerate(structures.values(), start=1)
        ],
    }
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = plain["SOPInstanceUID"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(path, _dataset(**(plain | tags)), file_meta=meta, preamble=b"\0" * 128)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def _contour(outline: Outline) -> Dataset:
    points_mm, kind = outline if isinstance(outline, tuple) else (outline, "CLOSED_PLANAR")
    return _dataset(
        ContourGeometricType=kind,
        NumberOfContourPoints=len(points_mm),
        ContourData=[f"{mm:.4f}" for mm in points_mm.ravel()],
    )


def _dataset(**tags: Any) -> Dataset:
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset

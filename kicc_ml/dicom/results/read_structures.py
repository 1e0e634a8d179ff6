"""Outlines of an RT Structure Set (PS3.3 A.19), filled on the slices of the CT that they were drawn on.

Outlines find their slices by patient coordinates. Those that lie between slices, or were drawn across them, are
refused: nothing is interpolated.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import find_named_region
from kicc_ml.core.types import Series, Volume
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.results.read_segmentation import SegmentationHeader, read_series_uids, require_same_source
from kicc_ml.dicom.series.geometry import LPS_TO_RAS
from kicc_ml.dicom.series.polygons import fill_polygon

#: Kinds of contours that have an inside (PS3.3 C.8.8.6.3); points and open lines mark none.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
#: Largest distance of an outline from its slice, in slices: heights are printed to a tenth of a millimetre, and half a
#: slice would be a guess between two.
MAX_OFF_SLICE = 0.25


@suppress_warnings()
def read_structure_header(image: Dataset, path: Path) -> SegmentationHeader:
    """Read the header of a structure set: its structures by number, and what they were drawn on."""
    names = {int(one.ROINumber): str(one.get("ROIName", "")) for one in image.get("StructureSetROISequence", [])}
    region_of = {number: region for number, name in names.items() if (region := find_named_region(name))}
    frames = image.get("ReferencedFrameOfReferenceSequence") or [Dataset()]
    return SegmentationHeader(
        path,
        region_of,
        tuple(name for number, name in names.items() if number not in region_of),
        next(_list_series(frames[0]), ""),
        str(frames[0].get("FrameOfReferenceUID", "")),
    )


def _list_series(frame_of_reference: Dataset) -> Iterator[str]:
    for study in frame_of_reference.get("RTReferencedStudySequence", []):
        for series in study.get("RTReferencedSeriesSequence", []):
            yield str(series.get("SeriesInstanceUID", ""))


@suppress_warnings()
def fill_structures(
    image: Dataset, header: SegmentationHeader, series: Series, volume: Volume
) -> dict[str, np.ndarray]:
    """Fill the regions of a structure set as bool ``[x, y, z]`` on the grid of ``volume``, read from ``series``.

    Where outlines of one structure overlap on a slice, the inner one cuts a hole (and one within it fills it again),
    as planning systems draw them. Structures of one region are joined.

    Raises:
        UserError: the outlines were drawn on another series or frame of reference, or not on its slices.
    """
    require_same_source(header, *read_series_uids(series))
    to_index = np.linalg.inv(volume.affine_ras) @ LPS_TO_RAS
    masks = {region: np.zeros(volume.array.shape, bool) for region in header.region_of.values()}
    for roi in image.get("ROIContourSequence", []):
        if region := header.region_of.get(int(roi.get("ReferencedROINumber", -1))):
            for level, outlines in _group_by_slice(roi, to_index, volume, header.path).items():
                masks[region][:, :, level] |= _combine(outlines, volume.array.shape[:2])
    return masks


def _group_by_slice(roi: Dataset, to_index: np.ndarray, volume: Volume, path: Path) -> Mapping[int, list[np.ndarray]]:
    """Corners ``[n, 2]`` of the closed outlines of a structure by slice, as index of its columns and rows."""
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    for contour in roi.get("ContourSequence", []):
        if contour.get("ContourGeometricType") not in CLOSED:
            continue
        points_mm = np.array(contour.get("ContourData", []), float).reshape(-1, 3)
        index_n3 = points_mm @ to_index[:3, :3].T + to_index[:3, 3]
        level = round(float(index_n3[:, 2].mean())) if len(index_n3) else 0
        if len(index_n3) and np.abs(index_n3[:, 2] - level).max() > MAX_OFF_SLICE:
            raise UserError(f"{path}: an outline does not lie on a slice of the CT of this case; draw it on its slices")
        if not 0 <= level < volume.array.shape[2]:
            raise UserError(f"{path}: reaches beyond the CT of this case")
        found[level].append(index_n3[:, :2])
    return found


def _combine(outlines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    combined = np.zeros(shape, bool)
    for corners_n2 in outlines:
        if len(corners_n2):
            combined ^= fill_polygon(corners_n2, shape)
    return combined

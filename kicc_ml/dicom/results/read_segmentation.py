"""Read the masks of a DICOM Segmentation (PS3.3 A.51) on the grid of the CT on which they were drawn.

Pixels are mapped to voxels by patient coordinates. Nothing is interpolated: a segmentation of another series, or on
another grid, is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import find_named_region
from kicc_ml.core.types import Series, Volume
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.terms import LABEL_MAP_SEGMENTATION
from kicc_ml.dicom.results.codes import CONSOLIDATION, SEGMENTS
from kicc_ml.dicom.series.geometry import LPS_TO_RAS
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES

#: Maximum distance of a pixel from the centre of its voxel, in voxels; positions are printed to a hundredth of a
#: millimetre.
MAX_OFF_CENTRE_VOXELS = 0.1

#: Labels of this project's own segments.
OWN_LABELS: Mapping[str, str] = {label: name for name, (label, *_) in SEGMENTS.items()}

#: Region by coded type, without laterality. These are pairs and not a dictionary, because codes of SNOMED's older
#: scheme (SRT) are equal to them but have another hash.
TYPES = (
    (codes.SCT.Lung, "lung"),
    (codes.SCT.Lesion, "lesion"),
    (codes.DCM.GroundGlassOpacity, "ground_glass"),
    (CONSOLIDATION, "consolidation"),
)
LATERALITIES = ((codes.SCT.Left, "left_"), (codes.SCT.Right, "right_"))


@dataclass(frozen=True)
class SegmentationHeader:
    """The header of a segmentation file.

    ``region_of`` maps segment numbers to regions; ``strange`` holds the labels of other segments. ``series`` and
    ``frame_of_reference`` are the UIDs of the segmented images, "" if not stated.
    """

    path: Path
    region_of: Mapping[int, str]
    strange: tuple[str, ...]
    series: str
    frame_of_reference: str


@suppress_warnings()
def read_segments(path: Path) -> SegmentationHeader:
    """Read the header of a segmentation file.

    Raises:
        UserError: the file is not a DICOM Segmentation.
    """
    image = _read(path, pixels=False)
    region_of = {int(segment.SegmentNumber): _find_region(segment) for segment in image.get("SegmentSequence", [])}
    labels = {int(segment.SegmentNumber): _describe_segment(segment) for segment in image.get("SegmentSequence", [])}
    referenced = image.get("ReferencedSeriesSequence") or [Dataset()]
    return SegmentationHeader(
        path,
        {number: region for number, region in region_of.items() if region},
        tuple(labels[number] for number, region in region_of.items() if not region),
        str(referenced[0].get("SeriesInstanceUID", "")),
        str(image.get("FrameOfReferenceUID", "")),
    )


@suppress_warnings()
def read_series_uids(series: Series) -> tuple[str, str]:
    """Read the true UIDs of a series and of its frame of reference from its first file; "" for a NIfTI."""
    path = series.files[0]
    if path.name.lower().endswith(NIFTI_SUFFIXES) or not path.is_file():
        return "", ""
    tags = ["SeriesInstanceUID", "FrameOfReferenceUID"]
    image = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
    return str(image.get("SeriesInstanceUID", "")), str(image.get("FrameOfReferenceUID", ""))


@suppress_warnings()
def read_masks_on_grid(segments: SegmentationHeader, series: Series, volume: Volume) -> dict[str, np.ndarray]:
    """Read the masks of a segmentation file on the grid of a volume.

    Args:
        segments: header of the file.
        series: the CT that was segmented.
        volume: the volume that was read from ``series``.

    Returns:
        boolean masks ``[x, y, z]`` by region. Segments of one region are joined; frames that are not in the file are
        empty.

    Raises:
        UserError: the segmentation is of another series or frame of reference, or on another grid.
    """
    require_same_source(segments, *read_series_uids(series))
    image = _read(segments.path, pixels=True)
    frame_nrc = _decode_frames(image, segments.path)
    masks = {region: np.zeros(volume.array.shape, bool) for region in segments.region_of.values()}
    to_index = np.linalg.inv(volume.affine_ras) @ LPS_TO_RAS
    for number, groups in enumerate(_list_frame_groups(image)):
        voxel = to_index @ _compute_pixel_affine(groups, segments.path)
        for segment, lit_rc in _split_by_segment(frame_nrc[number], groups):
            if region := segments.region_of.get(segment):
                _set_voxels(lit_rc, voxel, masks[region], segments.path)
    return masks


def _read(path: Path, pixels: bool) -> Dataset:
    try:
        image = pydicom.dcmread(path, stop_before_pixels=not pixels)
    except Exception as error:  # a damaged file can raise anything in the parser
        kind = type(error).__name__  # its message may quote values of the file
        raise UserError(f"{path}: cannot be read as DICOM ({kind}); is the file whole?") from error
    if image.get("SOPClassUID") not in (SegmentationStorage, LABEL_MAP_SEGMENTATION):
        raise UserError(f"{path} is not a DICOM Segmentation; give predicted masks as DICOM Segmentation or NIfTI")
    return image


def _find_region(segment: Dataset) -> str:
    """Find the region of a segment by label and coded type; "" if neither is known or they contradict each other."""
    label = str(segment.get("SegmentLabel", ""))
    regions = {find_named_region(label), OWN_LABELS.get(label.lower(), ""), _find_coded_region(segment)} - {""}
    if "lung" in regions and regions & {"left_lung", "right_lung"}:
        regions.discard("lung")
    return regions.pop() if len(regions) == 1 else ""


def _find_coded_region(segment: Dataset) -> str:
    types = segment.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    region = _look_up_code(types[0], TYPES)
    sides = [
        _look_up_code(modifier, LATERALITIES)
        for modifier in types[0].get("SegmentedPropertyTypeModifierCodeSequence", [])
    ]
    return "".join(sides[:1]) + region if region == "lung" else region


def _look_up_code(item: Dataset, known: Sequence[tuple[Code, str]]) -> str:
    stated = Code(str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", "")), "")
    return next((name for code, name in known if code == stated), "")


def _describe_segment(segment: Dataset) -> str:
    types = segment.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    return f"{segment.get('SegmentLabel', '')} (coded as {types[0].get('CodeMeaning', 'nothing')})"


def require_same_source(segments: SegmentationHeader, series: str, frame_of_reference: str) -> None:
    """Raises UserError where a file states another series or frame of reference than these, or none of them."""
    stated = [
        (mine, theirs)
        for mine, theirs in ((segments.series, series), (segments.frame_of_reference, frame_of_reference))
        if mine and theirs
    ]
    if not stated:
        raise UserError(f"{segments.path}: does not say what it was drawn on, or the CT has no UIDs; give a NIfTI")
    if any(mine != theirs for mine, theirs in stated):
        raise UserError(
            f"{segments.path}: was drawn on another series or in another frame of reference than the CT of this case"
        )


def _decode_frames(image: Dataset, path: Path) -> np.ndarray:
    """Decode the pixels ``[frame, row, column]``, which are 0 or one other value for each segment.

    Raises:
        UserError: the pixels cannot be decoded, or hold fractions.
    """
    try:
        frame_nrc = image.pixel_array.reshape(-1, image.Rows, image.Columns)
    except Exception as error:  # decoders each have their own
        raise UserError(f"{path}: its pixels cannot be decoded ({error}); is the file whole?") from error
    if image.get("SegmentationType") == "FRACTIONAL" and not np.isin(frame_nrc, (0, frame_nrc.max())).all():
        raise UserError(f"{path}: holds shares or probabilities; write it as BINARY, at the threshold you mean")
    return frame_nrc


def _list_frame_groups(image: Dataset) -> list[dict[str, Dataset]]:
    """List the functional groups of each frame by keyword, shared ones included."""
    shared = image.get("SharedFunctionalGroupsSequence") or [Dataset()]
    return [
        {element.keyword: element.value[0] for element in (*shared[0], *own) if element.VR == "SQ" and element.value}
        for own in image.PerFrameFunctionalGroupsSequence
    ]


def _split_by_segment(frame_rc: np.ndarray, groups: Mapping[str, Dataset]) -> list[tuple[int, np.ndarray]]:
    """Split a frame into segments; a label map holds several segments in one frame, as different values."""
    if identified := groups.get("SegmentIdentificationSequence"):
        return [(int(identified.ReferencedSegmentNumber), frame_rc > 0)]
    return [(int(value), frame_rc == value) for value in np.unique(frame_rc[frame_rc > 0])]


def _compute_pixel_affine(groups: Mapping[str, Dataset], path: Path) -> np.ndarray:
    """Compute the affine from (column, row, 0, 1) of a frame to LPS millimetres (PS3.3 C.7.6.2.1.1)."""
    needed = ("PlaneOrientationSequence", "PixelMeasuresSequence", "PlanePositionSequence")
    if absent := [name for name in needed if name not in groups]:
        raise UserError(f"{path}: a frame has no {', '.join(absent)}, so its place is not known")
    orientation, measures, position = (groups[name] for name in needed)
    cosines = np.array(orientation.ImageOrientationPatient, float)
    between_rows, between_columns = map(float, measures.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = cosines[:3] * between_columns, cosines[3:] * between_rows
    affine[:3, 2] = np.cross(cosines[:3], cosines[3:])
    affine[:3, 3] = np.array(position.ImagePositionPatient, float)
    return affine


def _set_voxels(lit_rc: np.ndarray, voxel: np.ndarray, mask_xyz: np.ndarray, path: Path) -> None:
    """Set the voxels of a mask for the pixels that are set.

    Raises:
        UserError: pixels do not match voxels one to one, or lie outside.
    """
    row_n, column_n = np.nonzero(lit_rc)
    if not row_n.size:
        return
    whole = np.round(voxel).astype(int)
    corners = np.array([(x, y, 0, 1) for x in (0, lit_rc.shape[1] - 1) for y in (0, lit_rc.shape[0] - 1)]).T
    one_by_one = (np.abs(whole[:3, :2]).sum(axis=0) == 1).all()
    if not one_by_one or np.abs(((voxel - whole) @ corners)[:3]).max() > MAX_OFF_CENTRE_VOXELS:
        raise UserError(f"{path}: lies on another grid than the CT of this case; draw it on the slices of the CT")
    index_3n = whole[:3, :1] * column_n + whole[:3, 1:2] * row_n + whole[:3, 3:]
    if ((index_3n < 0) | (index_3n >= np.array(mask_xyz.shape)[:, None])).any():
        raise UserError(f"{path}: reaches beyond the CT of this case")
    mask_xyz[tuple(index_3n)] = True

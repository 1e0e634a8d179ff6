"""Read the position and other values of each frame of a multi-frame object (functional groups, PS3.3 C.7.6.16)."""

from collections.abc import Mapping

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from kicc_ml.dicom.header.values import GROUPS, TooLargeError, read_element_text, read_integer

#: Maximum number of frames: a dynamic CT of 320 slices with 30 phases has 9,600.
MAX_FRAMES = 10_000

#: Maximum number of items: about twenty macros for each frame.
MAX_ITEMS = 20 * MAX_FRAMES
ITEM = b"\xfe\xff\x00\xe0"

#: For each keyword of a single-frame image: the macro that holds the value of a frame, and its keyword there.
MACRO_AND_KEYWORD = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "RescaleType": ("PixelValueTransformationSequence", "RescaleType"),
    "ImageType": ("CTImageFrameTypeSequence", "FrameType"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "AcquisitionDateTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
    "TemporalPositionIndex": ("FrameContentSequence", "TemporalPositionIndex"),
    "NominalPercentageOfCardiacPhase": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "GantryDetectorTilt": ("CTAcquisitionDetailsSequence", "GantryDetectorTilt"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
    "ExposureInmAs": ("CTExposureSequence", "ExposureInmAs"),
    "CTDIvol": ("CTExposureSequence", "CTDIvol"),
}


def list_frame_values(dataset: Dataset, values: Mapping[str, str]) -> list[dict[str, str]]:
    """List the values of each frame: those of the object, overridden by shared groups and by the frame's own groups.

    Args:
        dataset: the object without pixel data.
        values: the values of the object by keyword.

    Returns:
        values by keyword for each frame, in the order of the file; Stack ID and In-Stack Position are not trusted.
        Empty if a frame has no position, or for an object without frames.

    Raises:
        TooLargeError: there are more frames or items than any chest CT has.
    """
    frames = read_integer(values, "NumberOfFrames") or 1
    if frames > MAX_FRAMES:
        raise TooLargeError(f"{frames} frames in one object")
    _refuse_too_many_items(dataset)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames < 2 and not groups:
        return []
    charset = values.get("SpecificCharacterSet", "")
    shared = _read_group_values(_find_first_item(dataset, "SharedFunctionalGroupsSequence"), charset)
    own = [_read_group_values(group, charset) for group in groups or []]
    placed = [{**values, **shared, **frame} for frame in own]
    complete = len(placed) == frames and all("ImagePositionPatient" in frame for frame in placed)
    return placed if complete else []


def _refuse_too_many_items(dataset: Dataset) -> None:
    """Refuse functional groups with too many items, before pydicom makes an object of each item."""
    for name in GROUPS:
        element = dataset.get_item(Tag(name)) if name in dataset else None
        if isinstance(element, RawDataElement) and (element.value or b"").count(ITEM) > MAX_ITEMS:
            raise TooLargeError(f"more than {MAX_ITEMS} items in functional groups")


def _read_group_values(group: Dataset | None, charset: str) -> dict[str, str]:
    found = {}
    for keyword, (macro, inner) in MACRO_AND_KEYWORD.items():
        item = _find_first_item(group, macro)
        if item is not None and (value := read_element_text(item, inner, charset)):
            found[keyword] = value
    return found


def _find_first_item(dataset: Dataset | None, name: str) -> Dataset | None:
    """Find the first item of a sequence; None if there is none, or if the element is not a sequence."""
    items = dataset.get(name) if dataset is not None else None
    return items[0] if isinstance(items, Sequence) and len(items) else None

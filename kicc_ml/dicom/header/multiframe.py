"""Where each frame of a multi-frame object lies, from its functional groups (PS3.3 C.7.6.16)."""

from collections.abc import Mapping

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from kicc_ml.dicom.header.values import GROUPS, TooLargeError, read_element_text, read_integer

#: No chest CT has more; a dynamic one of 320 slices has 30 phases of them.
MAX_FRAMES = 10_000

#: Some twenty macros a frame.
MAX_ITEMS = 20 * MAX_FRAMES
ITEM = b"\xfe\xff\x00\xe0"

#: In which macro a value stands, and under which keyword, for each keyword of a single-frame image.
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
    """``values`` of the object with those of each frame put over; empty where not every frame has a place.

    A frame's own groups stand over the shared ones. The order is that of the frames in the file: neither
    Stack ID nor In-Stack Position is trusted to say where a frame lies.
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
    placed = [{**values, **shared, **one} for one in own]
    complete = len(placed) == frames and all("ImagePositionPatient" in one for one in placed)
    return placed if complete else []


def _refuse_too_many_items(dataset: Dataset) -> None:
    """Before pydicom makes an object of every item."""
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
    """The first item of a sequence; None where there is none, or where it is no sequence."""
    items = dataset.get(name) if dataset is not None else None
    return items[0] if isinstance(items, Sequence) and len(items) else None

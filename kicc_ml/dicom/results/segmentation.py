"""Make DICOM objects of a prediction: masks as Segmentation, probability as Parametric Map.

The objects belong to the study and the frame of reference of the source. Their grid is that of the predicted volume,
which differs from that of the files if the series was repaired. UIDs are derived from source and model, so that a
repeated prediction gives the same object.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

from kicc_ml.core.boxes import find_bounding_box, grow_box, make_whole_box
from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import without_overlap
from kicc_ml.core.types import Series, Volume
from kicc_ml.dicom.header.stated_tags import TYPE_2, drop_faulty_tags, suppress_warnings
from kicc_ml.dicom.results.codes import PROCESSING_EQUIPMENT, SEGMENTS
from kicc_ml.dicom.series.geometry import LPS_TO_RAS, compute_heights_mm

MANUFACTURER = "kicc_ml"
#: Series numbers of derived objects; scanners count from one, workstations into the hundreds.
SERIES_NUMBER = {"segmentation": 9001, "map": 9002, "report": 9003, "picture": 9004, "summary": 9005}

#: What is shown in the list of series of a viewer.
SERIES_DESCRIPTION = {
    "segmentation": "Lungs and lesions, research use only",
    "map": "Probability of lesion, research use only",
}
#: A larger Parametric Map is cut to the box of the lungs, with this margin; 512 slices of 512 by 512 are as large.
MAX_WHOLE_MAP_BYTES = 512 * 2**20
BOX_MARGIN_VOXELS = 4

RESEARCH_USE = "Research use only"
MAX_DESCRIPTION_CHARACTERS = 1024  # of value representation ST


@dataclass(frozen=True)
class PredictionSource:
    """A series whose predictions are written, and the model that made them.

    ``model`` is a hash of its weights. ``provenance`` holds training hospitals and validation metrics by label.
    ``patient`` is the patient's pseudonym under a key that stays with the hospital; "" where the patient is not known.
    """

    series: Series
    model: str
    version: str
    provenance: Mapping[str, str] = field(default_factory=dict)
    patient: str = ""

    @cached_property
    def images(self) -> list[Dataset]:
        """Headers of the source files in order.

        Raises:
            UserError: a file cannot be read, or each file has a SeriesInstanceUID of its own.
        """
        if "uid_per_slice" in self.series.reasons:
            raise UserError(
                f"{self.series.files[0].parent}: each file has a SeriesInstanceUID of its own, so that no DICOM object "
                "can refer to the series; have them given one"
            )
        with suppress_warnings():
            try:
                images: list[Dataset] = [
                    pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in self.series.files
                ]
                for image in images:
                    self._complete(image)
            except Exception as error:  # a damaged header can raise anything in the parser
                kind = type(error).__name__  # its words quote what is written there
                raise UserError(f"{self.series.files[0].parent}: a source file cannot be read ({kind})") from error
        return images

    def make_uid(self, kind: str) -> UID:
        """Make the UID of a derived object or of its series, always the same for the same images, model and kind.

        A series that has grown gives other UIDs, because a PACS keeps the first object of a UID. So does another study
        whose images have the same UIDs, as careless senders give them.
        """
        studies = sorted({str(image.get("StudyInstanceUID", "")) for image in self.images})
        uids = sorted(str(image.SOPInstanceUID) for image in self.images)
        # one text, since a list would be joined without anything between its parts
        return generate_uid(entropy_srcs=[json.dumps([studies, uids, str(self.series.frames), self.model, kind])])

    def make_tracking_uid(self, name: str) -> UID:
        """Make the tracking UID of something that is measured again in each study of the patient.

        It is the same in all of them, whatever the model. Without the hospital's key nobody can tell a patient by it.

        Args:
            name: what is measured, such as ``left lung``.

        Returns:
            the UID; of a patient who is not known, one of this study.
        """
        if not self.patient:
            return self.make_uid(f"tracking {name}")
        return generate_uid(entropy_srcs=[json.dumps(["tracking", self.patient, self.series.modality, name])])

    def _complete(self, image: Dataset) -> None:
        """Add what a derived object must state and old exporters leave out.

        Type 2 attributes stay empty, also where they hold what cannot be stated. Texts are written in UTF-8: highdicom
        does not take a Korean name in ISO 2022 IR 149.
        """
        drop_faulty_tags(image)
        image.decode()
        image.SpecificCharacterSet = "ISO_IR 192"
        image.FrameOfReferenceUID = image.get("FrameOfReferenceUID") or generate_uid(
            entropy_srcs=[f"{image.get('StudyInstanceUID', '')}/{image.SeriesInstanceUID}", "/frame of reference"]
        )
        for name in TYPE_2:
            if name not in image:
                setattr(image, name, None)
        image.BodyPartExamined = "CHEST"

    def series_arguments(self, kind: str) -> dict[str, object]:
        """Return the arguments that every constructor of a derived object needs."""
        return {
            "series_instance_uid": self.make_uid(f"{kind} series"),
            "series_number": SERIES_NUMBER[kind],
            "sop_instance_uid": self.make_uid(kind),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
        }

    @property
    def device(self) -> dict[str, str]:
        """Return manufacturer, version and weights as DICOM names a device."""
        return {
            "manufacturer_model_name": MANUFACTURER,
            "software_versions": self.version,
            "device_serial_number": self.model[:16],
        }

    @property
    def algorithm(self) -> hd.AlgorithmIdentificationSequence:
        """Return the algorithm identification of the derived objects."""
        return hd.AlgorithmIdentificationSequence(
            MANUFACTURER, codes.DCM.ArtificialIntelligence, self.version, parameters={"weights": self.model}
        )


def state_origin(made: Dataset, source: PredictionSource) -> None:
    """State in an object what made it and how well it was validated, as Contributing Equipment (PS3.3 C.12.1)."""
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept.from_code(PROCESSING_EQUIPMENT)]
    equipment.Manufacturer, equipment.ManufacturerModelName = MANUFACTURER, MANUFACTURER
    equipment.SoftwareVersions, equipment.DeviceSerialNumber = source.version, source.model[:16]
    statements = [RESEARCH_USE, *(f"{label}: {value}" for label, value in source.provenance.items())]
    equipment.ContributionDescription = "; ".join(statements)[:MAX_DESCRIPTION_CHARACTERS]
    made.ContributingEquipmentSequence = [*made.get("ContributingEquipmentSequence", []), equipment]
    made.SpecificCharacterSet = "ISO_IR 192"


def split_into_segments(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Split masks into segments that do not overlap (:func:`without_overlap`), in the order of ``SEGMENTS``."""
    apart = without_overlap(masks)
    return {name: apart[name] for name in SEGMENTS if name in apart}


def make_segmentation(source: PredictionSource, volume: Volume, masks: Mapping[str, np.ndarray]) -> Dataset:
    """Make a binary Segmentation (PS3.3 A.51); empty frames are left out.

    Args:
        source: the series and the model.
        volume: the volume that was predicted.
        masks: boolean masks ``[x, y, z]`` on its grid, by region.

    Raises:
        UserError: no mask holds a voxel; the standard does not allow an empty segmentation.
    """
    segments = split_into_segments(masks)
    if not any(mask.any() for mask in segments.values()):
        raise UserError("the masks are empty: there is nothing to write as DICOM Segmentation")
    array_zyxs = np.stack([mask.transpose(2, 1, 0) for mask in segments.values()], axis=-1)
    with suppress_warnings():
        return hd.seg.Segmentation(
            source_images=source.images,
            pixel_array=_make_patient_volume(array_zyxs.astype(np.uint8), volume, source, channels=True),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _describe_segment(source, number, name) for number, name in enumerate(segments, start=1)
            ],
            content_label="COVID_SEVERITY",
            content_description="Lungs and lesions of COVID-19 pneumonia; research use only",
            content_creator_name="kicc_ml",
            series_description=SERIES_DESCRIPTION["segmentation"],
            **source.series_arguments("segmentation"),
            **source.device,
        )


def _describe_segment(source: PredictionSource, number: int, name: str) -> hd.seg.SegmentDescription:
    label, category, kind, side, rgb = SEGMENTS[name]
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=source.algorithm,
        tracking_uid=source.make_tracking_uid(name),
        tracking_id=f"kicc_ml {label}",
        display_color=hd.color.CIELabColor.from_rgb(*rgb),
    )
    if side:
        modifier = hd.sr.CodedConcept.from_code(codes.SCT.Right if side == "right" else codes.SCT.Left)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return description


def make_parametric_map(
    source: PredictionSource, volume: Volume, probability_xyz: np.ndarray, lung_xyz: np.ndarray
) -> Dataset:
    """Make a Parametric Map (PS3.3 A.75), float32, of the lesion's probability.

    It covers the whole scan, because a viewer such as OHIF lays a map over a CT only if it has the same rows, columns
    and slices. Only a map above ``MAX_WHOLE_MAP_BYTES`` is cut to the box of the lungs, if there are any.
    """
    cut = Volume(probability_xyz, volume.affine_ras, volume.units)
    if probability_xyz.size * np.dtype(np.float32).itemsize > MAX_WHOLE_MAP_BYTES:
        cut = _cut_to_lungs(cut, lung_xyz)
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="1",
        lut_explanation="probability that a voxel is part of a lesion",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.DCM.Probability,
    )
    with suppress_warnings():
        made = hd.pm.ParametricMap(
            source_images=source.images,
            pixel_array=_make_patient_volume(cut.array.transpose(2, 1, 0).astype(np.float32, copy=False), cut, source),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
            content_label="LESION_PROB",
            content_description="Probability of COVID-19 lesion; research use only",
            content_creator_name="kicc_ml",
            series_description=SERIES_DESCRIPTION["map"],
            **source.series_arguments("map"),
            **source.device,
        )
    _order_frames_along_normal(made)
    made.BodyPartExamined = "CHEST"  # an unpaired part; without it a laterality is asked for
    return made


def _cut_to_lungs(probability: Volume, lung_xyz: np.ndarray) -> Volume:
    around = find_bounding_box(lung_xyz) or make_whole_box(lung_xyz.shape)
    box = grow_box(around, (BOX_MARGIN_VOXELS,) * 3, lung_xyz.shape)
    corner = np.eye(4)
    corner[:3, 3] = [side.start for side in box]
    return Volume(probability.array[box], probability.affine_ras @ corner, probability.units)


def _order_frames_along_normal(made: Dataset) -> None:
    """Order the frames of a map by their height along rows x columns, as OHIF takes them without a look at positions.

    highdicom writes them the other way round.
    """
    frames = made.PerFrameFunctionalGroupsSequence
    orientation = np.array(made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient)
    positions_mm = np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames])
    order = np.argsort(compute_heights_mm(positions_mm, orientation), kind="stable")
    values = np.frombuffer(made.FloatPixelData, "<f4").reshape(len(frames), -1)
    made.FloatPixelData = b"".join(values[index].data for index in order)
    made.PerFrameFunctionalGroupsSequence = [frames[index] for index in order]


def _make_patient_volume(
    array_zyx: np.ndarray, volume: Volume, source: PredictionSource, channels: bool = False
) -> hd.Volume:
    """Make a highdicom volume in patient coordinates (LPS), with axes z y x as frames, rows, columns."""
    affine_lps = LPS_TO_RAS @ volume.affine_ras
    return hd.Volume(
        array=array_zyx,
        affine=affine_lps[:, [2, 1, 0, 3]],
        coordinate_system="PATIENT",
        frame_of_reference_uid=source.images[0].FrameOfReferenceUID,
        channels={"SegmentNumber": list(range(1, array_zyx.shape[-1] + 1))} if channels else None,
    )

"""Make a structured report (TID 1500) of the measurements, each with code, unit and finding site.

A workstation can follow the references to segments; a registry can read the zones without opening an image.
"""

from collections.abc import Sequence

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from kicc_ml.core.types import RadiographScore, Risk, SeverityMap
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.results.codes import (
    EXTENT,
    GRAM,
    MASS,
    MILLILITRE,
    PERCENT,
    POINTS,
    PROCEDURE,
    RADIOGRAPH_SCORE,
    RISK,
    SEGMENTS,
    SHARE_CONSOLIDATED,
    SHARE_INVOLVED,
    SHARE_UNCERTAIN,
    SIDE,
    TOTAL_SCORE,
    ZONE,
    ZONE_SCORE,
)
from kicc_ml.dicom.results.segmentation import RESEARCH_USE, PredictionSource


def make_severity_report(
    source: PredictionSource,
    severity: SeverityMap,
    risks: Sequence[Risk],
    segmentation: Dataset | None = None,
    scores: Sequence[RadiographScore] = (),
    pictures: Sequence[Dataset] = (),
    key_image: Dataset | None = None,
) -> Dataset:
    """Make a Comprehensive 3D SR (PS3.3 A.35.13), the root of the results (IHE AI Results): it refers to all others.

    Args:
        source: the series and the model.
        severity: the severity map; values that are None are left out.
        risks: predicted risks.
        segmentation: the Segmentation to refer to, if there is one.
        scores: predicted scores of a radiograph.
        pictures: objects that show what was found, such as the Parametric Map.
        key_image: the source image on which the lesion is seen best, if there is a lesion.
    """
    groups = [
        _refer(_make_both_lungs_group(source, severity), pictures, key_image),
        *_make_lung_groups(source, severity),
        *_make_zone_groups(source, severity),
    ]
    groups += _make_segment_groups(source, severity, segmentation) if segmentation else []
    groups += [_make_risk_group(source, risk) for risk in risks] + [
        _make_score_group(source, score) for score in scores
    ]
    with suppress_warnings():
        report = hd.sr.MeasurementReport(
            observation_context=_make_context(source),
            procedure_reported=PROCEDURE[source.series.modality],
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
            referenced_images=_list_described_images(source),
        )
        return hd.sr.Comprehensive3DSR(
            evidence=[*source.images, *([segmentation] if segmentation else []), *pictures],
            content=report,
            series_description="Severity of COVID-19 pneumonia, research use only",
            **source.series_arguments("report"),
        )


def _list_described_images(source: PredictionSource) -> list[Dataset] | None:
    """List the images to describe in the report; None for images whose description TID 1603 does not allow.

    These are multi-frame images, whose geometry would be read per file, and radiographs without orientation or spacing.
    """
    asked = ("PatientOrientation", "ImagerPixelSpacing") if source.series.modality == "CXR" else ()
    image = source.images[0]
    whole = all(name in image and image[name].VM == 2 for name in asked)
    return source.images if whole and not source.series.frames else None


def _make_context(source: PredictionSource) -> hd.sr.ObservationContext:
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=source.make_uid("device"), manufacturer_name="kicc_ml", model_name=source.model[:16]
    )
    observer = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return hd.sr.ObservationContext(observer_device_context=observer)


def _make_measurements(*rows: tuple[Code, float | None, Code]) -> list[hd.sr.Measurement]:
    return [
        hd.sr.Measurement(name=name, value=round(float(value), 3), unit=unit)
        for name, value, unit in rows
        if value is not None
    ]


def _make_algorithm(source: PredictionSource, remarks: Sequence[str] = ()) -> hd.sr.AlgorithmIdentification:
    parameters = [f"weights {source.model[:16]}", RESEARCH_USE, *remarks]
    return hd.sr.AlgorithmIdentification("kicc_ml", source.version, parameters=parameters)


def _make_group(
    source: PredictionSource,
    name: str,
    finding: Code,
    site: hd.sr.FindingSite | None,
    measurements: Sequence[hd.sr.Measurement],
    remarks: Sequence[str] = (),
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=source.make_tracking_uid(name), identifier=name),
        finding_type=finding,
        algorithm_id=_make_algorithm(source, remarks),
        finding_sites=[site] if site else None,
        measurements=measurements,
    )


def _make_both_lungs_group(
    source: PredictionSource, severity: SeverityMap
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    measurements = _make_measurements(
        (TOTAL_SCORE, severity.score, POINTS),
        (EXTENT, severity.geographic_extent, POINTS),
        (SHARE_INVOLVED, severity.percent_involved, PERCENT),
        (SHARE_CONSOLIDATED, severity.percent_consolidated, PERCENT),
        (SHARE_UNCERTAIN, severity.uncertain_percent, PERCENT),
        (codes.SCT.Volume, severity.lesion_ml, MILLILITRE),
        (MASS, severity.lesion_g, GRAM),
    )
    origin = [f"{label}: {value}" for label, value in source.provenance.items()]
    site = hd.sr.FindingSite(codes.SCT.Lung)
    return _make_group(source, "both lungs", codes.DCM.AbnormalOpacity, site, measurements, origin)


def _refer(
    group: hd.sr.MeasurementsAndQualitativeEvaluations, pictures: Sequence[Dataset], key_image: Dataset | None
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Let a group refer to the images that show what it measures (TID 1501 may be extended by such items)."""
    shown = [(codes.DCM.VisualExplanation, one) for one in pictures]
    shown += [(codes.DCM.BestIllustrationOfFinding, key_image)] if key_image else []
    for name, image in shown:
        item = hd.sr.ImageContentItem(
            name, image.SOPClassUID, image.SOPInstanceUID, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
        )
        group[0].ContentSequence.append(item)
    return group


def _make_lung_groups(
    source: PredictionSource, severity: SeverityMap
) -> list[hd.sr.MeasurementsAndQualitativeEvaluations]:
    groups = []
    for side, share in severity.lung_percent.items():
        site = hd.sr.FindingSite(codes.SCT.Lung, laterality=SIDE[side])
        if measurements := _make_measurements((SHARE_INVOLVED, share, PERCENT)):
            groups.append(_make_group(source, f"{side} lung", codes.DCM.AbnormalOpacity, site, measurements))
    return groups


def _make_risk_group(source: PredictionSource, risk: Risk) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Make the group of one risk: its interval, its calibration at held-out hospitals, and the clinical risk."""
    shares = {"risk": risk.probability, "low": risk.low, "high": risk.high, "clinical": risk.clinical}
    measurements = _make_measurements(
        *((RISK[name], None if share is None else 100 * share, PERCENT) for name, share in shares.items())
    )
    remarks = [f"calibration, {name}: {value}" for name, value in risk.calibration.items()]
    finding = Code(risk.endpoint.upper()[:16], "99KICC", f"Predicted outcome: {risk.endpoint}")
    return _make_group(source, f"risk of {risk.endpoint}", finding, None, measurements, remarks)


def _make_score_group(source: PredictionSource, score: RadiographScore) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Make the group of a predicted radiograph score and of how closely such predictions matched radiologists."""
    name = score.score.replace("_", " ")
    finding = Code(score.score.upper()[:16], "99KICC", f"Predicted score: {name} 0-{score.most:.0f}")
    known = {"r": score.r, "mean error in points": score.mae_points, "held-out radiographs": score.films}
    remarks = [f"{label}: {value:.3g}" for label, value in known.items() if value is not None]
    measurements = _make_measurements((RADIOGRAPH_SCORE, score.points, POINTS))
    return _make_group(source, f"score {name}", finding, None, measurements, remarks)


def _make_zone_groups(
    source: PredictionSource, severity: SeverityMap
) -> list[hd.sr.MeasurementsAndQualitativeEvaluations]:
    groups = []
    for zone, share in severity.zone_percent.items():
        side, third = zone.split("_")
        site = hd.sr.FindingSite(ZONE[third], laterality=SIDE[side])
        measurements = _make_measurements(
            (ZONE_SCORE, severity.zone_score.get(zone), POINTS), (SHARE_INVOLVED, share, PERCENT)
        )
        if measurements:
            groups.append(_make_group(source, zone.replace("_", " "), codes.DCM.AbnormalOpacity, site, measurements))
    return groups


def _make_segment_groups(
    source: PredictionSource, severity: SeverityMap, segmentation: Dataset
) -> list[hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """Make the groups that refer to the segments of the lesion."""
    number = {segment.SegmentLabel: int(segment.SegmentNumber) for segment in segmentation.SegmentSequence}
    groups = []
    for region in ("ground_glass", "lesion", "consolidation"):
        label, _, finding, *_ = SEGMENTS[region]
        if label not in number:
            continue
        segment = hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number[label],
            source_series=hd.sr.SourceSeriesForSegmentation(source.images[0].SeriesInstanceUID),
        )
        groups.append(
            hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(uid=source.make_tracking_uid(region), identifier=label),
                referenced_segment=segment,
                finding_type=finding,
                algorithm_id=_make_algorithm(source),
                finding_sites=[hd.sr.FindingSite(codes.SCT.Lung)],
            )
        )
    return groups

"""Segmentation metrics: one row per case and region; means are computed later.

Estimand of a mean over these rows: the figure of a case (not of a voxel) like these. Surface Dice and HD95 are those of
:mod:`kicc_ml.evaluation.surface`, lesion-wise figures those of :mod:`kicc_ml.evaluation.lesions`.

Rule for an empty reference: Dice, surface Dice, HD95 and lesion-wise recall and F1 are None with the reason
``empty reference``, and what was predicted there is reported as ``false_positive_ml``. Where there is a reference and
nothing was predicted, Dice, surface Dice and lesion-wise recall and F1 are 0, and HD95 is None, since there is no
distance to nothing, as is lesion-wise precision.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import find_region, sort_regions
from kicc_ml.evaluation.lesions import detect
from kicc_ml.evaluation.surface import compute_surface_distances

#: Columns of a region in ``cases.csv`` and keys in ``summary.json``.
AGREEMENT_METRICS = ("dice", "nsd_1mm", "nsd_2mm", "nsd_3mm", "hd95_mm")
VOLUME_METRICS = ("volume_error_ml", "volume_error_percent")
METRICS = (*AGREEMENT_METRICS, *VOLUME_METRICS)

#: The same for regions that come in pieces.
DETECTION_METRICS = ("lesionwise_precision", "lesionwise_recall", "lesionwise_f1")
MULTIFOCAL_REGIONS = ("lesion", "consolidation")


@dataclass(frozen=True)
class RegionScore:
    """Agreement of one region of one case.

    ``distance_unit`` is ``mm``, or ``voxel`` where the spacing is not known: tolerances and HD95 then count
    voxels. Lesion-wise figures are None for regions that do not come in pieces. ``volume_error_ml`` is predicted less
    true, so that its mean is the bias, ``volume_error_percent`` the same in % of the true lung (None where that is not
    known), which needs no voxel size. ``reason`` says why something is None.
    """

    region: str
    dice: float | None
    nsd_1mm: float | None
    nsd_2mm: float | None
    nsd_3mm: float | None
    hd95_mm: float | None
    volume_error_ml: float | None
    false_positive_ml: float | None
    distance_unit: str
    reason: str = ""
    lesionwise_precision: float | None = None
    lesionwise_recall: float | None = None
    lesionwise_f1: float | None = None
    volume_error_percent: float | None = None


def score_case(
    truth: Mapping[str, np.ndarray],
    predicted: Mapping[str, np.ndarray],
    spacing_mm: tuple[float, ...] | None,
    flat: bool = False,
) -> list[RegionScore]:
    """Score every region that reference and prediction both have.

    Args:
        truth: reference masks by region, boolean ``[x, y, z]``.
        predicted: predicted masks by region, of the same shapes.
        spacing_mm: voxel size along x, y and z; None if it is not known.
        flat: whether the masks are ``[x, y, 1]`` of a radiograph, which has an area and no volume.

    Raises:
        UserError: two masks of a region differ in shape.
    """
    if flat:
        truth, predicted = ({name: mask[..., 0] for name, mask in masks.items()} for masks in (truth, predicted))
        spacing_mm = spacing_mm and spacing_mm[:2]
    lung_voxels = _count_lung_voxels(truth)
    return [
        _score_region(
            region, np.asarray(truth[region], bool), np.asarray(predicted[region], bool), spacing_mm, lung_voxels
        )
        for region in sort_regions(truth)
        if region in predicted
    ]


def _count_lung_voxels(truth: Mapping[str, np.ndarray]) -> int:
    """Count the voxels of the reference lung, given whole or as two sides; 0 without one."""
    lung = find_region(truth, "lung")
    return 0 if lung is None else int(np.count_nonzero(lung))


def make_case_columns(scores: list[RegionScore]) -> dict[str, float | str | None]:
    """Make the ``<region>_<metric>`` columns of ``cases.csv`` from the scores of a case."""
    columns: dict[str, float | str | None] = {}
    for score in scores:
        columns |= {f"{score.region}_{metric}": getattr(score, metric) for metric in list_metrics(score.region)}
        columns[f"{score.region}_false_positive_ml"] = score.false_positive_ml
        columns[f"{score.region}_reason"] = score.reason
        columns["distance_unit"] = score.distance_unit
    return columns


def list_metrics(region: str) -> tuple[str, ...]:
    """List the metrics of a region: ``METRICS``, and ``DETECTION_METRICS`` for multifocal regions."""
    return METRICS + DETECTION_METRICS if region in MULTIFOCAL_REGIONS else METRICS


def compute_dice(truth: np.ndarray, predicted: np.ndarray) -> float | None:
    """Compute Dice, 2 |A and B| / (|A| + |B|), of two boolean masks; None if the reference is empty."""
    reference = np.count_nonzero(truth)
    if not reference:
        return None
    return float(2 * np.count_nonzero(truth & predicted) / (reference + np.count_nonzero(predicted)))


def _score_region(
    region: str,
    truth: np.ndarray,
    predicted: np.ndarray,
    spacing_mm: tuple[float, ...] | None,
    lung_voxels: int,
) -> RegionScore:
    if truth.shape != predicted.shape:
        raise UserError(
            f"{region}: the predicted mask is {predicted.shape}, the reference {truth.shape}; "
            "predictions must be on the grid of the scan"
        )
    distances = compute_surface_distances(truth, predicted, spacing_mm or (1.0,) * truth.ndim)
    missed = 0.0 if truth.any() else None  # surface Dice where nothing was predicted
    ml = None if spacing_mm is None or truth.ndim < 3 else float(np.prod(spacing_mm) / 1000)
    pieces = detect(truth, predicted) if region in MULTIFOCAL_REGIONS else None
    extra_voxels = np.count_nonzero(predicted) - np.count_nonzero(truth)
    return RegionScore(
        region=region,
        dice=compute_dice(truth, predicted),
        nsd_1mm=distances.within(1.0) if distances else missed,
        nsd_2mm=distances.within(2.0) if distances else missed,
        nsd_3mm=distances.within(3.0) if distances else missed,
        hd95_mm=distances.compute_hausdorff(95) if distances else None,
        volume_error_ml=None if ml is None else float(extra_voxels * ml),
        false_positive_ml=None if ml is None else float(np.count_nonzero(predicted & ~truth) * ml),
        distance_unit="voxel" if spacing_mm is None else "mm",
        reason=_find_reason(truth, predicted, spacing_mm),
        lesionwise_precision=pieces.precision if pieces else None,
        lesionwise_recall=pieces.recall if pieces else None,
        lesionwise_f1=pieces.f1 if pieces else None,
        volume_error_percent=100 * extra_voxels / lung_voxels if lung_voxels and truth.ndim == 3 else None,
    )


def _find_reason(truth: np.ndarray, predicted: np.ndarray, spacing_mm: tuple[float, ...] | None) -> str:
    because = []
    if not truth.any():
        because.append("empty reference")
    elif not predicted.any():
        because.append("nothing predicted")
    if spacing_mm is None:
        because.append("voxel size not known")
    if truth.ndim < 3:
        because.append("a radiograph has no volume")
    return "; ".join(because)

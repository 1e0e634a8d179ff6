"""Grade the severity of pneumonia: how much of the lung is affected, and where.

Each lung is divided by its height into thirds, which stand for the levels of the carina and of the inferior pulmonary
vein.
Each of the six zones scores 0 to 4 by its share of involved lung, 24 in total: Wang Y et al., Temporal changes of CT
findings in 90 patients with COVID-19 pneumonia, Radiology 2020;296:E55. The grade also holds the shares of lung that
are involved and consolidated, and the volume (mL) and the weight (g) of the lesions.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import ndimage

from kicc_ml.core.boxes import find_bounding_box
from kicc_ml.core.regions import find_region, has_sides, is_known
from kicc_ml.core.types import SeverityMap

SIDES = ("right", "left")
THIRDS = ("upper", "middle", "lower")

#: Zones in the order in which a radiograph is read: first the patient's right lung, from the top.
ZONES = tuple(f"{side}_{third}" for side in SIDES for third in THIRDS)

#: Minimum involvement, in percent of the zone, for scores 2, 3 and 4; less involvement scores 1.
ZONE_CUT_OFFS_PERCENT = (25.0, 50.0, 75.0)

#: Minimum involvement for score 1, because a few false-positive voxels of a network are no finding. This cut-off is
#: ours; Wang's readers scored any visible lesion. 0.5 % of a zone is about 4 mL.
MIN_ZONE_PERCENT = 0.5

#: A share that needs more decimals to show its points is shown as less than the cut-off.
MAX_SHARE_DECIMALS = 4

#: A level belongs to a lung's height if it holds at least this share of the voxels of the largest level. Without this
#: rule, bowel gas or a piece of trachea that is labelled as lung would make the thirds too high.
MIN_LEVEL_SHARE = 0.02

#: Minimum volume of a connected component that is counted as a lesion: 0.1 mL is a sphere of 6 mm, about the size of a
#: small nodule. This cut-off is ours; there is no published one for ground glass.
MIN_LESION_ML = 0.1

#: Reason why values of the lesion are missing.
NO_LESION = "neither the lesion nor both of its parts were segmented"

#: Maximum share of the lesion outside the lungs that is not reported.
MAX_UNREPORTED_OUTSIDE_PERCENT = 5.0


def grade(
    masks: Mapping[str, np.ndarray],
    affine_ras: np.ndarray,
    hu_xyz: np.ndarray | None = None,
    spacing_known: bool = True,
) -> SeverityMap:
    """Grade one CT.

    Args:
        masks: bool ``[x, y, z]`` by region (:data:`kicc_ml.core.regions.MASK_NAMES`), on one grid in any orientation.
            The lesion may be given as its two parts. ``uncertain`` marks the voxels of which a model is uncertain.
        affine_ras: 4 x 4, from voxel indices to millimetres in RAS; it says where the head is.
        hu_xyz: values of the scan in HU on the same grid; None if they are in other units.
        spacing_known: whether the file states the voxel size in ``affine_ras``.

    Returns:
        the severity. Only the part of a lesion inside the lungs counts. A value that cannot be computed is None, with a
        reason ``"field: why"``. Nearly all are None if neither the lesion nor both of its parts were segmented.
    """
    lesion, lung = find_region(masks, "lesion"), find_region(masks, "lung")
    reasons: list[str] = []
    if lesion is None:
        return _grade_without_lesion(masks, lung, _compute_voxel_ml(affine_ras, spacing_known, reasons), reasons)
    inside = lesion if lung is None else lesion & lung
    percent = _compute_percent(inside, lung, "percent_involved", reasons)
    zone_percent = _compute_zone_percent(masks, inside, affine_ras, reasons)
    zone_score = {zone: None if share is None else compute_zone_points(share) for zone, share in zone_percent.items()}
    ml = _compute_voxel_ml(affine_ras, spacing_known, reasons)
    _report_outside(lesion, inside, reasons)
    sizes_ml = _measure_lesions_ml(inside, ml)
    unsure = masks.get("uncertain")
    return SeverityMap(
        zone_percent=zone_percent,
        zone_score=zone_score,
        score=_sum_zone_scores(zone_score),
        percent_involved=percent,
        percent_consolidated=_compute_percent_consolidated(masks, lung, reasons),
        lung_ml=_compute_lung_ml(lung, ml),
        lesion_ml=None if ml is None else float(np.count_nonzero(inside) * ml),
        lesion_g=_compute_weight_g(inside, hu_xyz, ml, reasons),
        reasons=tuple(reasons),
        lung_percent=_compute_lung_percent(masks, inside),
        lesion_count=None if sizes_ml is None else len(sizes_ml),
        largest_lesion_ml=None if sizes_ml is None else float(sizes_ml.max(initial=0)),
        uncertain_percent=None if unsure is None else _compute_percent(unsure, lung, "uncertain_percent", reasons),
    )


def grade_radiograph(masks: Mapping[str, np.ndarray], affine_ras: np.ndarray) -> SeverityMap:
    """Grade one frontal radiograph: shares of the lung fields with opacity, and their geographic extent.

    Each lung scores 0 to 4 points at the cut-offs of :func:`compute_zone_points`, 8 in total: Wong HYF et al.,
    Radiology 2020;296:E72. ``zone_percent`` holds the thirds of each lung's height, without points.

    Args:
        masks: bool ``[x, y, 1]`` by region, as in :func:`grade`.
        affine_ras: 4 x 4, from voxel indices to millimetres in RAS; it says where the head is.

    Returns:
        the severity. Volumes, the weight and the score of a CT are None, because a radiograph has no volume.
    """
    graded = grade(masks, affine_ras, spacing_known=False)
    points = [compute_zone_points(share) for share in graded.lung_percent.values() if share is not None]
    own = [reason for reason in graded.reasons if reason.startswith(("percent_", "uncertain_", "lesion:"))]
    if len(points) < len(SIDES):
        why = "right and left lung are not both told apart" if is_known("lesion", masks) else NO_LESION
        own.append(f"geographic_extent: {why}")
    return replace(
        graded,
        zone_score={},
        score=None,
        geographic_extent=sum(points) if len(points) == len(SIDES) else None,
        reasons=("score, lung_ml, lesion_ml, lesion_g: a radiograph is a shadow without volume", *own),
    )


def compute_change(before: SeverityMap, after: SeverityMap) -> dict[str, float | None]:
    """Compute the change of each value from the earlier to the later scan; None if one of them lacks the value."""
    names = ("score", "percent_involved", "percent_consolidated", "lesion_ml", "lesion_g")
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in names}
    return {name: None if None in pair else float(pair[1] - pair[0]) for name, pair in pairs.items()}


def compute_zone_points(percent: float) -> int:
    """Compute the points of one zone: 0 to 4 for [0, 0.5), [0.5, 25), [25, 50), [50, 75) or [75, 100] percent."""
    if percent < MIN_ZONE_PERCENT:
        return 0
    return 1 + sum(percent >= cut_off for cut_off in ZONE_CUT_OFFS_PERCENT)


def format_share(percent: float) -> str:
    """Format a share of a zone or a lung so that it has the same points as the exact one.

    Args:
        percent: the share, 0 to 100.

    Returns:
        whole percents, ``50``, or as many decimals as it needs to stay below a cut-off or to reach it: ``49.8``.
    """
    points = compute_zone_points(percent)
    shown = (f"{percent:.{digits}f}" for digits in range(MAX_SHARE_DECIMALS))
    return next((text for text in shown if compute_zone_points(float(text)) == points), f"<{percent:.0f}")


def _grade_without_lesion(
    masks: Mapping[str, np.ndarray], lung: np.ndarray | None, voxel_ml: float | None, reasons: list[str]
) -> SeverityMap:
    """Grade a scan in which only the lungs, or only one part of the lesion, were segmented."""
    reasons += [f"percent_involved: {NO_LESION}", f"score, lesion_ml, lesion_g: {NO_LESION}"]
    return SeverityMap(
        zone_percent={},
        zone_score={},
        score=None,
        percent_involved=None,
        percent_consolidated=_compute_percent_consolidated(masks, lung, reasons),
        lung_ml=_compute_lung_ml(lung, voxel_ml),
        lesion_ml=None,
        lesion_g=None,
        reasons=tuple(reasons),
    )


def _compute_lung_ml(lung: np.ndarray | None, voxel_ml: float | None) -> float | None:
    return None if lung is None or voxel_ml is None else float(np.count_nonzero(lung) * voxel_ml)


def _compute_percent(part: np.ndarray, lung: np.ndarray | None, field: str, reasons: list[str]) -> float | None:
    if lung is None or not lung.any():
        reasons.append(f"{field}: " + ("no lung mask" if lung is None else "no lung found"))
        return None
    return float(100 * np.count_nonzero(part) / np.count_nonzero(lung))


def _compute_percent_consolidated(
    masks: Mapping[str, np.ndarray], lung: np.ndarray | None, reasons: list[str]
) -> float | None:
    if "consolidation" not in masks:
        reasons.append("percent_consolidated: consolidation was not segmented")
        return None
    consolidation = np.asarray(masks["consolidation"], bool)
    return _compute_percent(
        consolidation if lung is None else consolidation & lung, lung, "percent_consolidated", reasons
    )


def _compute_lung_percent(masks: Mapping[str, np.ndarray], lesion: np.ndarray) -> dict[str, float | None]:
    """Compute the percent involved of the right and the left lung; empty if they were not segmented separately."""
    if not has_sides(masks):
        return {}
    lungs = {side: np.asarray(masks[f"{side}_lung"], bool) for side in SIDES}
    return {side: _compute_percent(lesion & lung, lung, side, []) for side, lung in lungs.items()}


def _measure_lesions_ml(lesion: np.ndarray, voxel_ml: float | None) -> np.ndarray | None:
    """Measure the volumes of the lesions of at least ``MIN_LESION_ML`` (face-connected); None without a voxel size."""
    if voxel_ml is None:
        return None
    box = find_bounding_box(lesion)
    if box is None:
        return np.zeros(0)
    pieces, _ = ndimage.label(lesion[box])
    sizes_ml = np.bincount(pieces.ravel())[1:] * voxel_ml
    return sizes_ml[sizes_ml >= MIN_LESION_ML]


def _compute_zone_percent(
    masks: Mapping[str, np.ndarray], lesion: np.ndarray, affine_ras: np.ndarray, reasons: list[str]
) -> dict[str, float | None]:
    if not has_sides(masks):
        reasons.append("score: right and left lung are not told apart")
        return {}
    found: dict[str, float | None] = {}
    for side in SIDES:
        lung = np.asarray(masks[f"{side}_lung"], bool)
        for third, share in zip(THIRDS, _share_by_third(lung, lesion, affine_ras), strict=True):
            found[f"{side}_{third}"] = share
            if share is None:
                reasons.append(f"score: no lung in the {side} {third} zone")
    return found


def _share_by_third(lung: np.ndarray, lesion: np.ndarray, affine_ras: np.ndarray) -> list[float | None]:
    """Percent involved of the upper, middle and lower third of one lung; None for a third without lung."""
    box = find_bounding_box(lung)
    if box is None:
        return [None] * len(THIRDS)
    lung, lesion = lung[box], lesion[box]
    height = _compute_height(lung.shape, affine_ras)[lung]
    bottom, top = _find_lung_extent(height, float(np.abs(affine_ras[2, :3]).max()))
    third = np.floor((top - height) / (top - bottom) * len(THIRDS)).astype(int)  # 0 is the upper one
    within = (third >= 0) & (third < len(THIRDS))
    lung_voxels = np.bincount(third[within], minlength=len(THIRDS))
    lesion_voxels = np.bincount(third[within & lesion[lung]], minlength=len(THIRDS))
    return [
        float(100 * part / whole) if whole else None for part, whole in zip(lesion_voxels, lung_voxels, strict=True)
    ]


def _compute_height(shape: tuple[int, ...], affine_ras: np.ndarray) -> np.ndarray:
    """Compute the height (towards the head, in mm) of each voxel of a box, up to a constant; grids may be oblique."""
    along = [affine_ras[2, axis] * np.arange(size, dtype=np.float32) for axis, size in enumerate(shape)]
    return (along[0][:, None, None] + along[1][:, None] + along[2]).astype(np.float32)


def _find_lung_extent(height: np.ndarray, step: float) -> tuple[float, float]:
    """Find the bottom and top of the contiguous levels that hold most of a lung; a level is ``step`` mm high."""
    lowest = float(height.min())
    level = np.rint((height - lowest) / step).astype(int)
    voxels = np.bincount(level)
    stretch, _ = ndimage.label(voxels >= MIN_LEVEL_SHARE * voxels.max())
    largest = np.argmax(np.bincount(stretch, weights=voxels * (stretch > 0)))
    levels = np.flatnonzero(stretch == largest)
    return lowest + (levels[0] - 0.5) * step, lowest + (levels[-1] + 0.5) * step


def _sum_zone_scores(zone_score: Mapping[str, int | None]) -> int | None:
    points = [score for score in zone_score.values() if score is not None]
    return sum(points) if len(points) == len(ZONES) else None


def _compute_voxel_ml(affine_ras: np.ndarray, spacing_known: bool, reasons: list[str]) -> float | None:
    if not spacing_known:
        reasons.append("lung_ml, lesion_ml, lesion_g: the file states no voxel size")
        return None
    return float(abs(np.linalg.det(affine_ras[:3, :3])) / 1000)


def _compute_weight_g(
    lesion: np.ndarray, hu_xyz: np.ndarray | None, voxel_ml: float | None, reasons: list[str]
) -> float | None:
    """Compute the weight of the lesion at (HU + 1000) / 1000 g/mL; air and padding weigh 0, never less."""
    if hu_xyz is None:
        reasons.append("lesion_g: the values are not Hounsfield units")
        return None
    if voxel_ml is None:
        return None
    density = np.clip(hu_xyz[lesion].astype(np.float64) + 1000, 0, None) / 1000
    return float(density.sum() * voxel_ml)


def _report_outside(lesion: np.ndarray, inside: np.ndarray, reasons: list[str]) -> None:
    total = np.count_nonzero(lesion)
    outside = 100 * (total - np.count_nonzero(inside)) / total if total else 0.0
    if outside > MAX_UNREPORTED_OUTSIDE_PERCENT:
        reasons.append(f"lesion: {outside:.0f} % of it lies outside the lungs and is not counted")

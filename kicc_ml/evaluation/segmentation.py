"""How well a mask was found: one row per case and region; means come later.

Rule for an empty reference: Dice, surface Dice and HD95 are None with the reason ``empty reference``, and
what was predicted there is reported as ``false_positive_ml``. Where there is a reference and nothing was
predicted, Dice and surface Dice are 0 and HD95 is None, since there is no distance to nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from kicc_ml.records import REGIONS, UserError

#: Columns of a region in ``cases.csv`` and keys in ``summary.json``.
METRICS = ("dice", "nsd_1mm", "nsd_2mm", "nsd_3mm", "hd95_mm", "volume_error_ml")


@dataclass(frozen=True)
class RegionScore:
    """Agreement of one region of one case.

    ``distance_unit`` is ``mm``, or ``voxel`` where the spacing is not known: tolerances and HD95 then count
    voxels. ``volume_error_ml`` is predicted less true, so that its mean is the bias. ``reason`` says why
    something is None.
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


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance of every surface voxel of one mask to the nearest of the other, both ways."""

    from_truth_n: np.ndarray
    from_predicted_m: np.ndarray

    def within(self, tolerance: float) -> float:
        """Surface Dice (NSD): share of both surfaces within ``tolerance`` (Nikolov et al., JMIR 2021)."""
        near = np.count_nonzero(self.from_truth_n <= tolerance)
        near += np.count_nonzero(self.from_predicted_m <= tolerance)
        return float(near / (self.from_truth_n.size + self.from_predicted_m.size))

    def hausdorff(self, percentile: float) -> float:
        """The larger of the two directed percentiles."""
        directed = (self.from_truth_n, self.from_predicted_m)
        return float(max(np.percentile(distances, percentile) for distances in directed))


def score_case(
    truth: Mapping[str, np.ndarray],
    predicted: Mapping[str, np.ndarray],
    spacing_mm: tuple[float, ...] | None,
) -> list[RegionScore]:
    """Score every region both sides have, boolean ``[x, y, z]`` each; ``spacing_mm`` None where not known.

    Raises UserError where two masks of a region differ in shape.
    """
    return [
        _score_region(region, np.asarray(truth[region], bool), np.asarray(predicted[region], bool), spacing_mm)
        for region in REGIONS
        if region in truth and region in predicted
    ]


def case_columns(scores: list[RegionScore]) -> dict[str, float | str | None]:
    """The scores of a case as the ``<region>_<metric>`` columns of ``cases.csv``."""
    columns: dict[str, float | str | None] = {}
    for score in scores:
        columns |= {f"{score.region}_{metric}": getattr(score, metric) for metric in METRICS}
        columns[f"{score.region}_false_positive_ml"] = score.false_positive_ml
        columns[f"{score.region}_reason"] = score.reason
        columns["distance_unit"] = score.distance_unit
    return columns


def dice(truth: np.ndarray, predicted: np.ndarray) -> float | None:
    """2 |A and B| / (|A| + |B|) of two boolean masks; None where the reference is empty."""
    reference = np.count_nonzero(truth)
    if not reference:
        return None
    return float(2 * np.count_nonzero(truth & predicted) / (reference + np.count_nonzero(predicted)))


def surface_distances(truth: np.ndarray, predicted: np.ndarray, spacing: tuple[float, ...]) -> SurfaceDistances | None:
    """Distances between the surfaces of two masks in the unit of ``spacing``; None where either is empty.

    A surface voxel has a face-neighbour outside the mask (the border of the image counts as outside). Nearest
    neighbours come from a k-d tree: surfaces are thin, so that is quicker than a distance map of the volume.
    """
    if not (truth.any() and predicted.any()):
        return None
    box = ndimage.find_objects((truth | predicted).astype(np.uint8))[0]
    truth_points = _surface_points(truth[box], spacing)
    predicted_points = _surface_points(predicted[box], spacing)
    return SurfaceDistances(
        from_truth_n=KDTree(predicted_points).query(truth_points, workers=-1)[0],
        from_predicted_m=KDTree(truth_points).query(predicted_points, workers=-1)[0],
    )


def _score_region(
    region: str, truth: np.ndarray, predicted: np.ndarray, spacing_mm: tuple[float, ...] | None
) -> RegionScore:
    if truth.shape != predicted.shape:
        raise UserError(
            f"{region}: the predicted mask is {predicted.shape}, the reference {truth.shape}; "
            "predictions must be on the grid of the scan"
        )
    distances = surface_distances(truth, predicted, spacing_mm or (1.0,) * truth.ndim)
    missed = 0.0 if truth.any() else None  # surface Dice where nothing was predicted
    ml = None if spacing_mm is None else float(np.prod(spacing_mm) / 1000)
    extra_voxels = np.count_nonzero(predicted) - np.count_nonzero(truth)
    return RegionScore(
        region=region,
        dice=dice(truth, predicted),
        nsd_1mm=distances.within(1.0) if distances else missed,
        nsd_2mm=distances.within(2.0) if distances else missed,
        nsd_3mm=distances.within(3.0) if distances else missed,
        hd95_mm=distances.hausdorff(95) if distances else None,
        volume_error_ml=None if ml is None else float(extra_voxels * ml),
        false_positive_ml=None if ml is None else float(np.count_nonzero(predicted & ~truth) * ml),
        distance_unit="voxel" if spacing_mm is None else "mm",
        reason=_reason(truth, predicted, spacing_mm),
    )


def _reason(truth: np.ndarray, predicted: np.ndarray, spacing_mm: tuple[float, ...] | None) -> str:
    because = []
    if not truth.any():
        because.append("empty reference")
    elif not predicted.any():
        because.append("nothing predicted")
    if spacing_mm is None:
        because.append("voxel size not known")
    return "; ".join(because)


def _surface_points(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    padded = np.pad(mask, 1)
    core = mask.copy()
    for axis in range(mask.ndim):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + mask.shape[axis])
            core &= padded[tuple(window)]
    return np.argwhere(mask & ~core) * np.asarray(spacing, float)

"""Whether a scan is one a model may be trusted on, and how far its share of lung involved may be off.

Both are judged against the cases of the training hospitals, each as it was predicted by the fold that held its
hospital out: the same kind of prediction that a new hospital gets. Nothing of the scan's own hospital is used.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kicc_ml.records import UserError, Volume

#: A chest CT in HU holds air and soft tissue, at these values and at least in these shares of its voxels.
AIR_HU = (-1100.0, -700.0)
SOFT_HU = (-150.0, 200.0)
LEAST_AIR_SHARE = 0.03
LEAST_SOFT_SHARE = 0.05
#: Lungs of an adult hold 1 to 7 litres; less than this is bowel gas, sinuses, or a sliver of lung.
LEAST_LUNG_ML = 300.0

#: What is compared, in the words of the reason.
FEATURES: Mapping[str, str] = {
    "slice_mm": "slice distance, mm",
    "pixel_mm": "pixel spacing, mm",
    "lung_ml": "lung volume, mL",
    "lung_hu": "median density of aerated lung, HU",
    "soft_hu": "median density of soft tissue, HU",
    "noise_hu": "noise, HU",
    "cut_percent": "lung cut off at the edge of the scan, %",
    "side_percent": "share of the right lung, %",
}
#: Spread below which a difference means nothing, by feature: fleets of one scanner would else have no spread.
LEAST_SPREAD: Mapping[str, float] = {
    "slice_mm": 1.0,
    "pixel_mm": 0.05,
    "lung_ml": 400.0,
    "lung_hu": 20.0,
    "soft_hu": 10.0,
    "noise_hu": 5.0,
    "cut_percent": 5.0,
    "side_percent": 4.0,
}
#: Of the training hospitals' own scans, each scored against the other hospitals, this share is within.
WITHIN_SHARE = 0.99
#: Room above the farthest of few scans: the quantile of a small sample falls short of the true one.
ROOM = 1.25
#: Fewer hospitals than this cannot say what a new one looks like.
LEAST_HOSPITALS = 3

#: Of the held-out scans this share is less uncertain than one that is called more uncertain than usual.
USUAL_SHARE, LEAST_SCANS = 0.95, 20

#: Coverage of the interval of the share of lung involved.
COVERAGE = 0.90


class NotForThisModel(UserError):
    """A scan that cannot be judged at all; the message says why in plain words."""


def check_hounsfield(volume: Volume) -> None:
    """Raises NotForThisModel where the values cannot be Hounsfield units of a chest."""
    sample = volume.array[::3, ::3, :: max(1, volume.array.shape[2] // 40)]
    air = np.mean((sample >= AIR_HU[0]) & (sample <= AIR_HU[1]))
    soft = np.mean((sample >= SOFT_HU[0]) & (sample <= SOFT_HU[1]))
    if air < LEAST_AIR_SHARE or soft < LEAST_SOFT_SHARE:
        raise NotForThisModel(
            f"its values are not Hounsfield units of a chest: {100 * air:.0f} % lie where air is and "
            f"{100 * soft:.0f} % where soft tissue is; give the original CT series"
        )


def check_lungs(lung_ml: float | None) -> None:
    """Raises NotForThisModel where there is no lung to speak of."""
    if lung_ml is not None and lung_ml < LEAST_LUNG_ML:
        raise NotForThisModel(f"no lungs were found ({lung_ml:.0f} mL); is this a scan of the chest?")


def check_lung_fields(percent_involved: float | None) -> None:
    """Raises NotForThisModel where no lung was found on a radiograph: nothing could be said of its share involved."""
    if percent_involved is None:
        raise NotForThisModel("no lung fields were found; is this a frontal radiograph of the chest?")


def scan_features(volume: Volume, masks: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """:data:`FEATURES` of one scan; None where a feature is not known (no spacing, no sides, no aerated lung).

    ``masks`` are boolean ``[x, y, z]`` on the grid of ``volume``.
    """
    lung = lung_of(masks)
    aerated = lung & ~masks["lesion"] if "lesion" in masks else lung
    known = volume.spacing_known
    along = int(np.abs(volume.affine_ras[2, :3]).argmax())
    spacing_mm = volume.spacing_mm
    right = masks.get("right_lung")
    return {
        "slice_mm": spacing_mm[along] if known else None,
        "pixel_mm": min(spacing_mm) if known else None,
        "lung_ml": float(np.count_nonzero(lung) * np.prod(spacing_mm) / 1000) if known else None,
        "lung_hu": float(np.median(volume.array[aerated])) if aerated.any() else None,
        **_soft_tissue(volume.array),
        "cut_percent": _cut_percent(lung),
        "side_percent": None if right is None or not lung.any() else float(100 * right.sum() / lung.sum()),
    }


def lung_of(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Both lungs, however they were segmented; empty where they were not."""
    if "lung" in masks:
        return masks["lung"]
    sides = [masks[name] for name in ("left_lung", "right_lung") if name in masks]
    return np.logical_or.reduce(sides) if sides else np.zeros_like(next(iter(masks.values())))


def _soft_tissue(array_xyz: np.ndarray) -> dict[str, float | None]:
    """Median of soft tissue, and noise: the robust spread of differences between neighbours within it.

    A difference of two has sqrt(2) times the standard deviation, and the median of absolute values is 0.6745 of it.
    """
    sample = array_xyz[:, :, :: max(1, array_xyz.shape[2] // 20)].astype(np.float32)
    soft = (sample >= SOFT_HU[0]) & (sample <= SOFT_HU[1])
    both = soft[1:] & soft[:-1]
    if not both.any():
        return {"soft_hu": None, "noise_hu": None}
    differences = np.abs(np.diff(sample, axis=0)[both])
    return {
        "soft_hu": float(np.median(sample[soft])),
        "noise_hu": float(np.median(differences) / 0.6745 / np.sqrt(2)),
    }


def _cut_percent(lung_xyz: np.ndarray) -> float | None:
    """The largest cross-section of lung on a face of the scan, in per cent of the largest one inside."""
    cut = []
    for axis in range(3):
        areas = lung_xyz.sum(axis=tuple({0, 1, 2} - {axis}))
        if not areas.max():
            return None
        cut.append(max(areas[0], areas[-1]) / areas.max())
    return float(100 * max(cut))


@dataclass(frozen=True)
class Reference:
    """What the scans of the training hospitals are like: centre and spread per feature, and how far is too far."""

    centre: Mapping[str, float]
    spread: Mapping[str, float]
    limit: float
    hospitals: int

    def reasons(self, features: Mapping[str, float | None]) -> list[str]:
        """Why a scan is outside, the farthest feature first; empty for one within. Unknown features do not count."""
        far = {name: _distance(value, self, name) for name, value in features.items() if _known(value)}
        outside = sorted((name for name in far if far[name] > self.limit), key=lambda name: -far[name])
        return [f"{FEATURES[name]}: {features[name]:.3g}, in training {self._range(name)}" for name in outside]

    def _range(self, name: str) -> str:
        room = self.limit * self.spread[name]
        return f"{self.centre[name] - room:.3g} to {self.centre[name] + room:.3g}"


def reference_of(rows: pd.DataFrame) -> Reference | None:
    """Fit to rows of ``site`` and :data:`FEATURES`; None where fewer than :data:`LEAST_HOSPITALS` are there.

    The limit is the :data:`WITHIN_SHARE` quantile of the rows' own scores, each hospital's against the others.
    """
    sites = rows["site"].unique()
    if len(sites) < LEAST_HOSPITALS:
        return None
    scores = []
    for site in sites:
        others = _centred(rows[rows["site"] != site])
        scores += [_score(row, others) for row in rows[rows["site"] == site].to_dict("records")]
    fitted = _centred(rows)
    limit = max(ROOM * float(np.quantile(scores, WITHIN_SHARE)), 1.0)
    return Reference(fitted.centre, fitted.spread, limit, len(sites))


def _centred(rows: pd.DataFrame) -> Reference:
    """Median over hospitals of their medians, and the half range between hospitals or the spread within, if more."""
    names = [name for name in FEATURES if name in rows and rows[name].notna().any()]
    medians = rows.groupby("site")[names].median()
    centre = {name: float(medians[name].median()) for name in names}
    spread = {}
    for name in names:
        deviation = (rows[name] - centre[name]).abs()
        spread[name] = max(float(deviation.quantile(0.9)), LEAST_SPREAD[name])
    return Reference(centre, spread, 1.0, len(medians))


def _known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _distance(value: float | None, reference: Reference, name: str) -> float:
    """How many spreads a value lies from the centre; 0 for a feature the reference does not know."""
    if name not in reference.centre or value is None:
        return 0.0
    return abs(value - reference.centre[name]) / reference.spread[name]


def _score(row: Mapping[Hashable, Any], reference: Reference) -> float:
    return max((_distance(row[name], reference, name) for name in reference.centre if _known(row[name])), default=0.0)


def is_unusual(uncertain_percent: float | None, held_out: Sequence[float]) -> bool | None:
    """Whether the model is unsure of more of a scan than of :data:`USUAL_SHARE` of held-out ones.

    None where one of them is not known, or where they are too few for that share to be less than all.
    """
    if uncertain_percent is None or len(held_out) < LEAST_SCANS:
        return None
    return bool(uncertain_percent > np.quantile(held_out, USUAL_SHARE))


def involved_interval(
    percent: float, predicted: Sequence[float], truth: Sequence[float], sites: Sequence[str], coverage: float = COVERAGE
) -> tuple[float, float] | None:
    """Interval of the share of lung involved, in per cent, by conformal prediction on other hospitals' errors.

    Errors are taken between square roots, where they do not grow with the share, and are weighted so that every
    hospital counts alike. Design: held-out predictions of hospitals other than the scan's own; the coverage is
    over hospitals like these (Vovk, Gammerman & Shafer 2005; weights by group as in Dunn et al. 2022).
    None with fewer than :data:`LEAST_HOSPITALS`.
    """
    table = pd.DataFrame({"error": np.sqrt(truth) - np.sqrt(predicted), "site": list(sites)}).dropna()
    if table["site"].nunique() < LEAST_HOSPITALS:
        return None
    weight = 1 / table.groupby("site")["error"].transform("size")
    tail = (1 - coverage) / 2
    low, high = (_weighted_quantile(table["error"].to_numpy(), weight.to_numpy(), q) for q in (tail, 1 - tail))
    root = np.sqrt(percent)
    return float(max(root + low, 0.0) ** 2), float(min(max(root + high, 0.0) ** 2, 100.0))


def _weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value at which that share of the weight is reached, the farther neighbour at either end."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    if share < 0.5:
        return float(values[order][max(int(np.searchsorted(reached, share, side="right")) - 1, 0)])
    return float(values[order][min(int(np.searchsorted(reached, share)) + 1, len(values) - 1)])

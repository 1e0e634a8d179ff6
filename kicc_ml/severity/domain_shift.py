"""Whether a scan is one a model may be trusted on, and how far its share of lung involved may be off.

Both are judged against the cases of the training hospitals, each as it was predicted by the fold that held its
hospital out: the same kind of prediction that a new hospital gets. Nothing of the scan's own hospital is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import OutOfRangeFeature, Volume
from kicc_ml.severity.image_features import FEATURES, SIGNED, SOFT_HU

#: A chest CT in HU holds air and soft tissue (``SOFT_HU``), and at least in these shares of its voxels.
AIR_HU = (-1100.0, -700.0)
MIN_AIR_SHARE = 0.03
MIN_SOFT_SHARE = 0.05
#: Lungs of an adult hold 1 to 7 litres; less than this is bowel gas, sinuses, or a sliver of lung.
MIN_LUNG_ML = 300.0
#: Lung fields fill 13 to 44 % of 149 public frontal films, whole or cropped; less than this is bowel gas, or a shred.
MIN_FIELD_PERCENT = 4.0

#: Of the training hospitals' own scans, each scored against the other hospitals, this share is within in all features.
WITHIN_SHARE = 0.99
#: No limit is nearer than this many spreads, of which one is what nine in ten rows keep to: four standard deviations of
#: a normal distribution. Quantiles of few rows fall short.
MIN_LIMIT = 2.5
#: Room above the farthest of few scans: the quantile of a small sample falls short of the true one.
LIMIT_MARGIN = 1.25
#: Fewer hospitals than this cannot say what a new one looks like.
MIN_HOSPITALS = 3

#: Of the held-out scans this share is less uncertain than one that is called more uncertain than usual.
USUAL_SHARE, MIN_SCANS = 0.95, 20

#: Coverage of the interval of the share of lung involved.
COVERAGE = 0.90


class UnsuitableImage(UserError):
    """A scan that cannot be judged at all; the message says why in plain words."""


def check_hounsfield(volume: Volume) -> None:
    """Raises NotForThisModel where the values cannot be Hounsfield units of a chest."""
    sample = volume.array[::3, ::3, :: max(1, volume.array.shape[2] // 40)]
    air = np.mean((sample >= AIR_HU[0]) & (sample <= AIR_HU[1]))
    soft = np.mean((sample >= SOFT_HU[0]) & (sample <= SOFT_HU[1]))
    if air < MIN_AIR_SHARE or soft < MIN_SOFT_SHARE:
        raise UnsuitableImage(
            f"its values are not Hounsfield units of a chest: {100 * air:.0f} % lie where air is and "
            f"{100 * soft:.0f} % where soft tissue is; give the original CT series"
        )


def check_lungs(lung_ml: float | None) -> None:
    """Raises NotForThisModel where there is no lung to speak of."""
    if lung_ml is not None and lung_ml < MIN_LUNG_ML:
        raise UnsuitableImage(f"no lungs were found ({lung_ml:.0f} mL); is this a scan of the chest?")


def check_lung_fields(lung: np.ndarray) -> None:
    """Raises NotForThisModel where there is no lung to speak of on a radiograph, ``lung`` being its mask."""
    percent = 100 * lung.mean()
    if percent < MIN_FIELD_PERCENT:
        raise UnsuitableImage(
            f"no lung fields were found ({percent:.0f} % of the image); is this a frontal radiograph of the chest?"
        )


@dataclass(frozen=True)
class ReferenceDistribution:
    """The scans of the training hospitals by feature: centre, spread and, in spreads, how far is too far."""

    centre: Mapping[str, float]
    spread: Mapping[str, float]
    limit: Mapping[str, float]

    def find_out_of_range(self, features: Mapping[str, float | None]) -> tuple[OutOfRangeFeature, ...]:
        """Why a scan is outside, the farthest feature first; empty for one within. Unknown features do not count."""
        far = {name: distance / self.limit[name] for name, distance in _measure_distances(features, self).items()}
        outside = sorted((name for name in far if far[name] > 1), key=lambda name: -far[name])
        return tuple(
            OutOfRangeFeature(name, float(features[name] or 0.0), *self._compute_range(name)) for name in outside
        )

    def _compute_range(self, name: str) -> tuple[float, float]:
        room = self.limit[name] * self.spread[name]
        low, high = self.centre[name] - room, self.centre[name] + room
        return (low if name in SIGNED else max(low, 0.0)), high


def fit_reference_distribution(rows: pd.DataFrame) -> ReferenceDistribution | None:
    """Fit to rows of ``site`` and ``FEATURES``; None where they are of fewer than :data:`MIN_HOSPITALS`, or unknown.

    The limit of a feature is a quantile of the rows' own distances, each hospital's from the others, that leaves the
    :data:`WITHIN_SHARE` within in all features together (Bonferroni).
    """
    names = [name for name in FEATURES if name in rows and rows[name].notna().any()]
    rows = rows.dropna(subset=names, how="all") if names else rows.iloc[:0]
    if rows.empty or len(sites := rows["site"].unique()) < MIN_HOSPITALS:
        return None
    distances = []
    for site in sites:
        others = _fit_centre_and_spread(rows[rows["site"] != site], names)
        distances += [_measure_distances(row, others) for row in rows[rows["site"] == site].to_dict("records")]
    quantile = pd.DataFrame(distances, columns=names).quantile(1 - (1 - WITHIN_SHARE) / len(names))
    limit = {
        name: max(LIMIT_MARGIN * float(quantile[name]), MIN_LIMIT) for name in names if np.isfinite(quantile[name])
    }
    fitted = _fit_centre_and_spread(rows, list(limit))
    return ReferenceDistribution(fitted.centre, fitted.spread, limit)


def _fit_centre_and_spread(rows: pd.DataFrame, names: Sequence[str]) -> ReferenceDistribution:
    """Median over hospitals of their medians, and the deviation that nine in ten rows keep to; without limits."""
    medians = rows.groupby("site")[list(names)].median().median().dropna()
    spread = {
        name: max(float((rows[name] - medians[name]).abs().quantile(0.9)), FEATURES[name]) for name in medians.index
    }
    return ReferenceDistribution({name: float(medians[name]) for name in medians.index}, spread, {})


def _is_known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _measure_distances(features: Mapping[Any, Any], reference: ReferenceDistribution) -> dict[str, float]:
    """How many spreads each feature lies from the centre, as far as it is known of both."""
    return {
        name: abs(features[name] - centre) / reference.spread[name]
        for name, centre in reference.centre.items()
        if _is_known(features.get(name))
    }


def is_unusual(uncertain_percent: float | None, held_out: Sequence[float]) -> bool | None:
    """Whether the model is unsure of more of a scan than of :data:`USUAL_SHARE` of held-out ones.

    None where one of them is not known, or where they are too few for that share to be less than all.
    """
    if uncertain_percent is None or len(held_out) < MIN_SCANS:
        return None
    return bool(uncertain_percent > np.quantile(held_out, USUAL_SHARE))


def compute_involved_interval(
    percent: float, predicted: Sequence[float], truth: Sequence[float], sites: Sequence[str], coverage: float = COVERAGE
) -> tuple[float, float] | None:
    """Interval of the share of lung involved, in per cent, by conformal prediction on other hospitals' errors.

    Errors are taken between square roots, where they do not grow with the share, and are weighted so that every
    hospital counts alike. Design: held-out predictions of hospitals other than the scan's own; the coverage is
    over hospitals like these (Vovk, Gammerman & Shafer 2005; weights by group as in Dunn et al. 2022).
    None with fewer than :data:`MIN_HOSPITALS`.
    """
    table = pd.DataFrame({"error": np.sqrt(truth) - np.sqrt(predicted), "site": list(sites)}).dropna()
    if table["site"].nunique() < MIN_HOSPITALS:
        return None
    weight = 1 / table.groupby("site")["error"].transform("size")
    tail = (1 - coverage) / 2
    low, high = (_compute_weighted_quantile(table["error"].to_numpy(), weight.to_numpy(), q) for q in (tail, 1 - tail))
    root = np.sqrt(percent)
    return float(max(root + low, 0.0) ** 2), float(min(max(root + high, 0.0) ** 2, 100.0))


def _compute_weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value at which that share of the weight is reached, the farther neighbour at either end."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    if share < 0.5:
        return float(values[order][max(int(np.searchsorted(reached, share, side="right")) - 1, 0)])
    return float(values[order][min(int(np.searchsorted(reached, share)) + 1, len(values) - 1)])

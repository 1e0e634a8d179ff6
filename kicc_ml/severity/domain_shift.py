"""Check an image for domain shift, and compute an interval for its share of lung involved.

Both use the out-of-fold predictions of the training hospitals: each case was predicted by the fold that did not train
on its hospital, which is also how a new hospital is predicted. Nothing of the scan's own hospital is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import OutOfRangeFeature, Volume
from kicc_ml.severity.image_features import FEATURES, SIGNED, SOFT_HU

#: Range of air in HU, and the minimum shares of voxels that are air and soft tissue (``SOFT_HU``) in a chest CT.
AIR_HU = (-1100.0, -700.0)
MIN_AIR_SHARE = 0.03
MIN_SOFT_SHARE = 0.05
#: Minimum lung volume. Lungs of an adult hold 1 to 7 litres; less is bowel gas, a sinus, or a small part of a lung.
MIN_LUNG_ML = 300.0
#: Minimum share of a radiograph that is lung field. It was 13 to 44 % in 149 public frontal radiographs, whole or
#: cropped; less is bowel gas, or a small part of a lung field.
MIN_FIELD_PERCENT = 4.0

#: Share of the training hospitals' scans that are within the limits of all features. Each scan is compared with the
#: other hospitals.
WITHIN_SHARE = 0.99
#: Minimum limit in spreads. A spread is the 90th percentile of the absolute deviations, so 2.5 spreads are four
#: standard deviations of a normal distribution. A minimum is needed because quantiles of few rows are too small.
MIN_LIMIT = 2.5
#: Factor by which each limit exceeds the quantile of the sample, because the quantile of a small sample is too small.
LIMIT_MARGIN = 1.25
#: Minimum number of training hospitals; fewer do not show how much a new hospital may differ.
MIN_HOSPITALS = 3

#: A scan is unusually uncertain if it is more uncertain than this share of the out-of-fold scans. Fewer scans than
#: ``MIN_SCANS`` do not determine that quantile.
USUAL_SHARE, MIN_SCANS = 0.95, 20

#: Coverage of the interval for the share of lung involved.
COVERAGE = 0.90


class UnsuitableImage(UserError):
    """An image on which the model cannot be used; the message says why in plain words."""


def check_hounsfield(volume: Volume) -> None:
    """Check that the values of a CT can be Hounsfield units of a chest.

    Raises:
        UnsuitableImage: too few voxels have the values of air or of soft tissue.
    """
    sample = volume.array[::3, ::3, :: max(1, volume.array.shape[2] // 40)]
    air = np.mean((sample >= AIR_HU[0]) & (sample <= AIR_HU[1]))
    soft = np.mean((sample >= SOFT_HU[0]) & (sample <= SOFT_HU[1]))
    if air < MIN_AIR_SHARE or soft < MIN_SOFT_SHARE:
        raise UnsuitableImage(
            f"its values are not Hounsfield units of a chest: {100 * air:.0f} % of the voxels have values of air and "
            f"{100 * soft:.0f} % have values of soft tissue; give the original CT series"
        )


def check_lungs(lung_ml: float | None) -> None:
    """Check that a CT shows lungs.

    Raises:
        UnsuitableImage: the lungs hold less than ``MIN_LUNG_ML``. An unknown volume passes.
    """
    if lung_ml is not None and lung_ml < MIN_LUNG_ML:
        raise UnsuitableImage(f"no lungs were found ({lung_ml:.0f} mL); is this a scan of the chest?")


def check_lung_fields(lung: np.ndarray) -> None:
    """Check that a radiograph shows lung fields.

    Args:
        lung: bool mask of both lung fields, on the grid of the radiograph.

    Raises:
        UnsuitableImage: the lung fields are less than ``MIN_FIELD_PERCENT`` of the image.
    """
    percent = 100 * lung.mean()
    if percent < MIN_FIELD_PERCENT:
        raise UnsuitableImage(
            f"no lung fields were found ({percent:.0f} % of the image); is this a frontal radiograph of the chest?"
        )


def check_polarity(volume: Volume) -> None:
    """Check that it is known whether air is dark or bright on a radiograph.

    Raises:
        UnsuitableImage: neither the file says it, nor does the picture show it.
    """
    if volume.polarity == "unsure":
        raise UnsuitableImage(
            "it is not known whether this is a negative: a PNG or JPEG does not say whether air is dark or bright, and "
            "the picture does not show it; give the DICOM file, whose Photometric Interpretation says it"
        )


@dataclass(frozen=True)
class ReferenceDistribution:
    """Distribution of the image features at the training hospitals.

    Each feature has a centre, a spread, and a limit: the maximum distance from the centre, in spreads.
    """

    centre: Mapping[str, float]
    spread: Mapping[str, float]
    limit: Mapping[str, float]

    def find_out_of_range(self, features: Mapping[str, float | None]) -> tuple[OutOfRangeFeature, ...]:
        """Find the features of an image that are beyond their limits, the farthest first; unknown ones are skipped."""
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
    """Fit the reference distribution to the image features of the training hospitals.

    The limit of a feature is a quantile of the distances of each hospital's rows from the other hospitals. The quantile
    is chosen so that :data:`WITHIN_SHARE` of the rows are within the limits of all features (Bonferroni).

    Args:
        rows: with the columns ``site`` and :data:`FEATURES`.

    Returns:
        None if the rows are of fewer than :data:`MIN_HOSPITALS` hospitals, or if no feature is known.
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
    """Fit the median of the hospitals' medians, and the 90th percentile of the deviations from it; set no limits."""
    medians = rows.groupby("site")[list(names)].median().median().dropna()
    spread = {
        name: max(float((rows[name] - medians[name]).abs().quantile(0.9)), FEATURES[name]) for name in medians.index
    }
    return ReferenceDistribution({name: float(medians[name]) for name in medians.index}, spread, {})


def _is_known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _measure_distances(features: Mapping[Any, Any], reference: ReferenceDistribution) -> dict[str, float]:
    """Measure the distance of each known feature from the centre, in spreads."""
    return {
        name: abs(features[name] - centre) / reference.spread[name]
        for name, centre in reference.centre.items()
        if _is_known(features.get(name))
    }


def is_unusual(uncertain_percent: float | None, oof_percent: Sequence[float]) -> bool | None:
    """Decide whether an image is more uncertain than :data:`USUAL_SHARE` of the out-of-fold cases.

    Args:
        uncertain_percent: share of the lung of which the model is uncertain; None if it is not known.
        oof_percent: the same share of each out-of-fold case.

    Returns:
        None if the share is not known, or if there are fewer than :data:`MIN_SCANS` out-of-fold cases.
    """
    if uncertain_percent is None or len(oof_percent) < MIN_SCANS:
        return None
    return bool(uncertain_percent > np.quantile(oof_percent, USUAL_SHARE))


def compute_involved_interval(
    percent: float, predicted: Sequence[float], truth: Sequence[float], sites: Sequence[str], coverage: float = COVERAGE
) -> tuple[float, float] | None:
    """Compute an interval for the share of lung involved by conformal prediction on the errors at other hospitals.

    Errors are differences of square roots, which do not grow with the share. They are weighted so that each hospital
    has the same weight. The coverage is over hospitals like these (Vovk, Gammerman & Shafer 2005; weights by group as
    in Dunn et al. 2022).

    Args:
        percent: predicted share of the scan.
        predicted: predicted share, in per cent, of each out-of-fold case of the other hospitals.
        truth: share of the reference masks of each of these cases, in per cent.
        sites: hospital of each of these cases.
        coverage: probability that the interval contains the share.

    Returns:
        low and high, in per cent; None with fewer than :data:`MIN_HOSPITALS` hospitals.
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
    """Compute a weighted quantile; of the two neighbouring values, take the one farther from the median."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    if share < 0.5:
        return float(values[order][max(int(np.searchsorted(reached, share, side="right")) - 1, 0)])
    return float(values[order][min(int(np.searchsorted(reached, share)) + 1, len(values) - 1)])

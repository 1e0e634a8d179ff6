"""How much of the lung fields of a radiograph is opaque, told from grey values relative to the lung fields themselves.

A network that is trained on few radiographs finds which part of a lung is the most opaque, but not how much of it is:
at another hospital, with other grey values, it marked clear lungs as opaque. So the share is told by a linear model of
features that do not depend on exposure and window, and as much is marked as it says, where the network is the surest.

The features are measured on the picture cut to the lung fields. Its grey values are scaled in two ways: by the darkest
and the brightest part of the lungs, and by ranks among lungs and their surroundings, which any tone curve leaves alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from kicc_ml.core.boxes import find_bounding_box

#: Pixels of the picture that is cut to the lungs, the margin around them as a share of their width and height, and the
#: number of zones along each axis.
PIXELS, MARGIN, ZONES = 64, 0.06, 4
#: Widths of smoothing; the difference of two neighbours is one band of detail. Aerated lung is full of fine vessels.
SMOOTHING_PIXELS = (0.0, 1.0, 2.0, 4.0, 8.0)
#: Added to detail before its logarithm.
MIN_DETAIL = 3e-3
#: Weight of pixels outside the lungs in the mean of a zone: a zone without lung has a mean too.
OUTSIDE_WEIGHT = 0.02
#: Percentiles of the lungs' grey values that become 0 and 1, the smallest distance of the two, and what lies beyond.
LUNG_PERCENTILES, MIN_RANGE, SCALED_LIMITS = (10, 90), 0.03, (-1.0, 2.0)
#: Percentiles of the scaled grey values of the lungs that are features too.
FEATURE_PERCENTILES = (5, 25, 50, 75, 95)
#: Of each scaling: grey and bands of detail, and the difference of left and right, for half of the zones (left and
#: right are averaged), the percentiles, and how much of the picture is lung.
FEATURES = 2 * ((len(SMOOTHING_PIXELS) + 1) * ZONES * ZONES // 2 + len(FEATURE_PERCENTILES) + 1)

#: Width of the surroundings whose mean grey says how opaque a place is, as a share of the picture.
LOCAL_WIDTH = 0.02
#: Probabilities that are told apart from 0 and 1.
MIN_PROBABILITY = 1e-3
#: How steeply the probability falls beside the border of what is marked, by standard deviations of the lungs.
STEEPNESS = 3.0


@dataclass(frozen=True)
class OpacityShare:
    """A linear model of the share of the lung fields that is opaque, in plain numbers as a fold's folder keeps it."""

    weight_f: Sequence[float]
    intercept: float

    @property
    def inputs(self) -> int:
        """The number of columns of the table that the model takes."""
        return FEATURES

    def __call__(self, table_bf: np.ndarray) -> np.ndarray:
        """Return the share, from 0 to 1, for each row of :func:`measure_lung_fields`."""
        return np.clip(table_bf @ np.array(self.weight_f) + self.intercept, 0, 1)


def measure_lung_fields(grey_xy: np.ndarray, lung_xy: np.ndarray) -> np.ndarray | None:
    """Measure the features of the lung fields of a radiograph.

    Args:
        grey_xy: grey values; the first axis runs from left to right.
        lung_xy: bool mask of both lung fields.

    Returns:
        (FEATURES,) features; None if there are no lung fields, or nothing else.
    """
    box = find_bounding_box(lung_xy)
    if box is None:
        return None
    around = tuple(
        slice(max(0, side.start - margin), side.stop + margin)
        for side in box
        for margin in [round(MARGIN * (side.stop - side.start))]
    )
    grey, lung = _resize(grey_xy[around]), _resize(lung_xy[around]) > 0.5
    if not lung.any() or lung.all():
        return None
    return np.concatenate([_measure(scaled, lung) for scaled in (_scale_by_lungs(grey, lung), _rank(grey, lung))])


def mark_share(
    probability_xy: np.ndarray, grey_xy: np.ndarray, lung_xy: np.ndarray, share: float, threshold: float
) -> np.ndarray:
    """Change the lesion probability of a radiograph so that as much of the lung fields is marked as ``share`` says.

    Marked is where the network is surest and the lung brightest, each in standard deviations of the lung fields.

    Args:
        probability_xy: lesion probability by the network.
        grey_xy: grey values.
        lung_xy: bool mask of both lung fields, which is not empty.
        share: the share of the lung fields to mark, 0 to 1.
        threshold: the probability above which a pixel is marked.

    Returns:
        A probability that is above ``threshold`` in ``share`` of the lung fields.
    """
    clipped = np.clip(probability_xy.astype(np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    brightness = _average_nearby(grey_xy, lung_xy)
    opaque_xy = _standardise(np.log(clipped / (1 - clipped)), lung_xy) + _standardise(brightness, lung_xy)
    inside = np.sort(opaque_xy[lung_xy])
    marked = round(share * inside.size)
    border = inside[-1] + 1 if marked == 0 else (inside[max(inside.size - marked - 1, 0)] + inside[-marked]) / 2
    border = inside[0] - 1 if marked == inside.size else border
    logit = STEEPNESS * (opaque_xy - border) + np.log(threshold / (1 - threshold))
    return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))


def _resize(array_xy: np.ndarray) -> np.ndarray:
    picture = torch.from_numpy(array_xy.astype(np.float32))[None, None]
    return nn.functional.interpolate(picture, (PIXELS, PIXELS), mode="bilinear", antialias=True)[0, 0].numpy()


def _scale_by_lungs(grey: np.ndarray, lung: np.ndarray) -> np.ndarray:
    low, high = np.percentile(grey[lung], LUNG_PERCENTILES)
    return np.clip((grey - low) / max(high - low, MIN_RANGE), *SCALED_LIMITS)


def _rank(grey: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """Replace grey values by their ranks, 0 to 1; lungs and surroundings have equal weight whatever their size."""
    weight = np.where(lung, 0.5 / lung.sum(), 0.5 / (~lung).sum())
    _, place = np.unique(grey, return_inverse=True)
    of_value = np.bincount(place.ravel(), weight.ravel())
    return (np.cumsum(of_value) - of_value / 2)[place.reshape(grey.shape)]  # equal values share their mean rank


def _measure(scaled: np.ndarray, lung: np.ndarray) -> np.ndarray:
    smooth = [ndimage.gaussian_filter(scaled, pixels, mode="nearest") for pixels in SMOOTHING_PIXELS]
    detail = [np.log(_average_zones(np.abs(fine - coarse), lung) + MIN_DETAIL) for fine, coarse in pairwise(smooth)]
    grey = _average_zones(scaled, lung)
    both = [((zones + zones[::-1])[: ZONES // 2] / 2).ravel() for zones in (grey, *detail)]
    apart = np.abs(grey - grey[::-1])[: ZONES // 2].ravel()
    return np.concatenate([*both, apart, np.percentile(scaled[lung], FEATURE_PERCENTILES), [lung.mean()]])


def _average_zones(values: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """Average the lung in each zone, (ZONES, ZONES)."""
    weight, size = lung + OUTSIDE_WEIGHT, PIXELS // ZONES
    total, whole = (array.reshape(ZONES, size, ZONES, size).sum((1, 3)) for array in (values * weight, weight))
    return total / whole


def _average_nearby(grey_xy: np.ndarray, lung_xy: np.ndarray) -> np.ndarray:
    """Average the grey of the lung around each pixel; bright tissue beside the lung does not count."""
    width = LOCAL_WIDTH * max(grey_xy.shape)
    lung = ndimage.gaussian_filter(lung_xy.astype(np.float32), width)
    grey = ndimage.gaussian_filter(np.where(lung_xy, grey_xy, 0).astype(np.float32), width)
    return grey / np.maximum(lung, 0.05)


def _standardise(values_xy: np.ndarray, lung_xy: np.ndarray) -> np.ndarray:
    inside = values_xy[lung_xy]
    return (values_xy - inside.mean()) / max(float(inside.std()), 1e-6)

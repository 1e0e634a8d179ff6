"""Tell from the picture of a frontal radiograph whether it is a negative, for files that do not say it.

Air is dark on a radiograph as it is read. PNG and JPEG cannot state the opposite, and sets that were converted from
DICOM may have lost ``MONOCHROME1``. Three signs of the picture are added up, each 0 on average for a picture without a
chest, and each with the opposite sign for the negative of the same picture:

1. Heart, spine and upper abdomen are brighter than the lung fields beside and above them. This is the strongest sign.
   It is averaged over five places of the midline, because patients do not always stand in the middle.
2. The upper corners, beside the neck, are air and darker than the body. Collimators and frames may hide this.
3. Small bright structures (ribs, cables, catheters, letters) are more than small dark ones.

Grey values are replaced by their ranks first. So exposure, window and any other tone curve have no influence.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image
from scipy import ndimage

#: ``positive`` where air is dark, ``negative`` where air is bright, else ``unsure``.
PictureTone = Literal["positive", "negative", "unsure"]

#: A part of the key of stored radiographs: raise it when a change here changes what is read.
RULE_VERSION = 1
#: Pixels along the longer side on which the signs are measured. A smaller picture is always ``unsure``.
MEASURED_PIXELS, MIN_PIXELS = 128, 48
#: The weight of the corners, and of small structures, beside heart and spine.
CORNER_WEIGHT, DETAIL_WEIGHT = 1 / 3, 1 / 3
#: Below this a picture is unsure. Of 490 public films one is, and so is its negative; none is taken for the other.
MIN_SCORE = 0.2
#: From here on the picture is believed against what a DICOM file states. Of the 490, 97 % reach it.
STRONG_SCORE = 0.6

#: A part of a picture: shares of its width and of its height.
Part = tuple[tuple[float, float], tuple[float, float]]
MIDLINE: Part = ((0.44, 0.56), (0.30, 0.90))
LUNG_FIELDS: tuple[Part, Part] = (((0.20, 0.38), (0.25, 0.65)), ((0.62, 0.80), (0.25, 0.65)))
UPPER_CORNERS: tuple[Part, Part] = (((0.0, 0.10), (0.0, 0.15)), ((0.90, 1.0), (0.0, 0.15)))
#: Where small structures are counted; letters of the film lie at its edge.
INSIDE: Part = ((0.10, 0.90), (0.10, 0.90))
#: Spread of these differences, in ranks, below which they are rounding errors of a smooth picture.
SMOOTH = 1e-6
#: Shifts of the midline, in shares of the width.
SHIFTS = (-0.08, -0.04, 0.0, 0.04, 0.08)


def judge_tone(picture_xy: np.ndarray, min_score: float = MIN_SCORE) -> PictureTone:
    """Judge whether a frontal radiograph is shown as usual, with dark air, or as a negative.

    Args:
        picture_xy: grey values ``[x, y]``, y to the feet.
        min_score: the score from which the judgement is made; below it the picture is ``unsure``.

    Returns:
        the judgement. For the negative of the picture it is the opposite one.
    """
    score = measure_tone(picture_xy)
    if abs(score) < min_score:
        return "unsure"
    return "positive" if score > 0 else "negative"


def invert(picture: np.ndarray) -> np.ndarray:
    """Exchange bright and dark within the range of the picture."""
    return picture.max() + picture.min() - picture


def measure_tone(picture_xy: np.ndarray) -> float:
    """Add up the signs of this module: above 0 for a radiograph with dark air; its negative has the same below 0."""
    if min(picture_xy.shape) < MIN_PIXELS or not np.isfinite(picture_xy).all():
        return 0.0
    rank_xy = _rank(_downsample(picture_xy))
    middle = float(np.mean([_compare_midline_with_lungs(rank_xy, shift) for shift in SHIFTS]))
    corners = -float(np.mean([_median_of(rank_xy, part) for part in UPPER_CORNERS]))
    return middle + CORNER_WEIGHT * corners + DETAIL_WEIGHT * _measure_small_structures(rank_xy)


def _downsample(picture_xy: np.ndarray) -> np.ndarray:
    ratio = min(1.0, MEASURED_PIXELS / max(picture_xy.shape))
    size = tuple(max(1, round(pixels * ratio)) for pixels in picture_xy.shape)
    picture = Image.fromarray(picture_xy.T.astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BOX)).T


def _rank(picture_xy: np.ndarray) -> np.ndarray:
    """Replace grey values by their ranks, from -1 for the darkest to 1; equal values share their mean rank."""
    _, place, count = np.unique(picture_xy, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - count / 2) / picture_xy.size
    return (2 * rank - 1)[place.reshape(picture_xy.shape)]


def _cut(rank_xy: np.ndarray, part: Part, shift: float = 0.0) -> np.ndarray:
    """Cut out a part of the picture, moved by a share of the width."""
    across, down = part
    return rank_xy[tuple(_make_slices(rank_xy.shape, ((across[0] + shift, across[1] + shift), down)))]


def _make_slices(shape: tuple[int, ...], part: Part) -> Iterator[slice]:
    for pixels, (low, high) in zip(shape, part, strict=True):
        yield slice(round(low * pixels), max(round(high * pixels), round(low * pixels) + 1))


def _median_of(rank_xy: np.ndarray, part: Part, shift: float = 0.0) -> float:
    return float(np.median(_cut(rank_xy, part, shift)))


def _compare_midline_with_lungs(rank_xy: np.ndarray, shift: float) -> float:
    lungs = np.mean([_median_of(rank_xy, field, shift) for field in LUNG_FIELDS])
    return _median_of(rank_xy, MIDLINE, shift) - float(lungs)


def _measure_small_structures(rank_xy: np.ndarray) -> float:
    """Measure the skewness of each pixel's difference from its surroundings, within -1 to 1."""
    difference = _cut(rank_xy - ndimage.gaussian_filter(rank_xy, 1.0), INSIDE)
    difference = difference - difference.mean()
    spread = np.sqrt(np.mean(difference**2))
    return float(np.tanh(np.mean(difference**3) / spread**3)) if spread > SMOOTH else 0.0

"""A severity score of a radiograph from the grey values of its zones: a baseline for networks on small cohorts.

Aerated lung is dark and full of fine vessels; opacified lung is light and blurred. Thirty-six zones of the whole
picture replace the six zones of a human reader, because the lungs have not been segmented.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from kicc_ml.models.baselines.nested import INNER_FOLDS

#: The number of zones along each axis.
ZONES = 6

#: Widths of smoothing in pixels, for images of about 128 pixels a side. The difference of two neighbours is one band of
#: detail, from single pixels to a sixth of the picture.
SMOOTHING_PIXELS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

#: Added to detail (grey in 0..1) before its logarithm: about a quarter of a grey level of 8 bit.
LEAST_DETAIL = 1e-3

#: Grey and five bands of detail, for half of the zones, because left and right are averaged.
ZONE_FEATURES = len(SMOOTHING_PIXELS) * ZONES * ZONES // 2

#: Ridge penalties, among which the inner folds choose.
RIDGES = np.logspace(0, 5, 11)


def zone_features(image_xy: np.ndarray) -> np.ndarray:
    """Compute the features of a radiograph: mean grey, and log detail in five bands, of each zone.

    Args:
        image_xy: grey values from 0 to 1; the first axis runs from left to right.

    Returns:
        (ZONE_FEATURES,) features; left and right zones are averaged.
    """
    smooth = [gaussian_filter(image_xy.astype(np.float32), pixels, mode="nearest") for pixels in SMOOTHING_PIXELS]
    detail = [np.log(_means(np.abs(fine - coarse)) + LEAST_DETAIL) for fine, coarse in pairwise(smooth)]
    both = [(zones_xy + zones_xy[::-1])[: ZONES // 2] / 2 for zones_xy in (_means(image_xy), *detail)]
    return np.concatenate([zones_xy.ravel() for zones_xy in both])


def _means(image_xy: np.ndarray) -> np.ndarray:
    """Compute the mean of each zone, (ZONES, ZONES)."""
    image_cxy = torch.from_numpy(np.asarray(image_xy, np.float32))[None]
    return nn.functional.adaptive_avg_pool2d(image_cxy, ZONES)[0].numpy()


@dataclass(frozen=True)
class ZoneRidge:
    """A linear model of a score from 0 to 1 on :func:`zone_features`, in plain numbers as a run folder stores it."""

    weight_f: Sequence[float]
    intercept: float

    @property
    def inputs(self) -> int:
        """The number of columns of the table that the model takes."""
        return ZONE_FEATURES

    def __call__(self, table_bf: np.ndarray) -> np.ndarray:
        """Return the predicted extent of each row of zone features, between 0 and 1."""
        return np.clip(table_bf @ np.array(self.weight_f) + self.intercept, 0, 1)


def zone_ridge(train_bf: np.ndarray, score_b: np.ndarray, person_b: np.ndarray) -> ZoneRidge:
    """Fit a ridge regression of a score; inner folds of persons choose its penalty.

    Args:
        train_bf: (image, feature) training rows.
        score_b: the score of each row from 0 to 1; rows with NaN are left out.
        person_b: the person of each row. With one person the model predicts the mean score, with none NaN.
    """
    known_b = ~np.isnan(score_b)
    train_bf, score_b, person_b = train_bf[known_b], score_b[known_b], person_b[known_b]
    persons = len(np.unique(person_b))
    if persons < 2:
        return ZoneRidge([0.0] * train_bf.shape[1], float(score_b.mean()) if len(score_b) else np.nan)
    chosen = GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()),
        {"ridge__alpha": RIDGES},
        scoring="neg_mean_squared_error",
        cv=GroupKFold(min(INNER_FOLDS, persons)),
    ).fit(train_bf, score_b, groups=person_b)
    standard, ridge = (step for _, step in chosen.best_estimator_.steps)
    weight_f = ridge.coef_ / standard.scale_
    return ZoneRidge(weight_f.tolist(), float(ridge.intercept_ - weight_f @ standard.mean_))

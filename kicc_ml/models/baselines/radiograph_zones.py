"""Severity of a radiograph from the grey of its zones: what a network has to beat where images are a hundred.

Aerated lung is dark and full of fine vessels, opacified lung is light and blurred, whoever reads it. Thirty-six zones
over the whole picture stand in for the six of a reader, since no lung has been found yet.
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

#: Zones along each axis.
ZONES = 6

#: What lies between two neighbours is a band of detail, from single pixels to a sixth of the picture. Of an image of
#: about 128 pixels a side.
SMOOTHING_PIXELS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

#: Added to detail (grey in 0..1) before its logarithm: about a quarter of a grey level of 8 bit.
LEAST_DETAIL = 1e-3

#: Grey and five bands, each of half the zones: both sides are one.
ZONE_FEATURES = len(SMOOTHING_PIXELS) * ZONES * ZONES // 2

#: Strengths of the ridge; which one serves, the inner folds decide.
RIDGES = np.logspace(0, 5, 11)


def zone_features(image_xy: np.ndarray) -> np.ndarray:
    """Grey and, in five bands, the logarithm of detail of each zone; the mean of both sides, (ZONE_FEATURES,).

    ``image_xy`` is a radiograph in 0..1, first axis left to right.
    """
    smooth = [gaussian_filter(image_xy.astype(np.float32), pixels, mode="nearest") for pixels in SMOOTHING_PIXELS]
    detail = [np.log(_means(np.abs(fine - coarse)) + LEAST_DETAIL) for fine, coarse in pairwise(smooth)]
    both = [(zones_xy + zones_xy[::-1])[: ZONES // 2] / 2 for zones_xy in (_means(image_xy), *detail)]
    return np.concatenate([zones_xy.ravel() for zones_xy in both])


def _means(image_xy: np.ndarray) -> np.ndarray:
    """Mean of each zone, (ZONES, ZONES)."""
    image_cxy = torch.from_numpy(np.asarray(image_xy, np.float32))[None]
    return nn.functional.adaptive_avg_pool2d(image_cxy, ZONES)[0].numpy()


@dataclass(frozen=True)
class ZoneRidge:
    """A score in 0..1 from :func:`zone_features` in plain numbers, as a run folder keeps it."""

    weight_f: Sequence[float]
    intercept: float

    @property
    def inputs(self) -> int:
        """Columns of the table that it takes."""
        return ZONE_FEATURES

    def __call__(self, table_bf: np.ndarray) -> np.ndarray:
        return np.clip(table_bf @ np.array(self.weight_f) + self.intercept, 0, 1)


def zone_ridge(train_bf: np.ndarray, score_b: np.ndarray, person_b: np.ndarray) -> ZoneRidge:
    """A ridge regression of a score, its strength chosen on inner folds of persons.

    ``score_b`` is in 0..1 or NaN (row left out). Of one person the mean is learnt, of nobody NaN.
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

"""Severity of a radiograph from the grey of its zones: what a network has to beat where images are a hundred.

Aerated lung is dark and full of fine vessels, opacified lung is light and blurred, whoever reads it. Thirty-six zones
over the whole picture stand in for the six of a reader, since no lung has been found yet.
"""

from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from kicc_ml.models.nested import INNER_FOLDS

#: Zones along each axis.
ZONES = 6

#: What lies between two neighbours is a band of detail, from single pixels to a sixth of the picture. Of an image of
#: about 128 pixels a side.
SMOOTHING_PIXELS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

#: Added to detail (grey in 0..1) before its logarithm: about a quarter of a grey level of 8 bit.
LEAST_DETAIL = 1e-3

#: Strengths of the ridge; which one serves, the inner folds decide.
RIDGES = np.logspace(0, 5, 11)


def zone_features(image_xy: np.ndarray) -> np.ndarray:
    """Grey and, in five bands, the logarithm of detail of each zone; the mean of both sides, (6 x 18,).

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


def ridge_prediction(
    train_bf: np.ndarray, score_b: np.ndarray, person_b: np.ndarray, test_bf: np.ndarray
) -> np.ndarray:
    """A score of each test row by ridge regression, its strength chosen on inner folds of persons.

    ``score_b`` is in 0..1 or NaN (row left out), and so is what comes back. With one person the mean.
    """
    known_b = ~np.isnan(score_b)
    train_bf, score_b, person_b = train_bf[known_b], score_b[known_b], person_b[known_b]
    persons = len(np.unique(person_b))
    if persons < 2:
        return np.full(len(test_bf), score_b.mean() if len(score_b) else np.nan)
    chosen = GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()),
        {"ridge__alpha": RIDGES},
        scoring="neg_mean_squared_error",
        cv=GroupKFold(min(INNER_FOLDS, persons)),
    ).fit(train_bf, score_b, groups=person_b)
    return np.clip(chosen.predict(test_bf), 0, 1)

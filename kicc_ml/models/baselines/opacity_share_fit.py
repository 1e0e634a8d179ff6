"""Fit the model of how much of the lung fields is opaque (:mod:`kicc_ml.models.opacity_share`)."""

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kicc_ml.models.baselines.nested import INNER_FOLDS
from kicc_ml.models.opacity_share import OpacityShare

#: Fewer radiographs or hospitals do not determine the model.
MIN_RADIOGRAPHS, MIN_HOSPITALS = 20, 3
#: Penalty of the ridge. From 30 to 200 the correlation with readers at other hospitals was the same to within 0.01.
RIDGE = 100.0
#: Weight of a radiograph that is known to be clear, beside 1 for others: they are few.
CLEAR_WEIGHT = 3.0
#: Predictions at hospitals that were left out are stretched to the spread of the reference and a little more, and moved
#: down: a regression moves clear lungs towards the mean of all, and a clear lung should have next to nothing marked.
STRETCH, MOVE = 1.12, -0.08


def fit_opacity_share(table_bf: np.ndarray, share_b: np.ndarray, hospital_b: np.ndarray) -> OpacityShare | None:
    """Fit the share of the lung fields that is opaque; predictions at hospitals left out in turn give its scale.

    Args:
        table_bf: a row of features for each radiograph.
        share_b: the reference of each, 0 to 1.
        hospital_b: the hospital of each.

    Returns:
        None for fewer than ``MIN_RADIOGRAPHS`` radiographs or ``MIN_HOSPITALS`` hospitals, or if all shares are equal.
    """
    hospitals = len(np.unique(hospital_b))
    if len(share_b) < MIN_RADIOGRAPHS or hospitals < MIN_HOSPITALS or np.ptp(share_b) == 0:
        return None
    model = make_pipeline(StandardScaler(), Ridge(RIDGE))
    weight_b = np.where(share_b == 0, CLEAR_WEIGHT, 1.0)
    inner = GroupKFold(min(INNER_FOLDS, hospitals))
    apart_b = cross_val_predict(
        model, table_bf, share_b, groups=hospital_b, cv=inner, params={"ridge__sample_weight": weight_b}
    )
    factor = STRETCH * share_b.std() / max(float(apart_b.std()), 1e-6)
    standard, ridge = (step for _, step in model.fit(table_bf, share_b, ridge__sample_weight=weight_b).steps)
    weight_f = factor * ridge.coef_ / standard.scale_
    centre = STRETCH * share_b.mean() + MOVE - factor * apart_b.mean()
    intercept = centre + factor * ridge.intercept_ - weight_f @ standard.mean_
    return OpacityShare(weight_f.tolist(), float(intercept))

"""Choose, recalibrate and set a threshold by patients that a model was not fitted on, all within the training side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import ClassifierMixin, TransformerMixin, clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

from kicc_ml.models.recalibration import EDGE, fit_blend, fit_recalibration, operating_point
from kicc_ml.records import Case

#: Inner folds; fewer where there are fewer groups.
INNER_FOLDS = 5

#: From this many training hospitals on, whole hospitals are held out: with two, a model would be fitted on one.
LEAST_SITES = 3


@dataclass(frozen=True)
class Model:
    """What is fitted on a table first, and the classifiers the inner folds choose from; scikit-learn's."""

    prepare: TransformerMixin | None
    candidates: Sequence[ClassifierMixin]


@dataclass(frozen=True)
class Predicted:
    """Of one model and endpoint: probabilities of the tested, and the threshold chosen inside the fold (or NaN).

    ``inner_n`` are probabilities of the patients of the training side, each by a model not fitted on them, NaN where
    there is none: what models are weighed by.
    """

    probability_b: np.ndarray
    operating_point: float
    inner_n: np.ndarray


def inner_groups(cases: Sequence[Case]) -> np.ndarray:
    """What inner folds keep together: hospitals where there are at least ``LEAST_SITES`` of them, else persons."""
    by_site = len({case.site for case in cases}) >= LEAST_SITES
    return np.array([case.site if by_site else case.person for case in cases], dtype=str)


def nested_prediction(
    model: Model, train_bf: np.ndarray, label_b: np.ndarray, group_b: np.ndarray, test_bf: np.ndarray
) -> Predicted:
    """The test rows by the candidate of least log loss on inner folds, refitted on all training rows, recalibrated.

    ``label_b`` is 0/1, with both classes among the training rows; ``group_b`` is of :func:`inner_groups`.
    """
    inner_cb = _held_out(model, train_bf, label_b, group_b)
    chosen = int(np.argmin([log_loss(label_b, np.clip(one_b, EDGE, 1 - EDGE)) for one_b in inner_cb]))
    recalibrate = fit_recalibration(inner_cb[chosen], label_b)
    probability_b = _fitted(model, train_bf, label_b, test_bf, [model.candidates[chosen]])[0]
    inner_n = recalibrate(inner_cb[chosen])
    return Predicted(recalibrate(probability_b), operating_point(inner_n, label_b), inner_n)


def blended(models: Sequence[Predicted], label_n: np.ndarray) -> Predicted:
    """Models together: log odds weighed by the training side's patients that every one predicts without having seen.

    ``label_n`` is of all patients of the training side, NaN where unknown.
    """
    inner_mn = np.stack([model.inner_n for model in models])
    weigh = fit_blend(inner_mn, label_n)
    inner_n = weigh(inner_mn)
    return Predicted(
        weigh(np.stack([model.probability_b for model in models])),
        operating_point(inner_n, np.where(np.isnan(inner_n), np.nan, label_n)),
        inner_n,
    )


def _held_out(model: Model, train_bf: np.ndarray, label_b: np.ndarray, group_b: np.ndarray) -> np.ndarray:
    """(candidate, training row) probabilities, each row predicted without its group.

    The prevalence where there is no other group, or the others have one class.
    """
    probability_cb = np.full((len(model.candidates), len(label_b)), label_b.mean())
    groups = len(np.unique(group_b))
    folds = GroupKFold(min(INNER_FOLDS, groups)).split(train_bf, label_b, group_b) if groups > 1 else ()
    for fit, out in folds:
        probability_cb[:, out] = (
            _fitted(model, train_bf[fit], label_b[fit], train_bf[out], model.candidates)
            if len(np.unique(label_b[fit])) == 2
            else label_b[fit].mean()
        )
    return probability_cb


def _fitted(
    model: Model, train_bf: np.ndarray, label_b: np.ndarray, test_bf: np.ndarray, candidates: Sequence[ClassifierMixin]
) -> np.ndarray:
    """(candidate, test row) probabilities, the prevalence without a column; the table is prepared once for all."""
    if model.prepare is not None:
        prepare = clone(model.prepare).fit(train_bf)
        train_bf, test_bf = prepare.transform(train_bf), prepare.transform(test_bf)
    if not train_bf.shape[1]:
        return np.full((len(candidates), len(test_bf)), label_b.mean())
    return np.array([clone(one).fit(train_bf, label_b).predict_proba(test_bf)[:, 1] for one in candidates])
